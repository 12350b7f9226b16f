"""Canonical deltas -> the events of a Responses stream (https://platform.openai.com/docs/api-reference/responses-streaming)."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from aigateway.dialects.base import Explanation, now_s
from aigateway.dialects.openai_responses.answer import (
    call_item,
    finished_out,
    frame_out,
    logprobs_out,
    message_item,
    reasoning_item,
    response_id,
    text_part,
)
from aigateway.dialects.openai_responses.errors import error_event
from aigateway.errors import GatewayError
from providers.upstream.types import ChatDelta, FinishReason, ReasoningPart, StreamEvent, TokenLogprob, TokenUsage, ToolCall, ToolCallDelta


class SameWireStream:
    """Events pass byte for byte, and the stream ends where the upstream ended."""

    def event(self, event: StreamEvent) -> bytes:
        return event.raw

    def end(self, explain: Callable[[], Explanation]) -> bytes:
        return b""

    def error(self, error: GatewayError, request_id: str) -> bytes:
        return error_event(error, request_id, 0)


@dataclass(slots=True)
class _Item:
    """One output item under way. ``kind`` is ``reasoning``, ``text``, ``refusal`` or ``call``."""

    index: int
    id: str
    kind: str
    pieces: list[str] = field(default_factory=list)
    logprobs: list[TokenLogprob] = field(default_factory=list)
    call_id: str = ""
    name: str = ""
    signature: str | None = None

    @property
    def content(self) -> str:
        return "".join(self.pieces)


class TranslatedStream:
    """Items are numbered as they begin. Text, refusals and reasoning close when anything else begins; calls stay open to the
    end, because other formats may send fragments of several calls in turns."""

    def __init__(self, model: str, asked: Mapping[str, Any]) -> None:
        self._model = model
        self._asked = asked
        self._numbers = itertools.count()
        self._answer_id = ""
        self._frame: dict[str, Any] = {}
        self._items: list[_Item] = []
        self._open: _Item | None = None
        self._calls: dict[int, _Item] = {}
        self._done: dict[int, dict[str, Any]] = {}
        self._finish: FinishReason | None = None
        self._usage = TokenUsage()

    def event(self, event: StreamEvent) -> bytes:
        delta = event.delta
        self._answer_id = self._answer_id or delta.id or ""
        self._model = delta.model or self._model
        if delta.usage is not None:
            self._usage = self._usage.merged_with(delta.usage)
        self._finish = delta.finish_reason or self._finish
        if delta.choice_index or not (delta.has_content or delta.reasoning_signature):
            return b""
        return self._start() + self._content(delta)

    def end(self, explain: Callable[[], Explanation]) -> bytes:
        out = self._start()
        if not self._items:
            out += self._begin("text")[0]
        out += self._close_open() + b"".join(self._close_call(call) for call in self._calls.values())
        items = [self._done[item.index] for item in self._items]
        response = finished_out({**self._frame, "model": self._model}, items, self._finish, self._usage)
        return out + self._event(f"response.{response['status']}", {"response": response})

    def error(self, error: GatewayError, request_id: str) -> bytes:
        return error_event(error, request_id, next(self._numbers))

    # ----------------------------------------------------------------- items

    def _start(self) -> bytes:
        if self._frame:
            return b""
        self._answer_id = self._answer_id or uuid.uuid4().hex  # for upstreams that name nothing
        self._frame = frame_out(response_id(self._answer_id), self._model, self._asked, now_s())
        return b"".join(self._event(f"response.{state}", {"response": self._frame}) for state in ("created", "in_progress"))

    def _content(self, delta: ChatDelta) -> bytes:
        out = b""
        for kind, text in (("reasoning", delta.reasoning), ("text", delta.text), ("refusal", delta.refusal)):
            if text:
                out += self._grow(kind, text, delta.logprobs if kind == "text" else ())
            if kind == "reasoning" and delta.reasoning_signature:
                out += self._sign(delta.reasoning_signature)
        return out + b"".join(self._call(call) for call in delta.tool_calls)

    def _sign(self, signature: str) -> bytes:
        """A signature follows its reasoning, or stands for reasoning that is not shown."""
        out, item = b"", self._open
        if item is None or item.kind != "reasoning":
            out, item = self._begin("reasoning")
        item.signature = signature
        return out

    def _grow(self, kind: str, text: str, logprobs: tuple[TokenLogprob, ...]) -> bytes:
        out, item = b"", self._open
        if item is None or item.kind != kind:
            out, item = self._begin(kind)
        item.pieces.append(text)
        item.logprobs += logprobs
        if kind == "reasoning":
            return out + self._of(item, "response.reasoning_summary_text.delta", {"summary_index": 0, "delta": text})
        if kind == "refusal":
            return out + self._of(item, "response.refusal.delta", {"content_index": 0, "delta": text})
        fields = {"content_index": 0, "delta": text, "logprobs": logprobs_out(logprobs)}
        return out + self._of(item, "response.output_text.delta", fields)

    def _call(self, call: ToolCallDelta) -> bytes:
        out, item = b"", self._calls.get(call.index)
        if item is None:
            out = self._close_open()
            item = self._new("call")
            item.call_id, item.name, item.signature = call.id or f"call_{call.index}", call.name or "", call.signature
            self._calls[call.index] = item
            begun = {**call_item(item.id, ToolCall(item.call_id, item.name, "", item.signature), None), "status": "in_progress"}
            out += self._event("response.output_item.added", {"output_index": item.index, "item": begun})
        if call.arguments:
            item.pieces.append(call.arguments)
            out += self._of(item, "response.function_call_arguments.delta", {"delta": call.arguments})
        return out

    def _new(self, kind: str) -> _Item:
        prefix = {"reasoning": "rs", "call": "fc"}.get(kind, "msg")
        item = _Item(len(self._items), f"{prefix}_{self._answer_id}_{len(self._items)}", kind)
        self._items.append(item)
        return item

    def _begin(self, kind: str) -> tuple[bytes, _Item]:
        out = self._close_open()
        self._open = item = self._new(kind)
        if kind == "reasoning":
            begun: dict[str, Any] = reasoning_item(item.id, ReasoningPart(""))
            part = ("response.reasoning_summary_part.added", {"summary_index": 0, "part": {"type": "summary_text", "text": ""}})
        else:
            begun = {**message_item(item.id, [], None), "status": "in_progress"}
            part = ("response.content_part.added", {"content_index": 0, "part": _part(item)})
        out += self._event("response.output_item.added", {"output_index": item.index, "item": begun})
        return out + self._of(item, *part), item

    def _close_open(self) -> bytes:
        item, self._open = self._open, None
        if item is None:
            return b""
        if item.kind == "reasoning":
            done = reasoning_item(item.id, ReasoningPart(item.content, item.signature))
            summary = {"type": "summary_text", "text": item.content}
            out = self._of(item, "response.reasoning_summary_text.done", {"summary_index": 0, "text": item.content})
            out += self._of(item, "response.reasoning_summary_part.done", {"summary_index": 0, "part": summary})
        else:
            part = _part(item)
            done = message_item(item.id, [part], self._finish)
            kind, name = ("refusal", "response.refusal.done") if item.kind == "refusal" else ("text", "response.output_text.done")
            extra = {} if item.kind == "refusal" else {"logprobs": part["logprobs"]}
            out = self._of(item, name, {"content_index": 0, kind: item.content, **extra})
            out += self._of(item, "response.content_part.done", {"content_index": 0, "part": part})
        return out + self._item_done(item, done)

    def _close_call(self, item: _Item) -> bytes:
        out = self._of(item, "response.function_call_arguments.done", {"name": item.name, "arguments": item.content})
        return out + self._item_done(
            item, call_item(item.id, ToolCall(item.call_id, item.name, item.content, item.signature), self._finish)
        )

    def _item_done(self, item: _Item, done: dict[str, Any]) -> bytes:
        self._done[item.index] = done
        return self._event("response.output_item.done", {"output_index": item.index, "item": done})

    def _of(self, item: _Item, name: str, fields: Mapping[str, Any]) -> bytes:
        return self._event(name, {"output_index": item.index, "item_id": item.id, **fields})

    def _event(self, name: str, fields: Mapping[str, Any]) -> bytes:
        body = {"type": name, "sequence_number": next(self._numbers), **fields}
        return b"event: " + name.encode() + b"\ndata: " + msgspec.json.encode(body) + b"\n\n"


def _part(item: _Item) -> dict[str, Any]:
    return {"type": "refusal", "refusal": item.content} if item.kind == "refusal" else text_part(item.content, item.logprobs)
