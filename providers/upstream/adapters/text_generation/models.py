"""A server's description of itself as a list of one model."""

from __future__ import annotations

from providers.upstream.adapters.error_rules import error_in_success
from providers.upstream.adapters.json_values import count_at, decode_object, snippet, text_at
from providers.upstream.adapters.text_generation.errors import ERRORS
from providers.upstream.errors import InvalidBody
from providers.upstream.types import HttpResponse, ModelListing


def parse_models(response: HttpResponse) -> tuple[tuple[ModelListing, ...], str | None]:
    body = decode_object(response.body)
    error = error_in_success(body, ERRORS)
    if error is not None:
        raise error
    name = text_at(body, "model_id")
    if not name:
        raise InvalidBody(f"not a server's description of itself: {snippet(response.body)}")
    return (ModelListing(name, context_window_tokens=count_at(body, "max_total_tokens", "max_input_tokens")),), None
