"""Whole Cohere answers: ``/v2/chat``, and what version 1 (chat and generate) still answers."""

from __future__ import annotations

from typing import Any

from providers.upstream.adapters.cohere.errors import ERRORS
from providers.upstream.adapters.cohere.usage import parse_usage
from providers.upstream.adapters.error_rules import error_in_success
from providers.upstream.adapters.json_values import decode_object, encode_text, list_at, object_at, snippet, text_at
from providers.upstream.errors import InvalidBody, StreamTruncated
from providers.upstream.types import ChatChoice, ChatResponse, FinishReason, HttpResponse, JsonObject, ReasoningPart, ToolCall, Wire

_FINISH = {
    "COMPLETE": FinishReason.STOP,
    "STOP_SEQUENCE": FinishReason.STOP,
    "MAX_TOKENS": FinishReason.LENGTH,
    "ERROR_LIMIT": FinishReason.LENGTH,
    "TOOL_CALL": FinishReason.TOOL_CALLS,
    "ERROR_TOXIC": FinishReason.CONTENT_FILTER,
}
_BROKEN_OFF = frozenset({"ERROR", "TIMEOUT", "USER_CANCEL"})


def finish_reason(value: Any, *, has_tool_calls: bool) -> FinishReason | None:
    """Version 1 says ``COMPLETE`` for tool calls too. Raises ``StreamTruncated`` where generation failed on their side."""
    if not isinstance(value, str) or not value:
        return None
    if value in _BROKEN_OFF:
        raise StreamTruncated(f"the provider broke off: finish_reason {value}")
    reason = _FINISH.get(value, FinishReason.STOP)
    return FinishReason.TOOL_CALLS if has_tool_calls and reason is FinishReason.STOP else reason


def parse_answer(response: HttpResponse) -> ChatResponse:
    body = decode_object(response.body)
    error = error_in_success(body, ERRORS)
    if error is not None:
        raise error
    if isinstance(body.get("message"), dict):
        choice, usage = _choice(body), object_at(body, "usage")
    else:
        choice, usage = _first_version_choice(body), object_at(body, "meta")
    return ChatResponse(
        id=text_at(body, "id") or text_at(body, "generation_id"),
        model="",
        choices=(choice,),
        usage=parse_usage(usage),
        wire=Wire.COHERE,
        body=response.body,
    )


def _choice(body: JsonObject) -> ChatChoice:
    message = object_at(body, "message")
    content = list_at(message, "content")
    plan = text_at(message, "tool_plan")
    thoughts = [text for text in (*(text_at(part, "thinking") for part in content), plan) if text]
    calls = tuple(
        ToolCall(
            text_at(call, "id") or f"call_{position}",
            text_at(object_at(call, "function"), "name"),
            text_at(object_at(call, "function"), "arguments") or "{}",
        )
        for position, call in enumerate(list_at(message, "tool_calls"))
    )
    return ChatChoice(
        index=0,
        text="".join(text_at(part, "text") for part in content),
        finish_reason=finish_reason(body.get("finish_reason"), has_tool_calls=bool(calls)),
        reasoning=tuple(ReasoningPart(text) for text in thoughts),
        tool_calls=calls,
    )


def _first_version_choice(body: JsonObject) -> ChatChoice:
    """``/v1/chat`` has its text at the top, ``/v1/generate`` in its first generation; calls have no ids.

    Text alone is no chat answer: their transcriptions look like that.
    """
    generations = list_at(body, "generations")
    source: Any = generations[0] if generations else body
    is_chat = bool(generations) or any(text_at(body, key) for key in ("response_id", "generation_id", "finish_reason"))
    if not is_chat or not isinstance(source, dict) or not isinstance(source.get("text"), str):
        raise InvalidBody(f"an answer without a message: {snippet(encode_text(body).encode())}")
    calls = tuple(
        ToolCall(f"call_{position}", text_at(call, "name"), encode_text(object_at(call, "parameters")))
        for position, call in enumerate(list_at(body, "tool_calls"))
    )
    reason = finish_reason(source.get("finish_reason"), has_tool_calls=bool(calls))
    return ChatChoice(index=0, text=source["text"], finish_reason=reason, tool_calls=calls)
