"""Ollama's streams: one JSON object a line."""

from __future__ import annotations

from providers.upstream.adapters.base import StreamParser
from providers.upstream.adapters.error_rules import error_in_success
from providers.upstream.adapters.json_values import decode_or_none, snippet, text_at
from providers.upstream.adapters.ollama.answer import finish_reason, text_and_thinking, tool_calls
from providers.upstream.adapters.ollama.errors import ERRORS
from providers.upstream.adapters.ollama.usage import parse_usage
from providers.upstream.errors import InvalidBody
from providers.upstream.sse import SseEvent
from providers.upstream.types import ChatDelta, JsonObject, ToolCallDelta

_NOTHING = ChatDelta()


class OllamaStreamParser(StreamParser):
    """The finish marker is a line with ``"done": true``, which carries the usage as well. Tool calls come whole."""

    __slots__ = ("_calls",)

    def __init__(self) -> None:
        super().__init__()
        self._calls = 0

    def feed(self, event: SseEvent) -> ChatDelta:
        if not event.data:
            return _NOTHING
        body = decode_or_none(event.data)
        if not isinstance(body, dict):
            raise InvalidBody(f"a line of the stream that is no JSON object: {snippet(event.data)}")
        error = error_in_success(body, ERRORS)
        if error is not None:
            raise error
        text, thinking = text_and_thinking(body)
        calls = tool_calls(body, self._calls)
        deltas = tuple(ToolCallDelta(index, call.id, call.name, call.arguments) for index, call in enumerate(calls, self._calls))
        self._calls += len(calls)
        is_done = body.get("done") is True
        if is_done:
            self._note_end(body)
        return ChatDelta(
            text=text,
            reasoning=thinking,
            tool_calls=deltas,
            finish_reason=finish_reason(body, has_tool_calls=self._calls > 0) if is_done else None,
            usage=self.usage if is_done else None,
            model=text_at(body, "model") or None,
            is_end=is_done,
        )

    def _note_end(self, body: JsonObject) -> None:
        self.is_complete = True
        self.usage = parse_usage(body)
        self.usage_is_final = self.usage.is_complete
