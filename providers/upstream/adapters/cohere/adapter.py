"""Cohere's own API, version 2 (https://docs.cohere.com/reference/chat)."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

from providers.upstream.adapters.base import Adapter, StreamParser
from providers.upstream.adapters.cohere.answer import parse_answer
from providers.upstream.adapters.cohere.embeddings import parse_embeddings, render_embeddings_body
from providers.upstream.adapters.cohere.errors import ERRORS
from providers.upstream.adapters.cohere.models import parse_models
from providers.upstream.adapters.cohere.request import degraded, render_body
from providers.upstream.adapters.cohere.stream import CohereStreamParser
from providers.upstream.adapters.error_rules import error_of
from providers.upstream.adapters.json_values import encode
from providers.upstream.adapters.retry_hints import rate_limit_state
from providers.upstream.adapters.translation import left_out
from providers.upstream.errors import UpstreamError
from providers.upstream.types import (
    ChatRequest,
    ChatResponse,
    EmbeddingsRequest,
    EmbeddingsResponse,
    HttpRequest,
    HttpResponse,
    ModelListing,
    RateLimitState,
    Target,
    Wire,
)

_JSON = {"content-type": "application/json"}
_PAGE_SIZE = 1000


class CohereAdapter(Adapter):
    """The base URL is the host alone (``https://api.cohere.com``): operations are spread over two versions."""

    wire = Wire.COHERE

    def render_chat(self, request: ChatRequest, target: Target) -> HttpRequest:
        return HttpRequest("/v2/chat", encode(render_body(request, target)), _JSON, degraded=degraded(request))

    def parse_chat(self, response: HttpResponse) -> ChatResponse:
        return parse_answer(response)

    def stream_parser(self) -> StreamParser:
        return CohereStreamParser()

    def render_embeddings(self, request: EmbeddingsRequest, target: Target) -> HttpRequest:
        dropped = left_out(request, *(["user"] if request.end_user else []))
        return HttpRequest("/v2/embed", encode(render_embeddings_body(request, target)), _JSON, degraded=dropped)

    def parse_embeddings(self, request: EmbeddingsRequest, response: HttpResponse) -> EmbeddingsResponse:
        return parse_embeddings(request, response)

    def parse_error(self, response: HttpResponse) -> UpstreamError:
        return error_of(response, ERRORS)

    def render_models(self, cursor: str | None) -> HttpRequest:
        after = f"&page_token={quote(cursor, safe='')}" if cursor else ""
        return HttpRequest(path=f"/v1/models?page_size={_PAGE_SIZE}{after}", body=b"", method="GET")

    def parse_models(self, response: HttpResponse) -> tuple[tuple[ModelListing, ...], str | None]:
        return parse_models(response)

    def parse_rate_limit(self, headers: Mapping[str, str]) -> RateLimitState | None:
        return rate_limit_state(headers)
