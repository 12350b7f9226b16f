"""Whole Anthropic messages answers and their usage."""

from __future__ import annotations

from typing import Any

from providers.upstream.adapters.error_rules import error_in_success
from providers.upstream.adapters.json_values import (
    count_at,
    decode_object,
    encode_text,
    object_at,
    snippet,
    text_at,
)
from providers.upstream.adapters.reported_cost import with_reported_cost
from providers.upstream.errors import InvalidBody
from providers.upstream.types import (
    ChatChoice,
    ChatResponse,
    FinishReason,
    HttpResponse,
    JsonObject,
    ReasoningPart,
    TokenUsage,
    ToolCall,
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


def finish_reason(value: Any) -> FinishReason | None:
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
        finish_reason=finish_reason(body.get("stop_reason")),
        reasoning=tuple(part for part in map(_reasoning, blocks) if part is not None),
        tool_calls=tuple(
            ToolCall(text_at(block, "id") or f"call_{position}", text_at(block, "name"), encode_text(block.get("input") or {}))
            for position, block in enumerate(block for block in blocks if block.get("type") == "tool_use")
        ),
    )
    return ChatResponse(
        id=text_at(body, "id"),
        model=text_at(body, "model"),
        choices=(choice,),
        usage=with_reported_cost(parse_usage(object_at(body, "usage")), response.body),
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
        provider_tool_calls=count_at(object_at(usage, "server_tool_use"), "web_search_requests"),
    )
