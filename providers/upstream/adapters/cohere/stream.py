"""Cohere's ``/v2/chat`` streams (https://docs.cohere.com/docs/streaming)."""

from __future__ import annotations

from providers.upstream.adapters.base import StreamParser
from providers.upstream.adapters.cohere.answer import finish_reason
from providers.upstream.adapters.cohere.errors import ERRORS
from providers.upstream.adapters.cohere.usage import parse_usage
from providers.upstream.adapters.error_rules import error_in_success
from providers.upstream.adapters.json_values import decode_or_none, object_at, snippet, text_at
from providers.upstream.errors import InvalidBody
from providers.upstream.sse import SseEvent
from providers.upstream.types import ChatDelta, JsonObject, ToolCallDelta

_NOTHING = ChatDelta()


class CohereStreamParser(StreamParser):
    """The finish marker is ``message-end``, which carries the usage; ``[DONE]`` follows it."""

    __slots__ = ("_calls", "_has_arguments")

    def __init__(self) -> None:
        super().__init__()
        self._calls = 0
        """Tool calls begun. Their own ``index`` need not start at zero, and fragments belong to the last one begun."""
        self._has_arguments = False

    def feed(self, event: SseEvent) -> ChatDelta:
        if not event.data:
            return _NOTHING
        if event.data.strip() == b"[DONE]":
            return ChatDelta(is_end=True)
        body = decode_or_none(event.data)
        if not isinstance(body, dict):
            raise InvalidBody(f"a stream event that is no JSON object: {snippet(event.data)}")
        kind = text_at(body, "type") or event.event
        self._raise_error(body, kind)
        delta = object_at(body, "delta")
        message = object_at(delta, "message")
        match kind:
            case "message-start":
                self.upstream_id = text_at(body, "id")
                return ChatDelta(id=self.upstream_id or None)
            case "content-start" | "content-delta":
                content = object_at(message, "content")
                return ChatDelta(text=text_at(content, "text"), reasoning=text_at(content, "thinking"))
            case "tool-plan-delta":
                return ChatDelta(reasoning=text_at(message, "tool_plan"))
            case "tool-call-start" | "tool-call-delta":
                return self._tool_call(object_at(message, "tool_calls"), starts=kind == "tool-call-start")
            case "tool-call-end" if self._calls and not self._has_arguments:  # a tool without parameters
                return ChatDelta(tool_calls=(ToolCallDelta(self._calls - 1, arguments="{}"),))
            case "message-end":
                return self._end(delta)
        return _NOTHING

    def _raise_error(self, body: JsonObject, kind: str) -> None:
        """An error is an event of its own, a bare ``message`` as in error bodies, or stands in the closing event."""
        closing = object_at(body, "delta").get("error")
        bare = body.get("message") if not kind else None
        error = error_in_success({"error": closing or bare, **body} if closing or isinstance(bare, str) else body, ERRORS)
        if error is not None:
            raise error

    def _tool_call(self, call: JsonObject, *, starts: bool) -> ChatDelta:
        function = object_at(call, "function")
        arguments = text_at(function, "arguments")
        self._has_arguments = bool(arguments) or (self._has_arguments and not starts)
        if not starts:
            return ChatDelta(tool_calls=(ToolCallDelta(max(self._calls - 1, 0), arguments=arguments),))
        self._calls += 1
        index = self._calls - 1
        begun = ToolCallDelta(index, text_at(call, "id") or f"call_{index}", text_at(function, "name"), arguments)
        return ChatDelta(tool_calls=(begun,))

    def _end(self, delta: JsonObject) -> ChatDelta:
        self.usage = parse_usage(object_at(delta, "usage"))
        self.usage_is_final = self.usage.is_complete
        reason = finish_reason(delta.get("finish_reason"), has_tool_calls=self._calls > 0)
        self.is_complete = True
        return ChatDelta(finish_reason=reason, usage=self.usage)
