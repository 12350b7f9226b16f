"""OpenAI chat completions streams, as OpenAI and everybody compatible with it really send them (wire.md)."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from providers.upstream.adapters.base import StreamParser
from providers.upstream.adapters.error_rules import error_in_success
from providers.upstream.adapters.json_values import (
    count_at,
    decode_or_none,
    list_at,
    object_at,
    snippet,
    text_at,
)
from providers.upstream.adapters.openai.message import arguments_of, finish_reason, logprobs_of, reasoning_of, text_and_thinking
from providers.upstream.adapters.openai.usage import parse_usage
from providers.upstream.adapters.reported_cost import with_reported_cost
from providers.upstream.errors import InvalidBody
from providers.upstream.sse import SseEvent
from providers.upstream.types import (
    ChatDelta,
    JsonObject,
    TokenUsage,
    ToolCallDelta,
)

_KEEP_ALIVE = ChatDelta()
_DONE = ChatDelta(is_end=True)
_UNKNOWN_CHUNK = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class _Text(msgspec.Struct, gc=False):
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: None = None
    tool_calls: None = None
    function_call: None = None


class _TextChoice(msgspec.Struct, gc=False):
    delta: _Text
    index: int = 0
    message: None = None
    finish_reason: None = None
    logprobs: None = None


class _TextChunk(msgspec.Struct, gc=False):
    """The chunk that nearly all of a stream consists of: one choice that goes on with text.

    Decoding it costs a tenth of looking at a decoded object. Whatever does not fit, the parser looks at that way.
    """

    choices: tuple[_TextChoice]
    id: str = ""
    model: str = ""
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    type: None = None
    error: None = None
    usage: None = None
    x_groq: None = None
    timings: None = None


_decode_text = msgspec.json.Decoder(_TextChunk).decode


class OpenAIStreamParser(StreamParser):
    """The finish marker is a ``finish_reason`` for every choice seen, or ``[DONE]`` after some choice.

    A missing ``[DONE]`` is no fault (Perplexity, older TGI), and neither is a missing ``finish_reason`` before it
    (Snowflake, older TGI); an end without either is a truncation.
    """

    __slots__ = ("_calls", "_finished", "_seen")

    def __init__(self) -> None:
        super().__init__()
        self._seen: set[int] = set()
        self._finished: set[int] = set()
        self._calls: dict[int, int] = {}
        """Tool calls begun, by choice."""

    def feed(self, event: SseEvent) -> ChatDelta:
        if event.event == "error":
            return self._feed_any(event)
        try:
            chunk = _decode_text(event.data)
        except _UNKNOWN_CHUNK:
            return self._feed_any(event)
        choice = chunk.choices[0]
        index = choice.index
        if index not in self._seen:
            if index < 0:
                return self._feed_any(event)
            self._seen.add(index)
            self.is_complete = False
        if not self.upstream_id:
            self.upstream_id = chunk.id
        text = choice.delta
        return ChatDelta(
            text=text.content or "",
            reasoning=text.reasoning_content or text.reasoning or "",
            id=chunk.id or None,
            model=chunk.model or None,
            choice_index=index,
        )

    def _feed_any(self, event: SseEvent) -> ChatDelta:
        if not event.data:
            return _KEEP_ALIVE
        if event.data.strip() == b"[DONE]":
            self.is_complete = self.is_complete or bool(self._seen)
            self.usage_is_final = self.is_complete and self.usage.is_complete
            return _DONE
        chunk = decode_or_none(event.data)
        if not isinstance(chunk, dict):
            raise InvalidBody(f"a stream event that is no JSON object: {snippet(event.data)}")
        choices = list_at(chunk, "choices")
        self._note_finish(choices)
        usage = self._note_usage(chunk, event.data)
        error = error_in_success({"error": chunk, **chunk} if event.event == "error" else chunk)
        if error is not None:
            raise error
        self.upstream_id = self.upstream_id or text_at(chunk, "id")
        meanings = [self._delta(chunk, choice, usage) for choice in choices if isinstance(choice, dict)]
        if not meanings:
            return self._delta(chunk, {}, usage)
        return meanings[0] if len(meanings) == 1 else msgspec.structs.replace(meanings[0], others=tuple(meanings[1:]))

    def _note_finish(self, choices: list[Any]) -> None:
        for choice in choices:
            index = count_at(choice, "index") or 0
            self._seen.add(index)
            if isinstance(choice, dict) and choice.get("finish_reason"):
                self._finished.add(index)
        self.is_complete = bool(self._finished) and self._finished >= self._seen

    def _note_usage(self, chunk: JsonObject, raw: bytes) -> TokenUsage | None:
        usage = parse_usage(chunk)
        if usage is not None:
            usage = with_reported_cost(usage, raw)
            self.usage = self.usage.merged_with(usage)
            self.usage_is_final = self.is_complete and self.usage.is_complete
        return usage

    def _delta(self, chunk: JsonObject, choice: JsonObject, usage: TokenUsage | None) -> ChatDelta:
        index = count_at(choice, "index") or 0
        delta = object_at(choice, "delta") or object_at(choice, "message")
        text, thinking = text_and_thinking(delta.get("content"))
        calls = self._tool_call_deltas(index, delta)
        return ChatDelta(
            text=text,
            reasoning=reasoning_of(delta) or thinking,
            tool_calls=calls,
            refusal=text_at(delta, "refusal"),
            finish_reason=finish_reason(choice.get("finish_reason"), has_tool_calls=index in self._calls),
            usage=usage,
            id=text_at(chunk, "id") or None,
            model=text_at(chunk, "model") or None,
            choice_index=index,
            logprobs=logprobs_of(choice) if choice.get("logprobs") else (),
        )

    def _tool_call_deltas(self, choice_index: int, delta: JsonObject) -> tuple[ToolCallDelta, ...]:
        calls = list_at(delta, "tool_calls")
        if not calls and object_at(delta, "function_call"):
            calls = [{"index": 0, "function": delta["function_call"]}]
        return tuple(self._tool_call_delta(choice_index, call) for call in calls)

    def _tool_call_delta(self, choice_index: int, call: Any) -> ToolCallDelta:
        begun = self._calls.get(choice_index, 0)
        function = object_at(call, "function")
        name = text_at(function, "name") or None
        index = count_at(call, "index")
        if index is None:  # Google's compatible endpoint numbers nothing: a name begins the next call
            index = begun if name else max(begun - 1, 0)
        starts = index >= begun
        self._calls[choice_index] = max(begun, index + 1)
        return ToolCallDelta(
            index=index,
            id=text_at(call, "id") or (f"call_{index}" if starts else None),
            name=name,
            arguments=arguments_of(function),
        )
