"""OpenAI chat completion chunks for one client (https://platform.openai.com/docs/api-reference/chat-streaming)."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from aigateway.dialects.base import Explanation, now_s
from aigateway.dialects.openai_chat.answer import logprobs_out, signature_out, usage_out
from aigateway.errors import GatewayError
from providers.upstream.types import ChatDelta, StreamEvent, TokenUsage, ToolCallDelta

_NO_CHOICES = re.compile(rb'"choices"\s*:\s*(\[\s*\]|null)')


class OpenAIChatStream:
    """Chunks of one stream. Same-wire events pass byte for byte, except the usage event that only the gateway asked for."""

    def __init__(self, include_usage: bool, same_wire: bool, model: str) -> None:
        self._include_usage = include_usage
        self._same_wire = same_wire
        self._head: dict[str, Any] = {"id": "", "object": "chat.completion.chunk", "created": now_s(), "model": model}
        self._begun: set[int] = set()
        self._is_finished = False
        self._usage = TokenUsage()

    def event(self, event: StreamEvent) -> bytes:
        delta = event.delta
        if self._same_wire:
            if self._include_usage or not (delta.usage or delta.finish_reason):
                return event.raw
            return b"" if self._is_unasked(event) else event.raw
        if delta.id:
            self._head["id"] = delta.id
        if delta.model:
            self._head["model"] = delta.model
        if delta.usage is not None:
            self._usage = self._usage.merged_with(delta.usage)
        return self._translated(delta)

    def _is_unasked(self, event: StreamEvent) -> bool:
        """A chunk that brings usage and nothing else: without choices (OpenAI, vLLM, Ollama), or with an empty delta after
        the finish (OpenRouter). Usage inside any other chunk stays: bytes of a chunk are never touched."""
        delta = event.delta
        if delta.has_content or delta.finish_reason:
            self._is_finished = self._is_finished or delta.finish_reason is not None
            return False
        return self._is_finished or _NO_CHOICES.search(event.raw) is not None or b'"choices"' not in event.raw

    def _translated(self, delta: ChatDelta) -> bytes:
        if not (delta.has_content or delta.finish_reason):
            return b""
        out: dict[str, Any] = {}
        if delta.choice_index not in self._begun:
            out["role"] = "assistant"
            self._begun.add(delta.choice_index)
        if delta.text:
            out["content"] = delta.text
        if delta.reasoning:
            out["reasoning_content"] = delta.reasoning
        if delta.refusal:
            out["refusal"] = delta.refusal
        if delta.tool_calls:
            out["tool_calls"] = [_tool_delta_out(call) for call in delta.tool_calls]
        choice: dict[str, Any] = {"index": delta.choice_index, "delta": out, "finish_reason": delta.finish_reason}
        if delta.logprobs:
            choice["logprobs"] = logprobs_out(delta.logprobs)
        return _sse({**self._head, "choices": [choice]})

    def end(self, explain: Callable[[], Explanation]) -> bytes:
        if self._same_wire:
            return b""
        usage = _sse({**self._head, "choices": [], "usage": usage_out(self._usage)}) if self._include_usage else b""
        return usage + b"data: [DONE]\n\n"

    def error(self, error: GatewayError, request_id: str) -> bytes:
        return b"event: error\ndata: " + error.encoded(request_id) + b"\n\n"


def _sse(payload: Mapping[str, Any]) -> bytes:
    return b"data: " + msgspec.json.encode(payload) + b"\n\n"


def _tool_delta_out(call: ToolCallDelta) -> dict[str, Any]:
    out: dict[str, Any] = {"index": call.index}
    function: dict[str, str] = {"arguments": call.arguments}
    if call.id is not None:
        out |= {"id": call.id, "type": "function"}
    if call.name is not None:
        function["name"] = call.name
    return out | {"function": function} | signature_out(call.signature)
