"""Anthropic messages, as clients send them (https://docs.anthropic.com/en/api/messages)."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from aigateway.dialects.anthropic_messages.answer import message_out
from aigateway.dialects.anthropic_messages.errors import error_out
from aigateway.dialects.anthropic_messages.request import parse_messages
from aigateway.dialects.anthropic_messages.stream import SameWireStream, TranslatedStream
from aigateway.dialects.base import DEFAULT_CONTEXT, NOTHING_SENT, Call, Dialect, Explanation, Sent, StreamRenderer
from aigateway.errors import GatewayError
from providers.upstream.types import ChatResponse, CountTokensRequest, InferenceResponse, Target, TokenCount, Wire


class AnthropicMessages(Dialect):
    """The dialect of ``POST /v1/messages`` (R103)."""

    wire = Wire.ANTHROPIC_MESSAGES

    def parse(self, body: bytes, context: str | None, sent: Sent = NOTHING_SENT) -> Call:
        """Raises ``GatewayError`` (400) naming the field."""
        return Call(parse_messages(body, sent), self.wire, context=context or DEFAULT_CONTEXT)

    def render(self, response: InferenceResponse, explain: Explanation) -> bytes:
        """Same wire: the provider's own bytes. Otherwise a ``message`` object."""
        if response.wire is self.wire:
            return response.body
        assert isinstance(response, ChatResponse)
        return msgspec.json.encode(message_out(response, explain.request_id))

    def stream_renderer(self, call: Call, target: Target, wire: Wire) -> StreamRenderer:
        return SameWireStream() if wire is self.wire else TranslatedStream(target.upstream_model)

    def render_error(self, error: GatewayError, request_id: str) -> bytes:
        return error_out(error, request_id)

    def headers(self, request_id: str) -> Mapping[str, str]:
        return {"request-id": request_id}


class AnthropicCountTokens(AnthropicMessages):
    """The dialect of ``POST /v1/messages/count_tokens``: a provider's own count, never an invented one."""

    def parse(self, body: bytes, context: str | None, sent: Sent = NOTHING_SENT) -> Call:
        """Raises ``GatewayError`` (400) naming the field."""
        return Call(CountTokensRequest(parse_messages(body, sent, counting=True)), self.wire, context=context or DEFAULT_CONTEXT)

    def render(self, response: InferenceResponse, explain: Explanation) -> bytes:
        assert isinstance(response, TokenCount)
        return response.body if response.wire is self.wire else msgspec.json.encode({"input_tokens": response.input_tokens})
