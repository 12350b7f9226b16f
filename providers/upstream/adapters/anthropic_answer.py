"""Anthropic messages answers and streams."""

from __future__ import annotations

from typing import Any

from providers.upstream.adapters.base import StreamParser
from providers.upstream.adapters.error_rules import error_in_success
from providers.upstream.adapters.json_values import (
    count_at,
    decode_object,
    decode_or_none,
    encode_text,
    object_at,
    snippet,
    text_at,
)
from providers.upstream.errors import InvalidBody
from providers.upstream.sse import SseEvent
from providers.upstream.types import (
    ChatChoice,
    ChatDelta,
    ChatResponse,
    FinishReason,
    HttpResponse,
    JsonObject,
    ReasoningPart,
    TokenUsage,
    ToolCall,
    ToolCallDelta,
    Wire,
)

_STOP_REASONS = {
    "end_turn": FinishReason.STOP,
    "stop_sequence": FinishReason.STOP,
    "max_tokens": FinishReason.LENGTH,
    "model_context_window_exceeded": FinishReason.LENGTH,
    "pause_turn": FinishReason.LENGTH,  # a server tool's turn to be continued: the answer is not whole
    "tool_use": FinishReason.TOOL_CALLS,
    "refusal": FinishReason.CONTENT_FILTER,
}

_NOTHING = ChatDelta()


def _finish_reason(value: Any) -> FinishReason | None:
    return _STOP_REASONS.get(value, FinishReason.STOP) if isinstance(value, str) and value else None


def parse_answer(response: HttpResponse) -> ChatResponse:
    body = decode_object(response.body)
    error = error_in_success(body)
    if error is not None:
        raise error
    if not isinstance(body.get("content"), list):
        raise InvalidBody(f"an answer without content: {snippet(response.body)}")
    blocks = [block for block in body["content"] if isinstance(block, dict)]
    choice = ChatChoice(
        index=0,
        text="".join(text_at(block, "text") for block in blocks if block.get("type") == "text"),
        finish_reason=_finish_reason(body.get("stop_reason")),
        reasoning=tuple(part for part in map(_reasoning, blocks) if part is not None),
        tool_calls=tuple(
            ToolCall(text_at(block, "id"), text_at(block, "name"), encode_text(block.get("input") or {}))
            for block in blocks
            if block.get("type") == "tool_use"
        ),
    )
    return ChatResponse(
        id=text_at(body, "id"),
        model=text_at(body, "model"),
        choices=(choice,),
        usage=parse_usage(object_at(body, "usage")),
        wire=Wire.ANTHROPIC_MESSAGES,
        body=response.body,
    )


def _reasoning(block: JsonObject) -> ReasoningPart | None:
    if block.get("type") == "thinking":
        return ReasoningPart(text_at(block, "thinking"), text_at(block, "signature") or None)
    if block.get("type") == "redacted_thinking":
        return ReasoningPart("", text_at(block, "data"), redacted=True)
    return None


def parse_usage(usage: JsonObject) -> TokenUsage:
    """``input_tokens`` already excludes both cache buckets; thinking is part of ``output_tokens``.

    Only top-level figures count: ``iterations`` repeats parts of them.
    """
    written = count_at(usage, "cache_creation_input_tokens")
    written_1h = count_at(object_at(usage, "cache_creation"), "ephemeral_1h_input_tokens")
    if written is not None and written_1h is not None:
        written_1h = min(written_1h, written)
        written -= written_1h
    output = count_at(usage, "output_tokens")
    thinking = count_at(object_at(usage, "output_tokens_details"), "thinking_tokens")
    if output is not None and thinking is not None:
        thinking = min(thinking, output)
        output -= thinking
    return TokenUsage(
        input_tokens=count_at(usage, "input_tokens"),
        cache_read_tokens=count_at(usage, "cache_read_input_tokens"),
        cache_write_tokens=written,
        cache_write_1h_tokens=written_1h,
        output_tokens=output,
        reasoning_tokens=thinking,
    )


class AnthropicStreamParser(StreamParser):
    """The finish marker is ``message_stop``; the final usage comes in ``message_delta`` and overwrites, never adds."""

    __slots__ = ("_tool_by_block",)

    def __init__(self) -> None:
        super().__init__()
        self._tool_by_block: dict[int, int] = {}

    def feed(self, event: SseEvent) -> ChatDelta:
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
                return self._message_delta(body)
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
                call = ToolCallDelta(index, text_at(content, "id"), text_at(content, "name"), encode_text(given) if given else "")
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

    def _message_delta(self, body: JsonObject) -> ChatDelta:
        usage = parse_usage(object_at(body, "usage"))
        self.usage = self._overwritten(usage)
        self.usage_is_final = usage.output_tokens is not None and self.usage.is_complete
        return ChatDelta(finish_reason=_finish_reason(object_at(body, "delta").get("stop_reason")), usage=self.usage)

    def _overwritten(self, later: TokenUsage) -> TokenUsage:
        merged = self.usage.merged_with(later)
        if later.cache_write_tokens is not None and later.cache_write_1h_tokens is None and self.usage.cache_write_1h_tokens:
            # The closing event repeats the total without its split: keep the split of the opening one.
            five_minutes = max(0, later.cache_write_tokens - self.usage.cache_write_1h_tokens)
            return merged.merged_with(TokenUsage(cache_write_tokens=five_minutes))
        return merged
