"""OpenAI chat completions, as clients send it (https://platform.openai.com/docs/api-reference/chat)."""

from __future__ import annotations

import msgspec

from aigateway.dialects.base import DEFAULT_CONTEXT, NOTHING_SENT, Call, Dialect, Explanation, Sent, StreamRenderer, now_s
from aigateway.dialects.openai_chat.answer import choice_out, usage_out
from aigateway.dialects.openai_chat.mistral import MISTRAL_CLIENT, MistralChatStream
from aigateway.dialects.openai_chat.request import parse_chat
from aigateway.dialects.openai_chat.stream import OpenAIChatStream
from providers.upstream.types import ChatResponse, InferenceResponse, Target, Wire


class OpenAIChat(Dialect):
    """The dialect of ``POST /v1/chat/completions``."""

    wire = Wire.OPENAI_CHAT

    def parse(self, body: bytes, context: str | None, sent: Sent = NOTHING_SENT) -> Call:
        """Raises ``GatewayError`` (400) naming the field."""
        counts = sent.headers.get("user-agent", "").startswith(MISTRAL_CLIENT)
        return Call(parse_chat(body), Wire.OPENAI_CHAT, context=context or DEFAULT_CONTEXT, streams_end_in_usage=counts)

    def render(self, response: InferenceResponse, explain: Explanation) -> bytes:
        """Same wire: the provider's own bytes. Otherwise a ``chat.completion`` object."""
        assert isinstance(response, ChatResponse)
        if response.wire is Wire.OPENAI_CHAT:
            return response.body
        return msgspec.json.encode(
            {
                "id": response.id or explain.request_id,
                "object": "chat.completion",
                "created": response.created_s or now_s(),
                "model": response.model,
                "choices": [choice_out(choice) for choice in response.choices],
                "usage": usage_out(response.usage),
            }
        )

    def stream_renderer(self, call: Call, target: Target, wire: Wire) -> StreamRenderer:
        same_wire = wire is Wire.OPENAI_CHAT
        if call.streams_end_in_usage and not call.chat.include_usage:
            return MistralChatStream(same_wire, target.upstream_model)
        return OpenAIChatStream(call.chat.include_usage, same_wire, target.upstream_model)
