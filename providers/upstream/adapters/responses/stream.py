"""OpenAI Responses streams (https://platform.openai.com/docs/api-reference/responses-streaming)."""

from __future__ import annotations

from dataclasses import replace

from providers.upstream.adapters.base import StreamParser
from providers.upstream.adapters.error_rules import error_in_success
from providers.upstream.adapters.json_values import count_at, decode_or_none, list_at, object_at, snippet, text_at
from providers.upstream.adapters.reported_cost import with_reported_cost
from providers.upstream.adapters.responses.answer import finish_reason, logprobs_of
from providers.upstream.adapters.responses.errors import failure_of
from providers.upstream.adapters.responses.usage import is_billed_call, parse_usage
from providers.upstream.errors import InvalidBody, ServerFailed
from providers.upstream.sse import SseEvent
from providers.upstream.types import ChatDelta, JsonObject, TokenUsage, ToolCallDelta

_NOTHING = ChatDelta()
_REASONING = frozenset({"response.reasoning_summary_text.delta", "response.reasoning_text.delta", "response.reasoning.delta"})
_LAST = frozenset({"response.completed", "response.incomplete", "response.done"})  # the last one: OpenRouter's beta


class ResponsesStreamParser(StreamParser):
    """The finish marker is ``response.completed`` or ``response.incomplete``, which also holds the usage.

    OpenRouter adds ``[DONE]`` (wire.md); an end with that alone is a truncation.
    """

    __slots__ = ("_billed_calls", "_calls", "_fragments")

    def __init__(self) -> None:
        super().__init__()
        self._calls: dict[str, int] = {}
        """Tool calls begun, by the item they are."""
        self._fragments: set[str] = set()
        """Items of which argument fragments came."""
        self._billed_calls = 0

    def feed(self, event: SseEvent) -> ChatDelta:
        if not event.data:
            return _NOTHING
        if event.data.strip() == b"[DONE]":
            return ChatDelta(is_end=True)
        body = decode_or_none(event.data)
        if not isinstance(body, dict):
            raise InvalidBody(f"a stream event that is no JSON object: {snippet(event.data)}")
        kind = text_at(body, "type") or event.event
        if kind == "error" or (not kind and body.get("error")):
            raise error_in_success({"error": body, **body}) or ServerFailed("an error event without a reason")
        response = object_at(body, "response")
        if kind == "response.failed":
            self._note_usage(response, event.data)
            raise failure_of(response) or ServerFailed("the response failed without a reason")
        if kind in _LAST:
            return self._last(response, event.data)
        if kind == "response.output_item.done":
            self._billed_calls += is_billed_call(object_at(body, "item"))
        if response:
            self.upstream_id = self.upstream_id or text_at(response, "id")
            return ChatDelta(id=text_at(response, "id") or None, model=text_at(response, "model") or None)
        return self._content(kind, body)

    def _last(self, response: JsonObject, raw: bytes) -> ChatDelta:
        self.is_complete = True
        self.upstream_id = text_at(response, "id") or self.upstream_id
        usage = self._note_usage(response, raw)
        calls = any(text_at(item, "type") == "function_call" for item in list_at(response, "output"))
        finish = finish_reason(response, has_tool_calls=calls or bool(self._calls))
        model = text_at(response, "model") or None
        return ChatDelta(finish_reason=finish, usage=usage, id=self.upstream_id or None, model=model, is_end=True)

    def _note_usage(self, response: JsonObject, raw: bytes) -> TokenUsage | None:
        usage = parse_usage(response)
        if usage is not None:
            usage = replace(with_reported_cost(usage, raw), provider_tool_calls=max(self._billed_calls, usage.provider_tool_calls or 0))
            self.usage = self.usage.merged_with(usage)
            self.usage_is_final = self.usage.is_complete
        return usage

    def _content(self, kind: str, body: JsonObject) -> ChatDelta:
        if kind == "response.output_text.delta":
            return ChatDelta(text=text_at(body, "delta"), logprobs=logprobs_of(body))
        if kind == "response.refusal.delta":
            return ChatDelta(refusal=text_at(body, "delta"))
        if kind in _REASONING:
            return ChatDelta(reasoning=text_at(body, "delta"))
        if kind == "response.function_call_arguments.delta":
            self._fragments.add(_item_of(body))
            return ChatDelta(tool_calls=(ToolCallDelta(self._index(body), arguments=text_at(body, "delta")),))
        if kind == "response.output_item.added":
            return self._begun(body, object_at(body, "item"))
        if kind == "response.output_item.done":
            return self._done(body, object_at(body, "item"))
        return _NOTHING

    def _begun(self, body: JsonObject, item: JsonObject) -> ChatDelta:
        if item.get("type") != "function_call":
            return _NOTHING
        index = self._index(body)
        call_id = text_at(item, "call_id") or text_at(item, "id") or f"call_{index}"
        arguments = text_at(item, "arguments")  # xAI sends the whole call at once
        if arguments:
            self._fragments.add(_item_of(body))
        return ChatDelta(tool_calls=(ToolCallDelta(index, call_id, text_at(item, "name"), arguments),))

    def _done(self, body: JsonObject, item: JsonObject) -> ChatDelta:
        """What came in fragments is known by now; opaque reasoning and calls without fragments come here only."""
        if item.get("type") == "reasoning":
            return ChatDelta(reasoning_signature=text_at(item, "encrypted_content") or None)
        if item.get("type") != "function_call" or _item_of(body) in self._fragments:
            return _NOTHING
        known = _item_of(body) in self._calls
        index = self._index(body)
        arguments = text_at(item, "arguments")
        self._fragments.add(_item_of(body))
        if known:
            return ChatDelta(tool_calls=(ToolCallDelta(index, arguments=arguments),)) if arguments else _NOTHING
        call_id = text_at(item, "call_id") or text_at(item, "id") or f"call_{index}"
        return ChatDelta(tool_calls=(ToolCallDelta(index, call_id, text_at(item, "name"), arguments),))

    def _index(self, body: JsonObject) -> int:
        return self._calls.setdefault(_item_of(body), len(self._calls))


def _item_of(body: JsonObject) -> str:
    """Which item an event is about: by its place, which every host numbers; ids differ between events of some."""
    place = count_at(body, "output_index")
    return str(place) if place is not None else text_at(body, "item_id") or text_at(object_at(body, "item"), "id")
