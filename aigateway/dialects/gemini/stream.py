"""Canonical deltas -> the chunks of a Gemini stream: server-sent events, or one JSON array for clients that ask for no ``alt=sse``."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import msgspec

from aigateway.dialects.base import Explanation
from aigateway.dialects.gemini.answer import candidate_out, logprobs_out, usage_out
from aigateway.dialects.gemini.errors import error_out
from aigateway.errors import GatewayError
from providers.upstream.json_array import JsonArrayParser
from providers.upstream.sse import SseParser
from providers.upstream.types import ChatDelta, FinishReason, StreamEvent, TokenUsage, ToolCall, ToolCallDelta

_JSON_STARTS = (b"[", b",", b"{", b"]")
"""How a piece of a JSON array begins, and no server-sent event."""


_LINE_ENDS_TO_BLANKS = bytes.maketrans(b"\r\n", b"  ")


class SseFrames:
    """Every chunk is an event that ends in CRLF CRLF, as Google's do."""

    def chunk(self, payload: bytes) -> bytes:
        """Ends of lines in JSON are blanks between two tokens; in an event they would end its data."""
        return b"data: " + payload.translate(_LINE_ENDS_TO_BLANKS) + b"\r\n\r\n"

    def end(self) -> bytes:
        return b""


class ArrayFrames:
    """Every chunk is an element; the array stays open when the stream breaks, after an element that says why."""

    def __init__(self) -> None:
        self._started = False

    def chunk(self, payload: bytes) -> bytes:
        lead = b",\r\n" if self._started else b"["
        self._started = True
        return lead + payload

    def end(self) -> bytes:
        return b"]" if self._started else b"[]"


Frames = SseFrames | ArrayFrames


class SameWireStream:
    """Events pass byte for byte where both sides frame them alike, their payloads where they do not."""

    def __init__(self, frames: Frames) -> None:
        self._frames = frames

    def event(self, event: StreamEvent) -> bytes:
        is_json = event.raw.lstrip()[:1] in _JSON_STARTS
        if isinstance(self._frames, SseFrames) and not is_json:
            return event.raw
        parser = JsonArrayParser() if is_json else SseParser()
        payloads = [block.data for block in (*parser.feed(event.raw), *parser.finish()) if block.data]
        return b"".join(map(self._frames.chunk, payloads))

    def end(self, explain: Callable[[], Explanation]) -> bytes:
        return self._frames.end()

    def error(self, error: GatewayError, request_id: str) -> bytes:
        return self._frames.chunk(error_out(error, request_id))


class _Candidate:
    """One alternative under way. Other wire formats send a call in fragments, Google sends it whole: it waits for the end."""

    def __init__(self) -> None:
        self.reason: FinishReason | None = None
        self._calls: dict[int, ToolCall] = {}

    def take(self, delta: ToolCallDelta) -> None:
        known = self._calls.get(delta.index, ToolCall(f"call_{delta.index}", "", ""))
        self._calls[delta.index] = ToolCall(
            delta.id or known.id, delta.name or known.name, known.arguments + delta.arguments, delta.signature or known.signature
        )

    def last(self, index: int) -> dict[str, Any]:
        return candidate_out(index, [], list(self._calls.values()), self.reason)


class TranslatedStream:
    """The last chunk carries what other formats scatter: calls, finish reasons and usage."""

    def __init__(self, model: str, frames: Frames) -> None:
        self._model = model
        self._frames = frames
        self._id = uuid.uuid4().hex  # for upstreams that name nothing
        self._candidates: dict[int, _Candidate] = {0: _Candidate()}
        self._usage = TokenUsage()

    def event(self, event: StreamEvent) -> bytes:
        delta = event.delta
        self._id = delta.id or self._id
        self._model = delta.model or self._model
        if delta.usage is not None:
            self._usage = self._usage.merged_with(delta.usage)
        candidate = self._candidates.setdefault(delta.choice_index, _Candidate())
        candidate.reason = delta.finish_reason or candidate.reason
        for call in delta.tool_calls:
            candidate.take(call)
        parts = _parts(delta)
        if not parts:
            return b""
        out: dict[str, Any] = {"index": delta.choice_index, "content": {"role": "model", "parts": parts}}
        if delta.logprobs:
            out["logprobsResult"] = logprobs_out(delta.logprobs)
        return self._chunk({"candidates": [out]})

    def end(self, explain: Callable[[], Explanation]) -> bytes:
        last = [candidate.last(index) for index, candidate in sorted(self._candidates.items())]
        return self._chunk({"candidates": last, "usageMetadata": usage_out(self._usage)}) + self._frames.end()

    def error(self, error: GatewayError, request_id: str) -> bytes:
        return self._frames.chunk(error_out(error, request_id))

    def _chunk(self, payload: dict[str, Any]) -> bytes:
        return self._frames.chunk(msgspec.json.encode({**payload, "modelVersion": self._model, "responseId": self._id}))


def _parts(delta: ChatDelta) -> list[dict[str, Any]]:
    thoughts = [{"text": delta.reasoning, "thought": True}] if delta.reasoning else []
    return thoughts + [{"text": text} for text in (delta.text, delta.refusal) if text]
