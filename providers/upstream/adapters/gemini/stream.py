"""Gemini streams: every event is an answer of its own, holding what is new."""

from __future__ import annotations

from typing import Any

from providers.upstream.adapters.base import StreamParser
from providers.upstream.adapters.error_rules import error_in_success
from providers.upstream.adapters.gemini.answer import finish_reason, is_blocked, is_call, is_thought, parse_logprobs, parts_of, tool_call
from providers.upstream.adapters.gemini.errors import ERRORS
from providers.upstream.adapters.gemini.usage import parse_usage
from providers.upstream.adapters.json_values import count_at, decode_or_none, list_at, object_at, snippet, text_at
from providers.upstream.errors import InvalidBody
from providers.upstream.sse import SseEvent
from providers.upstream.types import ChatDelta, FinishReason, JsonObject, TokenUsage, ToolCallDelta

_NOTHING = ChatDelta()
_UNKNOWN = TokenUsage()


class GeminiStreamParser(StreamParser):
    """There is no end marker: the answer is whole once every candidate seen has its ``finishReason``. Usage is cumulative,
    so the last figures win; they may come after the finish."""

    __slots__ = ("_calls", "_finished", "_seen")

    def __init__(self) -> None:
        super().__init__()
        self._calls: dict[int, int] = {}
        """Calls so far, by candidate: they are numbered across events."""
        self._seen: set[int] = set()
        self._finished: set[int] = set()

    def feed(self, event: SseEvent) -> ChatDelta:
        if not event.data:
            return _NOTHING
        if event.data.strip() == b"[DONE]":  # proxies end streams the OpenAI way
            return ChatDelta(is_end=True)
        body = decode_or_none(event.data)
        if not isinstance(body, dict):
            raise InvalidBody(f"a stream event that is no JSON object: {snippet(event.data)}")
        error = error_in_success(body, ERRORS)
        if error is not None:
            raise error
        usage = self._take_usage(object_at(body, "usageMetadata"))
        self.upstream_id = text_at(body, "responseId") or self.upstream_id
        candidates = [candidate for candidate in list_at(body, "candidates") if isinstance(candidate, dict)]
        deltas = [self._candidate(position, candidate) for position, candidate in enumerate(candidates)]
        blocked = is_blocked(body) and not deltas
        self.is_complete = self.is_complete or blocked or (bool(self._finished) and self._finished >= self._seen)
        self.usage_is_final = self.is_complete and self.usage.is_complete
        if blocked:
            deltas = [{"finish_reason": FinishReason.CONTENT_FILTER}]
        return self._joined(body, usage, deltas)

    def _joined(self, body: JsonObject, usage: TokenUsage | None, deltas: list[dict[str, Any]]) -> ChatDelta:
        first, *rest = deltas or [{}]
        return ChatDelta(
            **first,
            usage=usage,
            id=self.upstream_id or None,
            model=text_at(body, "modelVersion") or None,
            others=tuple(ChatDelta(**other) for other in rest),
        )

    def _take_usage(self, reported: JsonObject) -> TokenUsage | None:
        usage = parse_usage(reported)
        if usage == _UNKNOWN:
            return None
        self.usage = usage
        return usage

    def _candidate(self, position: int, candidate: JsonObject) -> dict[str, Any]:
        """The fields of one candidate's delta."""
        numbered = count_at(candidate, "index")
        index = position if numbered is None else numbered
        self._seen.add(index)
        parts = parts_of(candidate)
        calls = tuple(self._call(index, part) for part in filter(is_call, parts))
        reason = finish_reason(candidate.get("finishReason"), has_tool_calls=self._calls.get(index, 0) > 0)
        if reason is not None:
            self._finished.add(index)
        return {
            "text": "".join(text_at(part, "text") for part in parts if not is_thought(part)),
            "reasoning": "".join(text_at(part, "text") for part in parts if is_thought(part)),
            "tool_calls": calls,
            "finish_reason": reason,
            "choice_index": index,
            "logprobs": parse_logprobs(candidate),
        }

    def _call(self, index: int, part: JsonObject) -> ToolCallDelta:
        """Calls come whole."""
        number = self._calls.get(index, 0)
        self._calls[index] = number + 1
        call = tool_call(part, number, self.upstream_id)
        return ToolCallDelta(number, call.id, call.name, call.arguments, call.signature)
