"""Ollama's native API (https://github.com/ollama/ollama/blob/main/docs/api.md)."""

from __future__ import annotations

from collections.abc import Mapping

from providers.upstream.adapters.base import Adapter, EventParser, StreamParser
from providers.upstream.adapters.error_rules import error_of
from providers.upstream.adapters.json_values import encode
from providers.upstream.adapters.ollama.answer import parse_answer
from providers.upstream.adapters.ollama.embeddings import parse_embeddings, render_embeddings_body
from providers.upstream.adapters.ollama.errors import ERRORS
from providers.upstream.adapters.ollama.models import parse_models
from providers.upstream.adapters.ollama.request import degraded, render_body
from providers.upstream.adapters.ollama.stream import OllamaStreamParser
from providers.upstream.adapters.retry_hints import rate_limit_state
from providers.upstream.adapters.translation import left_out
from providers.upstream.errors import UpstreamError
from providers.upstream.ndjson import NdjsonParser
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


class OllamaAdapter(Adapter):
    """The base URL is the server's root (``http://127.0.0.1:11434``). Streams are one JSON object a line."""

    wire = Wire.OLLAMA

    def render_chat(self, request: ChatRequest, target: Target) -> HttpRequest:
        return HttpRequest("/api/chat", encode(render_body(request, target)), _JSON, degraded=degraded(request, target))

    def parse_chat(self, response: HttpResponse) -> ChatResponse:
        return parse_answer(response)

    def stream_parser(self) -> StreamParser:
        return OllamaStreamParser()

    def event_parser(self) -> EventParser:
        return NdjsonParser()

    def render_embeddings(self, request: EmbeddingsRequest, target: Target) -> HttpRequest:
        dropped = left_out(request, *(["user"] if request.end_user else []))
        return HttpRequest("/api/embed", encode(render_embeddings_body(request, target)), _JSON, degraded=dropped)

    def parse_embeddings(self, request: EmbeddingsRequest, response: HttpResponse) -> EmbeddingsResponse:
        return parse_embeddings(request, response)

    def parse_error(self, response: HttpResponse) -> UpstreamError:
        return error_of(response, ERRORS)

    def render_models(self, cursor: str | None) -> HttpRequest:
        return HttpRequest(path="/api/tags", body=b"", method="GET")

    def parse_models(self, response: HttpResponse) -> tuple[tuple[ModelListing, ...], str | None]:
        return parse_models(response)

    def parse_rate_limit(self, headers: Mapping[str, str]) -> RateLimitState | None:
        return rate_limit_state(headers)
