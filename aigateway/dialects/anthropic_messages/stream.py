"""Canonical deltas -> the events of a Messages stream (https://docs.anthropic.com/en/docs/build-with-claude/streaming)."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import msgspec

from aigateway.dialects.anthropic_messages.answer import STOP_REASONS, message_id, tool_input, tool_use_head, usage_out
from aigateway.dialects.anthropic_messages.errors import error_out
from aigateway.dialects.base import Explanation
from aigateway.errors import GatewayError
from providers.upstream.types import ChatDelta, FinishReason, StreamEvent, TokenUsage, ToolCallDelta

_PING = b'event: ping\ndata: {"type":"ping"}\n\n'


class SameWireStream:
    """Events pass byte for byte, and the stream ends where the upstream ended."""

    def event(self, event: StreamEvent) -> bytes:
        return event.raw

    def end(self, explain: Callable[[], Explanation]) -> bytes:
        return b""

    def error(self, error: GatewayError, request_id: str) -> bytes:
        return _event("error", error_out(error, request_id))


class _Block:
    """One block under way. Text and thinking close when anything else begins."""

    def __init__(self, index: int, kind: str) -> None:
        self.index = index
        self.kind = kind
        self.arguments: list[str] = []

    @property
    def is_whole(self) -> bool:
        """Nothing can follow: only a tool's input tells by itself that it is complete."""
        text = "".join(self.arguments)
        return self.kind != "tool_use" or (bool(text.strip()) and "INVALID_JSON" not in tool_input(text))


class TranslatedStream:
    """Blocks are numbered as they begin. A tool's block stays open until its input is whole, because other wire formats may
    send the fragments of several calls in turns. ``message_delta`` waits for the end: usage comes last."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._message_id = uuid.uuid4().hex  # for upstreams that name nothing
        self._started = False
        self._blocks = 0
        self._open: list[_Block] = []
        self._tools: dict[int, _Block] = {}
        self._finish: FinishReason | None = None
        self._usage = TokenUsage()

    def event(self, event: StreamEvent) -> bytes:
        delta = event.delta
        self._message_id = delta.id or self._message_id
        self._model = delta.model or self._model
        if delta.usage is not None:
            self._usage = self._usage.merged_with(delta.usage)
        self._finish = delta.finish_reason or self._finish
        if delta.choice_index or not (delta.has_content or delta.reasoning_signature):
            return b""
        return self._start() + self._content(delta)

    def end(self, explain: Callable[[], Explanation]) -> bytes:
        out = self._start() + b"".join(self._close(block) for block in sorted(self._open, key=lambda block: block.index))
        reason = None if self._finish is None else STOP_REASONS[self._finish]
        delta = {"stop_reason": reason, "stop_sequence": None}
        out += _typed_event("message_delta", {"delta": delta, "usage": usage_out(self._usage)})
        return out + _typed_event("message_stop", {})

    def error(self, error: GatewayError, request_id: str) -> bytes:
        return _event("error", error_out(error, request_id))

    # ----------------------------------------------------------------- blocks

    def _start(self) -> bytes:
        """Counts begin at what is known, or at nothing yet: ``message_delta`` replaces them."""
        if self._started:
            return b""
        self._started = True
        usage = usage_out(self._usage)
        usage |= {name: usage[name] or 0 for name in ("input_tokens", "output_tokens")}
        message: dict[str, Any] = {
            "id": message_id(self._message_id),
            "type": "message",
            "role": "assistant",
            "model": self._model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": usage,
        }
        return _typed_event("message_start", {"message": message}) + _PING

    def _content(self, delta: ChatDelta) -> bytes:
        out = b""
        if delta.reasoning:
            out += self._in("thinking", {"thinking": "", "signature": ""}, {"type": "thinking_delta", "thinking": delta.reasoning})
        if delta.reasoning_signature:
            signature = {"type": "signature_delta", "signature": delta.reasoning_signature}
            out += self._in("thinking", {"thinking": "", "signature": ""}, signature)
        for text in (delta.text, delta.refusal):
            if text:
                out += self._in("text", {"text": ""}, {"type": "text_delta", "text": text})
        return out + b"".join(self._tool(call) for call in delta.tool_calls)

    def _in(self, kind: str, empty: dict[str, Any], delta: dict[str, Any]) -> bytes:
        last = self._open[-1] if self._open else None
        if last is not None and last.kind == kind:
            return _delta(last, delta)
        opened, block = self._begin(kind, {"type": kind, **empty})
        return opened + _delta(block, delta)

    def _tool(self, call: ToolCallDelta) -> bytes:
        out = b""
        block = self._tools.get(call.index)
        if block is None:
            call_id = call.id or f"call_{call.index}"
            out, block = self._begin("tool_use", tool_use_head(call_id, call.name or "", call.signature))
            self._tools[call.index] = block
        if call.arguments:
            block.arguments.append(call.arguments)
            out += _delta(block, {"type": "input_json_delta", "partial_json": call.arguments})
        return out

    def _begin(self, kind: str, content: dict[str, Any]) -> tuple[bytes, _Block]:
        closed = b"".join(self._close(block) for block in list(self._open) if block.is_whole)
        block = _Block(self._blocks, kind)
        self._blocks += 1
        self._open.append(block)
        return closed + _typed_event("content_block_start", {"index": block.index, "content_block": content}), block

    def _close(self, block: _Block) -> bytes:
        self._open.remove(block)
        return _typed_event("content_block_stop", {"index": block.index})


def _delta(block: _Block, delta: dict[str, Any]) -> bytes:
    return _typed_event("content_block_delta", {"index": block.index, "delta": delta})


def _typed_event(name: str, payload: dict[str, Any]) -> bytes:
    return _event(name, msgspec.json.encode({"type": name, **payload}))


def _event(name: str, data: bytes) -> bytes:
    return b"event: " + name.encode() + b"\ndata: " + data + b"\n\n"
