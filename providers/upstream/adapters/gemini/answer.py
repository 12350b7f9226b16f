"""Whole Gemini answers, and what they share with the chunks of a stream: each chunk is an answer of its own
(https://ai.google.dev/api/generate-content#v1beta.GenerateContentResponse)."""

from __future__ import annotations

import hashlib
from typing import Any

from providers.upstream.adapters.error_rules import error_in_success
from providers.upstream.adapters.gemini.errors import ERRORS
from providers.upstream.adapters.gemini.usage import parse_usage
from providers.upstream.adapters.json_values import count_at, decode_object, encode, encode_text, list_at, object_at, snippet, text_at
from providers.upstream.errors import InvalidBody, StreamTruncated
from providers.upstream.types import (
    ChatChoice,
    ChatResponse,
    FinishReason,
    HttpResponse,
    JsonObject,
    ReasoningPart,
    TokenCount,
    TokenLogprob,
    ToolCall,
    Wire,
)

_FINISH = {
    "STOP": FinishReason.STOP,
    "MAX_TOKENS": FinishReason.LENGTH,
    "SAFETY": FinishReason.CONTENT_FILTER,
    "RECITATION": FinishReason.CONTENT_FILTER,
    "LANGUAGE": FinishReason.CONTENT_FILTER,
    "BLOCKLIST": FinishReason.CONTENT_FILTER,
    "PROHIBITED_CONTENT": FinishReason.CONTENT_FILTER,
    "SPII": FinishReason.CONTENT_FILTER,
    "MODEL_ARMOR": FinishReason.CONTENT_FILTER,
    "IMAGE_SAFETY": FinishReason.CONTENT_FILTER,
    "IMAGE_PROHIBITED_CONTENT": FinishReason.CONTENT_FILTER,
    "IMAGE_RECITATION": FinishReason.CONTENT_FILTER,
}
# The model did not come to an end of its own: what it wrote cannot be used as it stands. A call of a tool that nobody
# declared is complete, and the client's to refuse.
_BROKEN_OFF = frozenset({"MALFORMED_FUNCTION_CALL", "MALFORMED_RESPONSE", "MISSING_THOUGHT_SIGNATURE", "OTHER"})
_BROKEN_OFF_WITHOUT_CALLS = frozenset({"UNEXPECTED_TOOL_CALL", "TOO_MANY_TOOL_CALLS"})
_UNSPECIFIED = ("", "FINISH_REASON_UNSPECIFIED")


def finish_reason(value: Any, *, has_tool_calls: bool) -> FinishReason | None:
    """Gemini says ``STOP`` for calls of tools as well. Raises ``StreamTruncated`` for the reasons that mean it broke off."""
    if not isinstance(value, str) or value in _UNSPECIFIED:
        return None
    if value in _BROKEN_OFF or (value in _BROKEN_OFF_WITHOUT_CALLS and not has_tool_calls):
        raise StreamTruncated(f"the provider broke off: finishReason {value}")
    reason = _FINISH.get(value, FinishReason.STOP)
    return FinishReason.TOOL_CALLS if has_tool_calls and reason is FinishReason.STOP else reason


def is_blocked(body: JsonObject) -> bool:
    """The prompt was refused: there are no candidates and never will be."""
    return text_at(object_at(body, "promptFeedback"), "blockReason") not in ("", "BLOCK_REASON_UNSPECIFIED", "BLOCKED_REASON_UNSPECIFIED")


def parse_answer(response: HttpResponse) -> ChatResponse:
    """A blocked prompt is an answer of its own (empty, ``CONTENT_FILTER``): it has usage, and clients of this wire read why."""
    body = decode_object(response.body)
    error = error_in_success(body, ERRORS)
    if error is not None:
        raise error
    candidates = [candidate for candidate in list_at(body, "candidates") if isinstance(candidate, dict)]
    response_id = text_at(body, "responseId")
    if not candidates and not is_blocked(body):
        raise InvalidBody(f"an answer without candidates: {snippet(response.body)}")
    choices = tuple(_choice(candidate, position, response_id) for position, candidate in enumerate(candidates))
    return ChatResponse(
        id=response_id,
        model=text_at(body, "modelVersion"),
        choices=choices or (ChatChoice(0, "", FinishReason.CONTENT_FILTER),),
        usage=parse_usage(object_at(body, "usageMetadata")),
        wire=Wire.GEMINI,
        body=response.body,
    )


def _choice(candidate: JsonObject, position: int, response_id: str) -> ChatChoice:
    index = count_at(candidate, "index")
    parts = parts_of(candidate)
    calls = tuple(tool_call(part, number, response_id) for number, part in enumerate(filter(is_call, parts)))
    return ChatChoice(
        index=position if index is None else index,
        text="".join(text_at(part, "text") for part in parts if not is_thought(part)),
        finish_reason=finish_reason(candidate.get("finishReason"), has_tool_calls=bool(calls)),
        reasoning=tuple(ReasoningPart(text_at(part, "text")) for part in parts if is_thought(part) and text_at(part, "text")),
        tool_calls=calls,
        logprobs=parse_logprobs(candidate),
    )


def parts_of(candidate: JsonObject) -> list[JsonObject]:
    return [part for part in list_at(object_at(candidate, "content"), "parts") if isinstance(part, dict)]


def is_thought(part: JsonObject) -> bool:
    return part.get("thought") is True


def is_call(part: JsonObject) -> bool:
    return isinstance(part.get("functionCall"), dict)


def tool_call(part: JsonObject, number: int, response_id: str) -> ToolCall:
    """Older models name no id: it is made from the answer's own, so that it is the same every time and met only once."""
    call = object_at(part, "functionCall")
    name, arguments = text_at(call, "name"), call.get("args") or {}
    call_id = text_at(call, "id") or f"call_{response_id or _digest(name, arguments)}_{number}"
    return ToolCall(call_id, name, encode_text(arguments), text_at(part, "thoughtSignature") or None)


def _digest(name: str, arguments: Any) -> str:
    return hashlib.sha256(name.encode() + b"\0" + encode(arguments)).hexdigest()[:16]


def parse_logprobs(candidate: JsonObject) -> tuple[TokenLogprob, ...]:
    result = object_at(candidate, "logprobsResult")
    chosen, top = list_at(result, "chosenCandidates"), list_at(result, "topCandidates")
    alternatives = [list_at(step, "candidates") for step in top] + [[]] * max(0, len(chosen) - len(top))
    return tuple(
        TokenLogprob(text_at(token, "token"), _logprob(token), tuple((text_at(other, "token"), _logprob(other)) for other in others))
        for token, others in zip(chosen, alternatives, strict=False)
    )


def _logprob(token: Any) -> float:
    value = token.get("logProbability") if isinstance(token, dict) else None
    return float(value) if isinstance(value, (int, float)) else 0.0


def parse_count(response: HttpResponse) -> TokenCount:
    body = decode_object(response.body)
    error = error_in_success(body, ERRORS)
    if error is not None:
        raise error
    count = count_at(body, "totalTokens")
    if count is None:
        raise InvalidBody(f"not a count of tokens: {snippet(response.body)}")
    return TokenCount(count, Wire.GEMINI, response.body)
