"""Ollama's ``/api/tags``: what is installed, and little about what it can do."""

from __future__ import annotations

from typing import Any

from providers.upstream.adapters.error_rules import error_in_success
from providers.upstream.adapters.json_values import count_at, decode_object, list_at, object_at, snippet, text_at
from providers.upstream.adapters.ollama.errors import ERRORS
from providers.upstream.errors import InvalidBody
from providers.upstream.types import Capability, HttpResponse, ModelListing

# Names in ``capabilities``, which newer servers list.
_CAPABILITIES = {
    "completion": frozenset({Capability.CHAT, Capability.STREAM, Capability.JSON_MODE, Capability.JSON_SCHEMA}),
    "tools": frozenset({Capability.TOOLS}),
    "vision": frozenset({Capability.VISION}),
    "thinking": frozenset({Capability.REASONING}),
    "embedding": frozenset({Capability.EMBEDDINGS}),
}
# Families of weights that see images: a projector is listed beside the language model's own family.
_VISION_FAMILIES = frozenset({"clip", "mllama"})


def parse_models(response: HttpResponse) -> tuple[tuple[ModelListing, ...], str | None]:
    body = decode_object(response.body)
    error = error_in_success(body, ERRORS)
    if error is not None:
        raise error
    rows = body.get("models")
    if not isinstance(rows, list):
        raise InvalidBody(f"not a list of models: {snippet(response.body)}")
    return tuple(_listing(row) for row in rows if text_at(row, "name") or text_at(row, "model")), None


def _listing(row: Any) -> ModelListing:
    details = object_at(row, "details")
    capabilities, said = _capabilities(row)
    return ModelListing(
        name=text_at(row, "name") or text_at(row, "model"),
        context_window_tokens=count_at(details, "context_length") or count_at(row, "context_length"),
        capabilities=capabilities,
        said=said,
    )


def _capabilities(row: Any) -> tuple[frozenset[Capability] | None, frozenset[Capability] | None]:
    """``(None, None)`` where the row says nothing; the second is ``None`` where the first is the whole truth."""
    named = [name for name in list_at(row, "capabilities") if isinstance(name, str)]
    if named:
        return frozenset().union(*(_CAPABILITIES.get(name, frozenset()) for name in named)), None
    details = object_at(row, "details")
    families = {name for name in [text_at(details, "family"), *list_at(details, "families")] if isinstance(name, str)}
    if any("bert" in name for name in families):  # encoders embed and write nothing
        return frozenset({Capability.EMBEDDINGS}), None
    if families & _VISION_FAMILIES:
        return frozenset({Capability.CHAT, Capability.STREAM, Capability.VISION}), frozenset({Capability.VISION})
    return None, None
