"""Canonical answers and usage -> the objects of OpenAI's chat completions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from providers.upstream.types import ChatChoice, ReasoningPart, TokenLogprob, TokenUsage, ToolCall


def choice_out(choice: ChatChoice) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": choice.text or None, "refusal": choice.refusal}
    if choice.reasoning:
        message["reasoning_content"] = "".join(part.text for part in choice.reasoning)
    if any(part.signature for part in choice.reasoning):
        message["thinking_blocks"] = [thinking_block_out(part) for part in choice.reasoning]
    if choice.tool_calls:
        message["tool_calls"] = [_tool_call_out(call) for call in choice.tool_calls]
    elif choice.text == "":
        message["content"] = ""
    return {"index": choice.index, "message": message, "logprobs": logprobs_out(choice.logprobs), "finish_reason": choice.finish_reason}


def thinking_block_out(part: ReasoningPart) -> dict[str, Any]:
    """Signed reasoning that must go back unchanged, in the form LiteLLM made common; the dialect takes it back."""
    if part.redacted:
        return {"type": "redacted_thinking", "data": part.signature}
    return {"type": "thinking", "thinking": part.text, "signature": part.signature}


def _tool_call_out(call: ToolCall) -> dict[str, Any]:
    out: dict[str, Any] = {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
    return out | signature_out(call.signature)


def signature_out(signature: str | None) -> dict[str, Any]:
    """Gemini's opaque state of a tool call, as Google's own OpenAI-compatible API carries it."""
    return {"extra_content": {"google": {"thought_signature": signature}}} if signature else {}


def logprobs_out(logprobs: Sequence[TokenLogprob]) -> dict[str, Any] | None:
    if not logprobs:
        return None
    content = [
        {**_token_out(token.token, token.logprob), "top_logprobs": [_token_out(*alternative) for alternative in token.alternatives]}
        for token in logprobs
    ]
    return {"content": content, "refusal": None}


def _token_out(token: str, logprob: float) -> dict[str, Any]:
    return {"token": token, "logprob": logprob, "bytes": list(token.encode("utf-8", "replace"))}


def usage_out(usage: TokenUsage) -> dict[str, Any] | None:
    """OpenAI's convention: cached tokens are inside ``prompt_tokens``, reasoning tokens inside ``completion_tokens``."""
    prompt, completion = usage.total_input_tokens, usage.total_output_tokens
    if prompt is None or completion is None:
        return None
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": usage.cache_read_tokens or 0},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens or 0},
    }
