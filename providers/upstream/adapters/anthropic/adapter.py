"""Anthropic messages."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

from providers.upstream.adapters.anthropic.answer import parse_answer
from providers.upstream.adapters.anthropic.request import degraded, forwarded_headers, render_body, render_count_body
from providers.upstream.adapters.anthropic.stream import AnthropicStreamParser
from providers.upstream.adapters.base import Adapter, StreamParser
from providers.upstream.adapters.error_rules import error_in_success, error_of
from providers.upstream.adapters.json_values import count_at, decode_object, encode, object_at, snippet, text_at
from providers.upstream.adapters.retry_hints import rate_limit_state
from providers.upstream.errors import ContextTooLong, InvalidBody, RateLimited, UpstreamError
from providers.upstream.types import (
    Capability,
    ChatRequest,
    ChatResponse,
    CountTokensRequest,
    HttpRequest,
    HttpResponse,
    JsonObject,
    ModelListing,
    RateLimitState,
    Target,
    TokenCount,
    Wire,
)

_VERSION = {"anthropic-version": "2023-06-01"}
_JSON = {"content-type": "application/json", **_VERSION}
_PAGE_SIZE = 1000

_CAPABILITIES = {
    "image_input": Capability.VISION,
    "structured_outputs": Capability.JSON_SCHEMA,
    "thinking": Capability.REASONING,
}


class AnthropicAdapter(Adapter):
    """The base URL includes the version (``https://api.anthropic.com/v1``)."""

    wire = Wire.ANTHROPIC_MESSAGES

    def render_chat(self, request: ChatRequest, target: Target) -> HttpRequest:
        body = encode(render_body(request, target))
        return HttpRequest(path="/messages", body=body, headers=_JSON | forwarded_headers(request), degraded=degraded(request, target))

    def parse_chat(self, response: HttpResponse) -> ChatResponse:
        return parse_answer(response)

    def stream_parser(self) -> StreamParser:
        return AnthropicStreamParser()

    def render_count_tokens(self, request: CountTokensRequest, target: Target) -> HttpRequest:
        chat = request.chat
        headers = _JSON | forwarded_headers(chat)
        return HttpRequest("/messages/count_tokens", encode(render_count_body(chat, target)), headers, degraded=degraded(chat, target))

    def parse_count_tokens(self, response: HttpResponse) -> TokenCount:
        body = decode_object(response.body)
        error = error_in_success(body)
        if error is not None:
            raise error
        count = count_at(body, "input_tokens")
        if count is None:
            raise InvalidBody(f"not a count of tokens: {snippet(response.body)}")
        return TokenCount(count, self.wire, response.body)

    def parse_error(self, response: HttpResponse) -> UpstreamError:
        """A 429 that says it should not be retried is one request above the whole bucket: too large, not too soon."""
        error = error_of(response)
        if isinstance(error, RateLimited) and response.headers.get("x-should-retry") == "false":
            return ContextTooLong(error.detail, status=error.status)
        return error

    def render_models(self, cursor: str | None) -> HttpRequest:
        after = f"&after_id={quote(cursor, safe='')}" if cursor else ""
        return HttpRequest(path=f"/models?limit={_PAGE_SIZE}{after}", body=b"", headers=_VERSION, method="GET")

    def parse_models(self, response: HttpResponse) -> tuple[tuple[ModelListing, ...], str | None]:
        body = decode_object(response.body)
        error = error_in_success(body)
        if error is not None:
            raise error
        rows = body.get("data")
        if not isinstance(rows, list):
            raise InvalidBody(f"not a list of models: {snippet(response.body)}")
        cursor = text_at(body, "last_id") if body.get("has_more") is True else ""
        return tuple(_listing(row) for row in rows if text_at(row, "id")), cursor or None

    def parse_rate_limit(self, headers: Mapping[str, str]) -> RateLimitState | None:
        return rate_limit_state(headers)


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
