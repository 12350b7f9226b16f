"""Google Gemini: generateContent of the Gemini API, and of Vertex AI where the base URL ends in ``/publishers/google``."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

from providers.upstream.adapters.base import Adapter, EventParser, StreamParser
from providers.upstream.adapters.error_rules import error_of
from providers.upstream.adapters.gemini.answer import parse_answer, parse_count
from providers.upstream.adapters.gemini.embeddings import parse_embeddings, render_embeddings
from providers.upstream.adapters.gemini.errors import ERRORS
from providers.upstream.adapters.gemini.models import parse_models
from providers.upstream.adapters.gemini.request import degraded, model_path, render_body, render_count_body
from providers.upstream.adapters.gemini.stream import GeminiStreamParser
from providers.upstream.adapters.json_values import encode
from providers.upstream.adapters.retry_hints import rate_limit_state
from providers.upstream.errors import UpstreamError
from providers.upstream.json_array import SseOrJsonParser
from providers.upstream.types import (
    ChatRequest,
    ChatResponse,
    CountTokensRequest,
    EmbeddingsRequest,
    EmbeddingsResponse,
    HttpRequest,
    HttpResponse,
    ModelListing,
    RateLimitState,
    Target,
    TokenCount,
    Wire,
)

_JSON = {"content-type": "application/json"}
_PAGE_SIZE = 1000


class GeminiAdapter(Adapter):
    """The base URL includes the version (``https://generativelanguage.googleapis.com/v1beta``)."""

    wire = Wire.GEMINI
    not_streams = ("text/html",)

    def render_chat(self, request: ChatRequest, target: Target) -> HttpRequest:
        method = "streamGenerateContent?alt=sse" if request.stream else "generateContent"
        body = encode(render_body(request, target))
        return HttpRequest(f"{model_path(target)}:{method}", body, _JSON, degraded=degraded(request))

    def parse_chat(self, response: HttpResponse) -> ChatResponse:
        return parse_answer(response)

    def stream_parser(self) -> StreamParser:
        return GeminiStreamParser()

    def event_parser(self) -> EventParser:
        """Without ``alt=sse`` (a proxy may lose it) the stream is one JSON array."""
        return SseOrJsonParser()

    def render_embeddings(self, request: EmbeddingsRequest, target: Target) -> HttpRequest:
        return render_embeddings(request, target)

    def parse_embeddings(self, request: EmbeddingsRequest, response: HttpResponse) -> EmbeddingsResponse:
        return parse_embeddings(request, response)

    def render_count_tokens(self, request: CountTokensRequest, target: Target) -> HttpRequest:
        body = encode(render_count_body(request.chat, target))
        return HttpRequest(f"{model_path(target)}:countTokens", body, _JSON, degraded=degraded(request.chat))

    def parse_count_tokens(self, response: HttpResponse) -> TokenCount:
        return parse_count(response)

    def parse_error(self, response: HttpResponse) -> UpstreamError:
        return error_of(response, ERRORS)

    def render_models(self, cursor: str | None) -> HttpRequest:
        after = f"&pageToken={quote(cursor, safe='')}" if cursor else ""
        return HttpRequest(path=f"/models?pageSize={_PAGE_SIZE}{after}", body=b"", method="GET")

    def parse_models(self, response: HttpResponse) -> tuple[tuple[ModelListing, ...], str | None]:
        return parse_models(response)

    def parse_rate_limit(self, headers: Mapping[str, str]) -> RateLimitState | None:
        return rate_limit_state(headers)
