"""Canonical answer -> Response object (https://platform.openai.com/docs/api-reference/responses/object)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aigateway.dialects.openai_chat import signature_out
from providers.upstream.adapters.json_values import list_at, text_at
from providers.upstream.adapters.responses import SIGNED_BY_OTHERS
from providers.upstream.types import ChatChoice, ChatResponse, FinishReason, ReasoningPart, TokenLogprob, TokenUsage, ToolCall

_THOUGHT, _REDACTED = f"{SIGNED_BY_OTHERS}t.", f"{SIGNED_BY_OTHERS}r."

_REASONS = {FinishReason.LENGTH: "max_output_tokens", FinishReason.CONTENT_FILTER: "content_filter"}
# What a Response repeats of its request, with the API's own defaults.
_ECHOED: Mapping[str, Any] = {
    "instructions": None,
    "max_output_tokens": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "reasoning": {"effort": None, "summary": None},
    "temperature": None,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_p": None,
    "truncation": "disabled",
    "user": None,
}


def response_out(answer: ChatResponse, asked: Mapping[str, Any], fallback_id: str, created_s: int) -> dict[str, Any]:
    """``asked`` is the client's body; what it set is repeated."""
    choice = answer.choices[0] if answer.choices else ChatChoice(0, "", None)
    frame = frame_out(response_id(answer.id or fallback_id), answer.model, asked, answer.created_s or created_s)
    return finished_out(frame, items_out(choice, answer.id or fallback_id), choice.finish_reason, answer.usage)


def frame_out(identity: str, model: str, asked: Mapping[str, Any], created_s: int) -> dict[str, Any]:
    """The response before anything is known of its outcome. Nothing is stored here, so nothing can be continued by its id."""
    echoed = {name: asked[name] if asked.get(name) is not None else default for name, default in _ECHOED.items()}
    return {
        "id": identity,
        "object": "response",
        "created_at": created_s,
        "status": "in_progress",
        "background": False,
        "error": None,
        "incomplete_details": None,
        "model": model,
        "output": [],
        **echoed,
        "store": False,
        "usage": None,
    }


def finished_out(
    frame: Mapping[str, Any], items: Sequence[Mapping[str, Any]], finish: FinishReason | None, usage: TokenUsage
) -> dict[str, Any]:
    reason = _REASONS.get(finish) if finish is not None else None
    outcome = {"status": "completed"} if reason is None else {"status": "incomplete", "incomplete_details": {"reason": reason}}
    return {**frame, **outcome, "output": [*items], "usage": usage_out(usage)}


def items_out(choice: ChatChoice, answer_id: str) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    items += [reasoning_item(f"rs_{answer_id}_{position}", part) for position, part in enumerate(choice.reasoning)]
    parts = text_parts(choice.text, choice.refusal, choice.logprobs)
    if parts or not choice.tool_calls:
        items.append(message_item(f"msg_{answer_id}", parts or [text_part("")], choice.finish_reason))
    finish = choice.finish_reason
    return items + [call_item(f"fc_{answer_id}_{position}", call, finish) for position, call in enumerate(choice.tool_calls)]


def response_id(upstream_id: str) -> str:
    return upstream_id if upstream_id.startswith("resp_") else f"resp_{upstream_id}"


def reasoning_item(item_id: str, part: ReasoningPart) -> dict[str, Any]:
    """A signature travels where this API has its own opaque state. Unsigned reasoning is marked as well, so that it is never
    sent to a provider of this API, which would look for it by its id."""
    summary = [{"type": "summary_text", "text": part.text}] if part.text else []
    mark = _REDACTED if part.redacted else _THOUGHT
    return {"id": item_id, "type": "reasoning", "summary": summary, "encrypted_content": mark + (part.signature or "")}


def reasoning_of(item: Mapping[str, Any]) -> ReasoningPart | None:
    """The reasoning of an item that ``reasoning_item`` made, ``None`` for all others."""
    sealed = item.get("encrypted_content")
    if not isinstance(sealed, str) or not sealed.startswith((_REDACTED, _THOUGHT)):
        return None
    if sealed.startswith(_REDACTED):
        return ReasoningPart("", sealed.removeprefix(_REDACTED), redacted=True)
    return ReasoningPart("".join(text_at(piece, "text") for piece in list_at(item, "summary")), sealed.removeprefix(_THOUGHT) or None)


def message_item(item_id: str, parts: list[dict[str, Any]], finish: FinishReason | None) -> dict[str, Any]:
    status = "incomplete" if finish in _REASONS else "completed"
    return {"id": item_id, "type": "message", "status": status, "role": "assistant", "content": parts}


def text_parts(text: str, refusal: str | None, logprobs: Sequence[TokenLogprob]) -> list[dict[str, Any]]:
    parts = [text_part(text, logprobs)] if text else []
    return [*parts, {"type": "refusal", "refusal": refusal}] if refusal else parts


def text_part(text: str, logprobs: Sequence[TokenLogprob] = ()) -> dict[str, Any]:
    return {"type": "output_text", "annotations": [], "logprobs": logprobs_out(logprobs), "text": text}


def call_item(item_id: str, call: ToolCall, finish: FinishReason | None) -> dict[str, Any]:
    """Gemini's signature travels where Google's OpenAI-compatible API has it: clients send items back as they came."""
    return {
        "id": item_id,
        "type": "function_call",
        "status": "incomplete" if finish in _REASONS else "completed",
        "call_id": call.id,
        "name": call.name,
        "arguments": call.arguments,
        **signature_out(call.signature),
    }


def logprobs_out(logprobs: Sequence[TokenLogprob]) -> list[dict[str, Any]]:
    return [
        {**_token(row.token, row.logprob), "top_logprobs": [_token(token, logprob) for token, logprob in row.alternatives]}
        for row in logprobs
    ]


def _token(token: str, logprob: float) -> dict[str, Any]:
    return {"token": token, "bytes": list(token.encode("utf-8", "replace")), "logprob": logprob}


def usage_out(usage: TokenUsage) -> dict[str, Any] | None:
    """Cached tokens are inside the input, reasoning inside the output; unknown usage is ``null``."""
    total_in, total_out = usage.total_input_tokens, usage.total_output_tokens
    if total_in is None or total_out is None:
        return None
    return {
        "input_tokens": total_in,
        "input_tokens_details": {"cached_tokens": usage.cache_read_tokens or 0},
        "output_tokens": total_out,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens or 0},
        "total_tokens": total_in + total_out,
    }
