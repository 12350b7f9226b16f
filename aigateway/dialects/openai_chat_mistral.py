"""Streams for Mistral's clients, which post to OpenAI's path (https://docs.mistral.ai/api/#tag/chat)."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from aigateway.dialects.base import Explanation, now_s
from aigateway.dialects.openai_chat_answer import usage_out
from aigateway.dialects.openai_chat_stream import OpenAIChatStream
from aigateway.errors import GatewayError
from providers.upstream.types import StreamEvent, TokenUsage

MISTRAL_CLIENT = "mistral-client-"
"""How the ``User-Agent`` of the official clients begins."""


class MistralChatStream:
    """OpenAI's chunks, except that usage comes unasked, and in a chunk that has a choice: Mistral's clients read
    ``choices[0]`` of every chunk."""

    def __init__(self, inner: OpenAIChatStream) -> None:
        self._inner = inner
        self._usage = TokenUsage()
        self._id = ""
        self._model = ""
        self._is_reported = False

    def event(self, event: StreamEvent) -> bytes:
        delta = event.delta
        self._id = delta.id or self._id
        self._model = delta.model or self._model
        if delta.usage is not None:
            self._usage = self._usage.merged_with(delta.usage)
        out = self._inner.event(event)
        if delta.is_end and out:
            return self._report() + out
        passed_on = out == event.raw and delta.usage is not None and delta.finish_reason is not None
        self._is_reported = self._is_reported or passed_on
        return out

    def end(self, explain: Callable[[], Explanation]) -> bytes:
        return self._report() + self._inner.end(explain)

    def error(self, error: GatewayError, request_id: str) -> bytes:
        return self._inner.error(error, request_id)

    def _report(self) -> bytes:
        usage = usage_out(self._usage)
        if self._is_reported or usage is None:
            return b""
        self._is_reported = True
        choice = {"index": 0, "delta": {"content": ""}, "finish_reason": None}
        head = {"id": self._id, "object": "chat.completion.chunk", "created": now_s(), "model": self._model}
        return b"data: " + msgspec.json.encode({**head, "choices": [choice], "usage": usage}) + b"\n\n"
