"""Google's Gemini API, as its clients call it (https://ai.google.dev/api). The model's name stands in the path."""

from __future__ import annotations

import msgspec

from aigateway.dialects.base import DEFAULT_CONTEXT, NOTHING_SENT, Call, Dialect, Explanation, Sent, StreamRenderer
from aigateway.dialects.gemini.answer import answer_out, usage_out
from aigateway.dialects.gemini.embeddings import parse_embed
from aigateway.dialects.gemini.errors import error_out
from aigateway.dialects.gemini.request import parse_count, parse_generate
from aigateway.dialects.gemini.stream import ArrayFrames, Frames, SameWireStream, SseFrames, TranslatedStream
from aigateway.errors import GatewayError
from providers.upstream.types import (
    ChatResponse,
    CountTokensRequest,
    EmbeddingsResponse,
    InferenceResponse,
    Target,
    TokenCount,
    Wire,
)


class GeminiGenerate(Dialect):
    """``:generateContent``. Query parameters are not read (B07): the key comes in a header, never in the address."""

    wire = Wire.GEMINI
    keep_alive = b"\r\n"  # Google's own client takes a comment for a broken answer

    def parse(self, body: bytes, context: str | None, sent: Sent = NOTHING_SENT) -> Call:
        """Raises ``GatewayError`` (400) naming the field."""
        return Call(parse_generate(body, sent), self.wire, context=context or DEFAULT_CONTEXT)

    def render(self, response: InferenceResponse, explain: Explanation) -> bytes:
        """Same wire: the provider's own bytes."""
        if response.wire is self.wire:
            return response.body
        assert isinstance(response, ChatResponse)
        return msgspec.json.encode(answer_out(response, explain.request_id))

    def stream_renderer(self, call: Call, target: Target, wire: Wire) -> StreamRenderer:
        frames = self._frames()
        return SameWireStream(frames) if wire is self.wire else TranslatedStream(target.upstream_model, frames)

    def render_error(self, error: GatewayError, request_id: str) -> bytes:
        return error_out(error, request_id)

    def render_stream_error(self, error: GatewayError, request_id: str) -> bytes:
        return self._frames().chunk(error_out(error, request_id))

    def _frames(self) -> Frames:
        return SseFrames()


class GeminiStream(GeminiGenerate):
    """``:streamGenerateContent?alt=sse``: Google's clients raise on a chunk that holds an error."""

    def parse(self, body: bytes, context: str | None, sent: Sent = NOTHING_SENT) -> Call:
        """Raises ``GatewayError`` (400) naming the field."""
        return Call(parse_generate(body, sent, stream=True), self.wire, context=context or DEFAULT_CONTEXT)


class GeminiArrayStream(GeminiStream):
    """``:streamGenerateContent`` without ``alt=sse``: one JSON array."""

    stream_content_type = "application/json"

    def _frames(self) -> Frames:
        return ArrayFrames()


class GeminiCountTokens(GeminiGenerate):
    """``:countTokens``: a provider's own count, never an invented one."""

    def parse(self, body: bytes, context: str | None, sent: Sent = NOTHING_SENT) -> Call:
        """Raises ``GatewayError`` (400) naming the field."""
        return Call(CountTokensRequest(parse_count(body, sent)), self.wire, context=context or DEFAULT_CONTEXT)

    def render(self, response: InferenceResponse, explain: Explanation) -> bytes:
        assert isinstance(response, TokenCount)
        return response.body if response.wire is self.wire else msgspec.json.encode({"totalTokens": response.input_tokens})


class GeminiEmbed(GeminiGenerate):
    """``:embedContent``: one vector."""

    def parse(self, body: bytes, context: str | None, sent: Sent = NOTHING_SENT) -> Call:
        """Raises ``GatewayError`` (400) naming the field."""
        return Call(parse_embed(body, sent, batch=False), self.wire, context=context or DEFAULT_CONTEXT)

    def render(self, response: InferenceResponse, explain: Explanation) -> bytes:
        assert isinstance(response, EmbeddingsResponse)
        if response.wire is self.wire:
            return response.body
        vectors = [{"values": vector} for vector in response.vectors]
        return msgspec.json.encode({**self._shaped(vectors), "usageMetadata": usage_out(response.usage)})

    def _shaped(self, vectors: list[dict[str, tuple[float, ...]]]) -> dict[str, object]:
        return {"embedding": vectors[0]}


class GeminiBatchEmbed(GeminiEmbed):
    """``:batchEmbedContents``: one vector for every request, in their order."""

    def parse(self, body: bytes, context: str | None, sent: Sent = NOTHING_SENT) -> Call:
        """Raises ``GatewayError`` (400) naming the field."""
        return Call(parse_embed(body, sent, batch=True), self.wire, context=context or DEFAULT_CONTEXT)

    def _shaped(self, vectors: list[dict[str, tuple[float, ...]]]) -> dict[str, object]:
        return {"embeddings": vectors}
