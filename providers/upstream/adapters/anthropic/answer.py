"""Whole Anthropic messages answers."""

from __future__ import annotations

from typing import Any

from providers.upstream.adapters.anthropic.usage import parse_usage
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
    TokenCount,
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


def parse_count(response: HttpResponse) -> TokenCount:
    body = decode_object(response.body)
    error = error_in_success(body)
    if error is not None:
        raise error
    count = count_at(body, "input_tokens")
    if count is None:
        raise InvalidBody(f"not a count of tokens: {snippet(response.body)}")
    return TokenCount(count, Wire.ANTHROPIC_MESSAGES, response.body)
