"""Canonical answers and usage -> the bodies of the Gemini API."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from providers.upstream.types import ChatChoice, ChatResponse, FinishReason, TokenLogprob, TokenUsage, ToolCall

_FINISH = {
    FinishReason.STOP: "STOP",
    FinishReason.TOOL_CALLS: "STOP",
    FinishReason.LENGTH: "MAX_TOKENS",
    FinishReason.CONTENT_FILTER: "SAFETY",
}


def answer_out(response: ChatResponse, request_id: str) -> dict[str, Any]:
    return {
        "candidates": [_candidate(choice) for choice in response.choices],
        "usageMetadata": usage_out(response.usage),
        "modelVersion": response.model,
        "responseId": response.id or request_id,
    }


def _candidate(choice: ChatChoice) -> dict[str, Any]:
    thoughts = [{"text": part.text, "thought": True} for part in choice.reasoning if part.text]
    texts = [{"text": text} for text in (choice.text, choice.refusal) if text]
    return candidate_out(choice.index, thoughts + texts, choice.tool_calls, choice.finish_reason, choice.logprobs)


def candidate_out(
    index: int,
    parts: list[dict[str, Any]],
    calls: Sequence[ToolCall],
    reason: FinishReason | None,
    logprobs: Sequence[TokenLogprob] = (),
) -> dict[str, Any]:
    """Arguments must be an object. What is none is not shown as a call but reported in Google's own words."""
    malformed = [call for call in calls if _arguments(call) is None]
    called = [_call(call) for call in calls if call not in malformed]
    out: dict[str, Any] = {"index": index, "content": {"role": "model", "parts": parts + called}}
    if malformed:
        out |= {"finishReason": "MALFORMED_FUNCTION_CALL", "finishMessage": f"{malformed[0].name}: {malformed[0].arguments}"[:1000]}
    elif reason is not None:
        out["finishReason"] = _FINISH[reason]
    if logprobs:
        out["logprobsResult"] = logprobs_out(logprobs)
    return out


def _call(call: ToolCall) -> dict[str, Any]:
    part: dict[str, Any] = {"functionCall": {"id": call.id, "name": call.name, "args": _arguments(call)}}
    if call.signature:
        part["thoughtSignature"] = call.signature
    return part


def _arguments(call: ToolCall) -> dict[str, Any] | None:
    if not call.arguments.strip():
        return {}
    try:
        decoded = msgspec.json.decode(call.arguments)
    except msgspec.DecodeError:
        return None
    return decoded if isinstance(decoded, dict) else None


def logprobs_out(logprobs: Sequence[TokenLogprob]) -> dict[str, Any]:
    return {
        "chosenCandidates": [{"token": token.token, "logProbability": token.logprob} for token in logprobs],
        "topCandidates": [
            {"candidates": [{"token": text, "logProbability": value} for text, value in token.alternatives]} for token in logprobs
        ],
    }


def usage_out(usage: TokenUsage) -> dict[str, int]:
    """Google's convention: cached tokens are inside the prompt, thoughts outside the candidates. Unknown counts are left out."""
    answer = [count for count in (usage.output_tokens, usage.audio_output_tokens) if count is not None]
    prompt, output = usage.total_input_tokens, usage.total_output_tokens
    counts = {
        "promptTokenCount": prompt,
        "cachedContentTokenCount": usage.cache_read_tokens,
        "candidatesTokenCount": sum(answer) if answer else None,
        "thoughtsTokenCount": usage.reasoning_tokens,
        "totalTokenCount": None if prompt is None or output is None else prompt + output,
    }
    return {name: count for name, count in counts.items() if count is not None}
