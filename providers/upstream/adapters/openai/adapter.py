"""OpenAI chat completions, and every host that calls itself compatible with it."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

from providers.upstream.adapters.base import Adapter, StreamParser
from providers.upstream.adapters.error_rules import error_of
from providers.upstream.adapters.json_values import encode
from providers.upstream.adapters.openai.answer import parse_answer
from providers.upstream.adapters.openai.embeddings import parse_embeddings, render_embeddings_body
from providers.upstream.adapters.openai.models import parse_models
from providers.upstream.adapters.openai.request import render_body
from providers.upstream.adapters.openai.stream import OpenAIStreamParser
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


class OpenAIAdapter(Adapter):
    """The base URL includes the version (``https://api.openai.com/v1``)."""

    wire = Wire.OPENAI_CHAT

    def render_chat(self, request: ChatRequest, target: Target) -> HttpRequest:
        body, left_out = render_body(request, target)
        return HttpRequest(path="/chat/completions", body=encode(body), headers=_JSON, degraded=left_out)

    def parse_chat(self, response: HttpResponse) -> ChatResponse:
        return parse_answer(response)

    def stream_parser(self) -> StreamParser:
        return OpenAIStreamParser()

    def render_embeddings(self, request: EmbeddingsRequest, target: Target) -> HttpRequest:
        same_wire = request.source is not None and request.source.wire is Wire.OPENAI_EMBEDDINGS
        body = encode(render_embeddings_body(request, target))
        return HttpRequest(path="/embeddings", body=body, headers=_JSON, degraded=() if same_wire else left_out(request))

    def parse_embeddings(self, request: EmbeddingsRequest, response: HttpResponse) -> EmbeddingsResponse:
        return parse_embeddings(request, response)

    def parse_error(self, response: HttpResponse) -> UpstreamError:
        return error_of(response)

    def render_models(self, cursor: str | None) -> HttpRequest:
        query = f"?after={quote(cursor, safe='')}" if cursor else ""
        return HttpRequest(path=f"/models{query}", body=b"", method="GET")

    def parse_models(self, response: HttpResponse) -> tuple[tuple[ModelListing, ...], str | None]:
        return parse_models(response)

    def parse_rate_limit(self, headers: Mapping[str, str]) -> RateLimitState | None:
        return rate_limit_state(headers)
