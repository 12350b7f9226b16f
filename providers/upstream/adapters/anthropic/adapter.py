"""Anthropic messages."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

from providers.upstream.adapters.anthropic.answer import parse_answer, parse_count
from providers.upstream.adapters.anthropic.errors import parse_error
from providers.upstream.adapters.anthropic.models import parse_models
from providers.upstream.adapters.anthropic.request import degraded, forwarded_headers, render_body, render_count_body
from providers.upstream.adapters.anthropic.stream import AnthropicStreamParser
from providers.upstream.adapters.base import Adapter, StreamParser
from providers.upstream.adapters.json_values import encode
from providers.upstream.adapters.retry_hints import rate_limit_state
from providers.upstream.errors import UpstreamError
from providers.upstream.types import (
    ChatRequest,
    ChatResponse,
    CountTokensRequest,
    HttpRequest,
    HttpResponse,
    ModelListing,
    RateLimitState,
    Target,
    TokenCount,
    Wire,
)

_VERSION = {"anthropic-version": "2023-06-01"}
_JSON = {"content-type": "application/json", **_VERSION}
_PAGE_SIZE = 1000


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
        return parse_count(response)

    def parse_error(self, response: HttpResponse) -> UpstreamError:
        return parse_error(response)

    def render_models(self, cursor: str | None) -> HttpRequest:
        after = f"&after_id={quote(cursor, safe='')}" if cursor else ""
        return HttpRequest(path=f"/models?limit={_PAGE_SIZE}{after}", body=b"", headers=_VERSION, method="GET")

    def parse_models(self, response: HttpResponse) -> tuple[tuple[ModelListing, ...], str | None]:
        return parse_models(response)

    def parse_rate_limit(self, headers: Mapping[str, str]) -> RateLimitState | None:
        return rate_limit_state(headers)
