"""Whole OpenAI Responses answers and their usage (https://platform.openai.com/docs/api-reference/responses/object)."""

from __future__ import annotations

from typing import Any

from providers.upstream.adapters.error_rules import error_in_success
from providers.upstream.adapters.json_values import count_at, decode_object, encode_text, list_at, object_at, snippet, text_at
from providers.upstream.adapters.reported_cost import with_reported_cost
from providers.upstream.errors import InvalidBody, ServerFailed, UpstreamError
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
_UNBILLED_CALLS = frozenset(
    ("function_call", "mcp_call", "computer_call", "local_shell_call", "apply_patch_call", "custom_tool_call", "tool_search_call")
)
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


def failure_of(body: JsonObject) -> UpstreamError | None:
    """The error of a response that failed, or of a body that is one."""
    if body.get("status") == "failed" or body.get("error"):
        return error_in_success(body) or ServerFailed("the response failed without a reason")
    return error_in_success(body)


def finish_reason(body: JsonObject, *, has_tool_calls: bool) -> FinishReason:
    """A response has no finish reason of its own: its status and what it holds tell."""
    if body.get("status") == "incomplete":
        return _INCOMPLETE.get(text_at(object_at(body, "incomplete_details"), "reason"), FinishReason.LENGTH)
    return FinishReason.TOOL_CALLS if has_tool_calls else FinishReason.STOP


def parse_usage(body: JsonObject) -> TokenUsage | None:
    """Cached and cache-written tokens are inside the input, reasoning is inside the output; ``None`` without usage."""
    usage = object_at(body, "usage")
    inputs = count_at(usage, "input_tokens", "prompt_tokens")
    outputs = count_at(usage, "output_tokens", "completion_tokens")
    if inputs is None and outputs is None:
        return None
    details, out_details = object_at(usage, "input_tokens_details"), object_at(usage, "output_tokens_details")
    uncached, cached = _taken(inputs, count_at(details, "cached_tokens"))
    uncached, written = _taken(uncached, count_at(details, "cache_write_tokens", "cache_creation_tokens"))
    uncached, audio_in = _taken(uncached, count_at(details, "audio_tokens"))
    uncached, image_in = _taken(uncached, count_at(details, "image_tokens"))
    visible, reasoning = _taken(outputs, count_at(out_details, "reasoning_tokens"))
    visible, audio_out = _taken(visible, count_at(out_details, "audio_tokens"))
    return TokenUsage(
        input_tokens=uncached,
        cache_read_tokens=cached,
        cache_write_tokens=written,
        output_tokens=visible,
        reasoning_tokens=reasoning,
        audio_input_tokens=audio_in,
        audio_output_tokens=audio_out,
        image_input_tokens=image_in,
        provider_tool_calls=sum(map(is_billed_call, list_at(body, "output"))),
    )


def is_billed_call(item: Any) -> bool:
    """A call of a tool that OpenAI ran and bills by the call; reading a page that a search found costs nothing."""
    kind = text_at(item, "type")
    if kind == "web_search_call":
        return text_at(object_at(item, "action"), "type") in ("", "search")
    return kind.endswith("_call") and kind not in _UNBILLED_CALLS


def _taken(total: int | None, part: int | None) -> tuple[int | None, int | None]:
    """The rest, and the part, which never exceeds what there was."""
    if total is None or part is None:
        return total, part
    part = min(part, total)
    return total - part, part


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
