"""Streams for Mistral's clients, which post to OpenAI's path (https://docs.mistral.ai/api/#tag/chat)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import msgspec

from aigateway.dialects.base import Explanation, now_s
from aigateway.dialects.openai_chat.answer import usage_out
from aigateway.dialects.openai_chat.stream import OpenAIChatStream
from aigateway.errors import GatewayError
from providers.upstream.types import ChatDelta, StreamEvent, TokenUsage, ToolCallDelta

MISTRAL_CLIENT = "mistral-client-"
"""How the ``User-Agent`` of the official clients begins."""


class MistralChatStream:
    """OpenAI's chunks, except for what Mistral's clients cannot read otherwise: a tool call comes whole, in one chunk; usage
    comes unasked, in a chunk that has a choice, because they read ``choices[0]`` of every chunk.

    Same-wire events pass byte for byte unless they carry a fragment of a call; those are told again in own chunks."""

    def __init__(self, same_wire: bool, model: str) -> None:
        self._same_wire = same_wire
        self._inner = OpenAIChatStream(include_usage=False, same_wire=same_wire, model=model)
        self._own = OpenAIChatStream(include_usage=False, same_wire=False, model=model) if same_wire else self._inner
        self._held: dict[tuple[int, int], ToolCallDelta] = {}
        self._usage = TokenUsage()
        self._id = ""
        self._model = ""
        self._is_reported = False

    def event(self, event: StreamEvent) -> bytes:
        delta = event.delta
        self._note(delta)
        parts = (delta, *delta.others) if self._same_wire else (delta,)
        if any(not _is_whole(call) for part in parts for call in part.tool_calls):
            return b"".join(self._told_again(part) for part in parts) if event.raw or not self._same_wire else b""
        released = b"".join(self._release(part.choice_index) for part in parts if part.finish_reason)
        out = self._inner.event(event)
        if delta.is_end and out:
            return released + self._report() + out
        passed_on = out == event.raw and delta.usage is not None and delta.finish_reason is not None
        self._is_reported = self._is_reported or (passed_on and _tells_usage(out))
        return released + out

    def end(self, explain: Callable[[], Explanation]) -> bytes:
        return self._report() + self._inner.end(explain)

    def error(self, error: GatewayError, request_id: str) -> bytes:
        return self._inner.error(error, request_id)

    def _note(self, delta: ChatDelta) -> None:
        self._id = delta.id or self._id
        self._model = delta.model or self._model
        if delta.usage is not None:
            self._usage = self._usage.merged_with(delta.usage)

    def _told_again(self, delta: ChatDelta) -> bytes:
        for call in delta.tool_calls:
            key = (delta.choice_index, call.index)
            held = self._held.get(key)
            self._held[key] = call if held is None else _joined(held, call)
        released = self._release(delta.choice_index) if delta.finish_reason else b""
        return released + self._tell(msgspec.structs.replace(delta, tool_calls=(), others=()))

    def _release(self, choice_index: int) -> bytes:
        """The whole calls of a choice that has ended."""
        keys = sorted(key for key in self._held if key[0] == choice_index)
        calls = tuple(self._held.pop(key) for key in keys)
        whole = tuple(replace(call, arguments=call.arguments or "{}") for call in calls)
        return self._tell(ChatDelta(tool_calls=whole, choice_index=choice_index)) if whole else b""

    def _tell(self, delta: ChatDelta) -> bytes:
        if self._same_wire:
            delta = msgspec.structs.replace(delta, id=self._id, model=self._model)
        return self._own.event(StreamEvent(b"", delta))

    def _report(self) -> bytes:
        usage = usage_out(self._usage)
        if self._is_reported or usage is None:
            return b""
        self._is_reported = True
        choice = {"index": 0, "delta": {"content": ""}, "finish_reason": None}
        head = {"id": self._id, "object": "chat.completion.chunk", "created": now_s(), "model": self._model}
        return b"data: " + msgspec.json.encode({**head, "choices": [choice], "usage": usage}) + b"\n\n"


def _is_whole(call: ToolCallDelta) -> bool:
    """Named, and its arguments are complete JSON."""
    if call.name is None:
        return False
    try:
        return isinstance(msgspec.json.decode(call.arguments), dict)
    except msgspec.DecodeError:
        return False


def _joined(held: ToolCallDelta, call: ToolCallDelta) -> ToolCallDelta:
    return replace(
        held,
        id=held.id or call.id,
        name=held.name or call.name,
        arguments=held.arguments + call.arguments,
        signature=call.signature or held.signature,
    )


def _tells_usage(raw: bytes) -> bool:
    """Whether the usage is where Mistral's clients look for it: Groq has it in ``x_groq``."""
    _, _, data = raw.partition(b"data:")
    try:
        return bool(msgspec.json.decode(data.strip()).get("usage"))
    except msgspec.DecodeError:
        return False
