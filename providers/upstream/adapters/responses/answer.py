"""Whole OpenAI Responses answers (https://platform.openai.com/docs/api-reference/responses/object)."""

from __future__ import annotations

from typing import Any

from providers.upstream.adapters.json_values import count_at, decode_object, encode_text, list_at, object_at, snippet, text_at
from providers.upstream.adapters.reported_cost import with_reported_cost
from providers.upstream.adapters.responses.errors import failure_of
from providers.upstream.adapters.responses.usage import parse_usage
from providers.upstream.errors import InvalidBody
from providers.upstream.types import (
    ChatChoice,
    ChatResponse,
    FinishReason,
    HttpResponse,
    JsonObject,
    ReasoningPart,
    TokenLogprob,
    TokenUsage,
    ToolCall,
    Wire,
)

_INCOMPLETE = {"max_output_tokens": FinishReason.LENGTH, "content_filter": FinishReason.CONTENT_FILTER}
_UNFINISHED = frozenset({"in_progress", "queued", "cancelled"})


def parse_answer(response: HttpResponse) -> ChatResponse:
    body = decode_object(response.body)
    error = failure_of(body)
    if error is not None:
        raise error
    if not isinstance(body.get("output"), list):
        raise InvalidBody(f"an answer without output: {snippet(response.body)}")
    if body.get("status") in _UNFINISHED:
        raise InvalidBody(f"an answer that is not finished: {body['status']}")
    items = [item for item in body["output"] if isinstance(item, dict)]
    calls = tuple(_call(position, item) for position, item in enumerate(item for item in items if item.get("type") == "function_call"))
    contents = [part for item in items if item.get("type") == "message" for part in list_at(item, "content")]
    choice = ChatChoice(
        index=0,
        text="".join(text_at(part, "text") for part in contents if text_at(part, "type") == "output_text"),
        finish_reason=finish_reason(body, has_tool_calls=bool(calls)),
        reasoning=tuple(part for part in map(_reasoning, items) if part is not None),
        tool_calls=calls,
        refusal="".join(text_at(part, "refusal") for part in contents) or None,
        logprobs=tuple(logprob for part in contents for logprob in logprobs_of(part)),
    )
    return ChatResponse(
        id=text_at(body, "id"),
        model=text_at(body, "model"),
        choices=(choice,),
        usage=with_reported_cost(parse_usage(body) or TokenUsage(), response.body),
        wire=Wire.OPENAI_RESPONSES,
        body=response.body,
        created_s=count_at(body, "created_at"),
    )


def finish_reason(body: JsonObject, *, has_tool_calls: bool) -> FinishReason:
    """A response has no finish reason of its own: its status and what it holds tell."""
    if body.get("status") == "incomplete":
        return _INCOMPLETE.get(text_at(object_at(body, "incomplete_details"), "reason"), FinishReason.LENGTH)
    return FinishReason.TOOL_CALLS if has_tool_calls else FinishReason.STOP


def _call(position: int, item: JsonObject) -> ToolCall:
    arguments = item.get("arguments")
    text = arguments if isinstance(arguments, str) else encode_text(arguments or {})
    return ToolCall(text_at(item, "call_id") or text_at(item, "id") or f"call_{position}", text_at(item, "name"), text)


def _reasoning(item: JsonObject) -> ReasoningPart | None:
    """The summary, or the thoughts themselves where a host shows them; opaque state is kept as the signature."""
    if item.get("type") != "reasoning":
        return None
    pieces = list_at(item, "summary") or list_at(item, "content")
    text = "\n\n".join(text_at(piece, "text") for piece in pieces if text_at(piece, "text"))
    signature = text_at(item, "encrypted_content") or None
    return ReasoningPart(text, signature, redacted=not text) if text or signature else None


def logprobs_of(part: Any) -> tuple[TokenLogprob, ...]:
    return tuple(_logprob(row) for row in list_at(part, "logprobs") if isinstance(row, dict))


def _logprob(row: JsonObject) -> TokenLogprob:
    alternatives = ((text_at(other, "token"), _number(other)) for other in list_at(row, "top_logprobs"))
    return TokenLogprob(text_at(row, "token"), _number(row), tuple(alternatives))


def _number(row: Any) -> float:
    value = row.get("logprob") if isinstance(row, dict) else None
    return float(value) if isinstance(value, (int, float)) else 0.0
