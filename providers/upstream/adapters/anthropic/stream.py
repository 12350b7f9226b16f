"""Anthropic messages streams."""

from __future__ import annotations

from typing import Literal

import msgspec

from providers.upstream.adapters.anthropic.answer import finish_reason
from providers.upstream.adapters.anthropic.usage import parse_usage
from providers.upstream.adapters.base import StreamParser
from providers.upstream.adapters.error_rules import error_in_success
from providers.upstream.adapters.json_values import (
    count_at,
    decode_or_none,
    encode_text,
    object_at,
    snippet,
    text_at,
)
from providers.upstream.adapters.reported_cost import with_reported_cost
from providers.upstream.errors import InvalidBody
from providers.upstream.sse import SseEvent
from providers.upstream.types import (
    ChatDelta,
    JsonObject,
    TokenUsage,
    ToolCallDelta,
)

_NOTHING = ChatDelta()
_UNKNOWN_EVENT = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class _Text(msgspec.Struct, gc=False):
    type: Literal["text_delta"]
    text: str


class _TextEvent(msgspec.Struct, gc=False):
    """The event that nearly all of a stream consists of. Whatever does not fit is looked at as a decoded object."""

    type: Literal["content_block_delta"]
    delta: _Text
    error: None = None


_decode_text = msgspec.json.Decoder(_TextEvent).decode


class AnthropicStreamParser(StreamParser):
    """The finish marker is ``message_stop``; the final usage comes in ``message_delta`` and overwrites, never adds."""

    __slots__ = ("_tool_by_block",)

    def __init__(self) -> None:
        super().__init__()
        self._tool_by_block: dict[int, int] = {}

    def feed(self, event: SseEvent) -> ChatDelta:
        try:
            return ChatDelta(text=_decode_text(event.data).delta.text)
        except _UNKNOWN_EVENT:
            return self._feed_any(event)

    def _feed_any(self, event: SseEvent) -> ChatDelta:
        if not event.data:
            return _NOTHING
        if event.data.strip() == b"[DONE]":  # OpenRouter ends its messages streams the OpenAI way
            return ChatDelta(is_end=True)
        body = decode_or_none(event.data)
        if not isinstance(body, dict):
            raise InvalidBody(f"a stream event that is no JSON object: {snippet(event.data)}")
        error = error_in_success(body)
        if error is not None:
            raise error
        match body.get("type") or event.event:
            case "message_start":
                return self._start(object_at(body, "message"))
            case "content_block_start":
                return self._block_start(count_at(body, "index") or 0, object_at(body, "content_block"))
            case "content_block_delta":
                return self._block_delta(count_at(body, "index") or 0, object_at(body, "delta"))
            case "message_delta":
                return self._message_delta(body, event.data)
            case "message_stop":
                self.is_complete = True
                return ChatDelta(is_end=True)
        return _NOTHING

    def _start(self, message: JsonObject) -> ChatDelta:
        self.upstream_id = text_at(message, "id")
        self.usage = parse_usage(object_at(message, "usage"))
        return ChatDelta(usage=self.usage, id=self.upstream_id or None, model=text_at(message, "model") or None)

    def _block_start(self, block: int, content: JsonObject) -> ChatDelta:
        match content.get("type"):
            case "tool_use":
                index = self._tool_by_block.setdefault(block, len(self._tool_by_block))
                given = content.get("input")
                call_id = text_at(content, "id") or f"call_{index}"
                call = ToolCallDelta(index, call_id, text_at(content, "name"), encode_text(given) if given else "")
                return ChatDelta(tool_calls=(call,))
            case "text":
                return ChatDelta(text=text_at(content, "text"))
            case "thinking":
                return ChatDelta(reasoning=text_at(content, "thinking"), reasoning_signature=text_at(content, "signature") or None)
        return _NOTHING

    def _block_delta(self, block: int, delta: JsonObject) -> ChatDelta:
        match delta.get("type"):
            case "text_delta":
                return ChatDelta(text=text_at(delta, "text"))
            case "thinking_delta":
                return ChatDelta(reasoning=text_at(delta, "thinking"))
            case "signature_delta":
                return ChatDelta(reasoning_signature=text_at(delta, "signature") or None)
            case "input_json_delta" if block in self._tool_by_block:
                return ChatDelta(tool_calls=(ToolCallDelta(self._tool_by_block[block], arguments=text_at(delta, "partial_json")),))
        return _NOTHING

    def _message_delta(self, body: JsonObject, raw: bytes) -> ChatDelta:
        usage = with_reported_cost(parse_usage(object_at(body, "usage")), raw)
        self.usage = self._overwritten(usage)
        self.usage_is_final = usage.output_tokens is not None and self.usage.is_complete
        return ChatDelta(finish_reason=finish_reason(object_at(body, "delta").get("stop_reason")), usage=self.usage)

    def _overwritten(self, later: TokenUsage) -> TokenUsage:
        merged = self.usage.merged_with(later)
        if later.cache_write_tokens is not None and later.cache_write_1h_tokens is None and self.usage.cache_write_1h_tokens:
            # The closing event repeats the total without its split: keep the split of the opening one.
            five_minutes = max(0, later.cache_write_tokens - self.usage.cache_write_1h_tokens)
            return merged.merged_with(TokenUsage(cache_write_tokens=five_minutes))
        return merged
