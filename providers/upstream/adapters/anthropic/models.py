"""Anthropic's model list (https://docs.anthropic.com/en/api/models-list)."""

from __future__ import annotations

from providers.upstream.adapters.error_rules import error_in_success
from providers.upstream.adapters.json_values import count_at, decode_object, object_at, snippet, text_at
from providers.upstream.errors import InvalidBody
from providers.upstream.types import Capability, HttpResponse, JsonObject, ModelListing

_CAPABILITIES = {
    "image_input": Capability.VISION,
    "structured_outputs": Capability.JSON_SCHEMA,
    "thinking": Capability.REASONING,
}


def parse_models(response: HttpResponse) -> tuple[tuple[ModelListing, ...], str | None]:
    body = decode_object(response.body)
    error = error_in_success(body)
    if error is not None:
        raise error
    rows = body.get("data")
    if not isinstance(rows, list):
        raise InvalidBody(f"not a list of models: {snippet(response.body)}")
    cursor = text_at(body, "last_id") if body.get("has_more") is True else ""
    return tuple(_listing(row) for row in rows if text_at(row, "id")), cursor or None


def _listing(row: JsonObject) -> ModelListing:
    return ModelListing(
        name=text_at(row, "id"),
        display_name=text_at(row, "display_name") or None,
        context_window_tokens=count_at(row, "max_input_tokens"),
        max_output_tokens=count_at(row, "max_tokens"),
        capabilities=_capabilities(object_at(row, "capabilities")),
    )


def _capabilities(claimed: JsonObject) -> frozenset[Capability] | None:
    """Every model of this API chats, streams, calls tools and has its tokens counted; older listings claim nothing."""
    if not claimed:
        return None
    found = {capability for name, capability in _CAPABILITIES.items() if object_at(claimed, name).get("supported") is True}
    return frozenset(found | {Capability.CHAT, Capability.STREAM, Capability.TOOLS, Capability.COUNT_TOKENS})
