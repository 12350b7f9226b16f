"""Google Gemini: generateContent of the Gemini API, and of Vertex AI where the base URL ends in ``/publishers/google``."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

from providers.upstream.adapters.base import Adapter, EventParser, StreamParser
from providers.upstream.adapters.error_rules import error_in_success, error_of
from providers.upstream.adapters.gemini.answer import parse_answer
from providers.upstream.adapters.gemini.embeddings import parse_embeddings, render_embeddings
from providers.upstream.adapters.gemini.errors import RULES
from providers.upstream.adapters.gemini.request import degraded, model_path, render_body, render_count_body
from providers.upstream.adapters.gemini.stream import GeminiStreamParser
from providers.upstream.adapters.json_values import count_at, decode_object, encode, list_at, snippet, text_at
from providers.upstream.adapters.retry_hints import rate_limit_state
from providers.upstream.errors import InvalidBody, UpstreamError
from providers.upstream.json_array import SseOrJsonParser
from providers.upstream.types import (
    Capability,
    ChatRequest,
    ChatResponse,
    CountTokensRequest,
    EmbeddingsRequest,
    EmbeddingsResponse,
    HttpRequest,
    HttpResponse,
    JsonObject,
    ModelListing,
    RateLimitState,
    Target,
    TokenCount,
    Wire,
)

_JSON = {"content-type": "application/json"}
_PAGE_SIZE = 1000
# They generate images or speech, which is priced otherwise, or need a protocol of their own.
_NOT_CHAT = ("-image", "-tts", "-audio", "-live", "computer-use", "robotics")
_GEMINI_CAN = frozenset({Capability.TOOLS, Capability.VISION, Capability.JSON_MODE, Capability.JSON_SCHEMA})


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
        body = decode_object(response.body)
        error = error_in_success(body, RULES)
        if error is not None:
            raise error
        count = count_at(body, "totalTokens")
        if count is None:
            raise InvalidBody(f"not a count of tokens: {snippet(response.body)}")
        return TokenCount(count, self.wire, response.body)

    def parse_error(self, response: HttpResponse) -> UpstreamError:
        return error_of(response, RULES)

    def render_models(self, cursor: str | None) -> HttpRequest:
        after = f"&pageToken={quote(cursor, safe='')}" if cursor else ""
        return HttpRequest(path=f"/models?pageSize={_PAGE_SIZE}{after}", body=b"", method="GET")

    def parse_models(self, response: HttpResponse) -> tuple[tuple[ModelListing, ...], str | None]:
        body = decode_object(response.body)
        error = error_in_success(body, RULES)
        if error is not None:
            raise error
        rows = body.get("models", body.get("publisherModels"))
        if not isinstance(rows, list):
            raise InvalidBody(f"not a list of models: {snippet(response.body)}")
        return tuple(_listing(row) for row in rows if text_at(row, "name")), text_at(body, "nextPageToken") or None

    def parse_rate_limit(self, headers: Mapping[str, str]) -> RateLimitState | None:
        return rate_limit_state(headers)


def _listing(row: JsonObject) -> ModelListing:
    name = text_at(row, "name")
    return ModelListing(
        name=name.rpartition("/models/")[2].removeprefix("models/"),
        display_name=text_at(row, "displayName") or None,
        context_window_tokens=count_at(row, "inputTokenLimit"),
        max_output_tokens=count_at(row, "outputTokenLimit"),
        capabilities=_capabilities(name, row),
    )


def _capabilities(name: str, row: JsonObject) -> frozenset[Capability] | None:
    """By the methods a model answers to; ``None`` where the listing names none (Vertex)."""
    methods = list_at(row, "supportedGenerationMethods")
    if not methods:
        return None
    found: set[Capability] = set()
    if "generateContent" in methods and not any(fragment in name for fragment in _NOT_CHAT):
        found |= {Capability.CHAT, Capability.STREAM} | (_GEMINI_CAN if "/gemini" in name else set())
        found |= {Capability.REASONING} if row.get("thinking") is True else set()
        found |= {Capability.COUNT_TOKENS} if "countTokens" in methods else set()
    if "embedContent" in methods:
        found.add(Capability.EMBEDDINGS)
    return frozenset(found)
