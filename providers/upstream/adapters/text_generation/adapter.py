"""Hugging Face's text generation: a server of one model, or the task endpoint of many. A prompt in, its continuation out."""

from __future__ import annotations

from collections.abc import Mapping

from providers.upstream.adapters.base import Adapter, StreamParser
from providers.upstream.adapters.error_rules import error_of
from providers.upstream.adapters.json_values import encode
from providers.upstream.adapters.retry_hints import rate_limit_state
from providers.upstream.adapters.text_generation.answer import parse_answer
from providers.upstream.adapters.text_generation.errors import ERRORS
from providers.upstream.adapters.text_generation.models import parse_models
from providers.upstream.adapters.text_generation.request import degraded, path_of, render_body
from providers.upstream.adapters.text_generation.stream import TextGenerationStreamParser
from providers.upstream.errors import UpstreamError
from providers.upstream.types import (
    ChatRequest,
    ChatResponse,
    HttpRequest,
    HttpResponse,
    InferenceRequest,
    InferenceResponse,
    ModelListing,
    RateLimitState,
    Target,
    Wire,
)

_JSON = {"content-type": "application/json"}


class TextGenerationAdapter(Adapter):
    """The base URL is the server's root; one that ends in ``/models`` has the task endpoints of many models below it."""

    wire = Wire.TEXT_GENERATION

    def render_chat(self, request: ChatRequest, target: Target) -> HttpRequest:
        return HttpRequest(path_of(request, target), encode(render_body(request, target)), _JSON, degraded=degraded(request))

    def parse(self, request: InferenceRequest, response: HttpResponse) -> InferenceResponse:
        return parse_answer(response, request.stop) if isinstance(request, ChatRequest) else super().parse(request, response)

    def parse_chat(self, response: HttpResponse) -> ChatResponse:
        return parse_answer(response)

    def stream_parser(self) -> StreamParser:
        return TextGenerationStreamParser()

    def parse_error(self, response: HttpResponse) -> UpstreamError:
        return error_of(response, ERRORS)

    def render_models(self, cursor: str | None) -> HttpRequest:
        """What the server says about itself: it serves one model."""
        return HttpRequest(path="/info", body=b"", method="GET")

    def parse_models(self, response: HttpResponse) -> tuple[tuple[ModelListing, ...], str | None]:
        return parse_models(response)

    def parse_rate_limit(self, headers: Mapping[str, str]) -> RateLimitState | None:
        return rate_limit_state(headers)
