"""OpenAI Responses, as clients send them (https://platform.openai.com/docs/api-reference/responses)."""

from __future__ import annotations

import msgspec

from aigateway.dialects.base import DEFAULT_CONTEXT, NOTHING_SENT, Call, Dialect, Explanation, Sent, StreamRenderer, now_s
from aigateway.dialects.openai_responses.answer import response_out
from aigateway.dialects.openai_responses.errors import error_event
from aigateway.dialects.openai_responses.request import parse_response_request
from aigateway.dialects.openai_responses.stream import SameWireStream, TranslatedStream
from aigateway.errors import GatewayError
from providers.upstream.types import ChatResponse, InferenceResponse, Target, Wire


class OpenAIResponses(Dialect):
    """The dialect of ``POST /v1/responses`` (R104). Nothing is stored here: an answer of another format cannot be continued
    by its id, and says so (``store: false``)."""

    wire = Wire.OPENAI_RESPONSES

    def parse(self, body: bytes, context: str | None, sent: Sent = NOTHING_SENT) -> Call:
        """Raises ``GatewayError`` (400) naming the field."""
        return Call(parse_response_request(body), self.wire, context=context or DEFAULT_CONTEXT)

    def render(self, response: InferenceResponse, explain: Explanation) -> bytes:
        """Same wire: the provider's own bytes. Otherwise a ``response`` object."""
        if response.wire is self.wire:
            return response.body
        assert isinstance(response, ChatResponse)
        return msgspec.json.encode(response_out(response, explain.asked, explain.request_id, now_s()))

    def render_stream_error(self, error: GatewayError, request_id: str) -> bytes:
        return error_event(error, request_id, 0)

    def stream_renderer(self, call: Call, target: Target, wire: Wire) -> StreamRenderer:
        source = call.chat.source
        return SameWireStream() if wire is self.wire else TranslatedStream(target.upstream_model, source.body if source else {})
