"""Cohere's model list (https://docs.cohere.com/reference/list-models)."""

from __future__ import annotations

from typing import Any

from providers.upstream.adapters.error_rules import error_in_success
from providers.upstream.adapters.json_values import count_at, decode_object, list_at, snippet, text_at
from providers.upstream.errors import InvalidBody
from providers.upstream.types import Capability, HttpResponse, ModelListing

_ENDPOINTS = {"chat": frozenset({Capability.CHAT, Capability.STREAM}), "embed": frozenset({Capability.EMBEDDINGS})}
_FEATURES = {
    "tools": Capability.TOOLS,
    "json_mode": Capability.JSON_MODE,
    "json_schema": Capability.JSON_SCHEMA,
    "vision": Capability.VISION,
    "reasoning": Capability.REASONING,
}


def parse_models(response: HttpResponse) -> tuple[tuple[ModelListing, ...], str | None]:
    body = decode_object(response.body)
    error = error_in_success(body)
    if error is not None:
        raise error
    rows = body.get("models")
    if not isinstance(rows, list):
        raise InvalidBody(f"not a list of models: {snippet(response.body)}")
    return tuple(_listing(row) for row in rows if text_at(row, "name")), text_at(body, "next_page_token") or None


def _listing(row: Any) -> ModelListing:
    offered: set[Capability] = set()
    said: set[Capability] = set()
    endpoints = list_at(row, "endpoints")
    if endpoints:
        said |= frozenset().union(*_ENDPOINTS.values())
        offered |= frozenset().union(*(_ENDPOINTS[name] for name in endpoints if isinstance(name, str) and name in _ENDPOINTS))
    features = list_at(row, "features")
    if features:
        said |= set(_FEATURES.values())
        offered |= {_FEATURES[name] for name in features if isinstance(name, str) and name in _FEATURES}
    return ModelListing(
        name=text_at(row, "name"),
        context_window_tokens=count_at(row, "context_length") or None,
        capabilities=frozenset(offered) if said else None,
        said=frozenset(said) if said else None,
    )
