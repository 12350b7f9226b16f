"""What whole answers and streams of the OpenAI wire share: finish reasons, text, reasoning, tool arguments."""

from __future__ import annotations

from typing import Any

from providers.upstream.adapters.json_values import encode_text, list_at, object_at, text_at
from providers.upstream.errors import StreamTruncated
from providers.upstream.types import FinishReason, JsonObject, TokenLogprob

_FINISH = {
    "stop": FinishReason.STOP,
    "eos_token": FinishReason.STOP,  # TGI
    "stop_sequence": FinishReason.STOP,  # TGI
    "end_turn": FinishReason.STOP,
    "length": FinishReason.LENGTH,
    "model_length": FinishReason.LENGTH,  # Mistral
    "max_tokens": FinishReason.LENGTH,
    "tool_calls": FinishReason.TOOL_CALLS,
    "tool_use": FinishReason.TOOL_CALLS,
    "function_call": FinishReason.TOOL_CALLS,
    "content_filter": FinishReason.CONTENT_FILTER,
}
# DeepSeek and Mistral end an answer they could not finish with these: the text is cut, the model did not stop.
_BROKEN_OFF = frozenset({"insufficient_system_resource", "error"})


def finish_reason(value: Any, *, has_tool_calls: bool) -> FinishReason | None:
    """A turn that calls tools finishes with ``TOOL_CALLS``, also where the provider says "stop" (forced tools, Ollama).

    Raises ``StreamTruncated`` for the reasons that mean the provider broke off.
    """
    if not isinstance(value, str) or not value:
        return None
    if value in _BROKEN_OFF:
        raise StreamTruncated(f"the provider broke off: finish_reason {value}")
    reason = _FINISH.get(value, FinishReason.STOP)
    return FinishReason.TOOL_CALLS if has_tool_calls and reason is FinishReason.STOP else reason


def reasoning_of(message: JsonObject) -> str:
    return text_at(message, "reasoning_content") or text_at(message, "reasoning")


def text_and_thinking(content: Any) -> tuple[str, str]:
    """Text is a string nearly everywhere; Mistral's reasoning models send a list of thinking and text parts."""
    if isinstance(content, str):
        return content, ""
    if isinstance(content, dict):
        return encode_text(content), ""  # Cloudflare hands structured output over as the object itself
    if not isinstance(content, list):
        return "", ""
    text = "".join(text_at(part, "text") for part in content if text_at(part, "type") == "text")
    thoughts = [part for part in content if text_at(part, "type") == "thinking"]
    thinking = "".join(text_at(piece, "text") for part in thoughts for piece in list_at(part, "thinking"))
    return text, thinking


def arguments_of(function: JsonObject) -> str:
    """The arguments of a called function; the oldest TGI calls them ``parameters``."""
    return arguments_text(function["arguments"] if "arguments" in function else function.get("parameters"))


def arguments_text(value: Any) -> str:
    """JSON text; older TGI sends the object itself."""
    if value is None:
        return ""
    return value if isinstance(value, str) else encode_text(value)


def logprobs_of(choice: Any) -> tuple[TokenLogprob, ...]:
    """The tokens of ``choices[].logprobs.content``; older servers without that list (TGI's ``tokens``) report none."""
    content = list_at(object_at(choice, "logprobs"), "content")
    return tuple(
        TokenLogprob(
            token=text_at(entry, "token"),
            logprob=_number_at(entry, "logprob"),
            alternatives=tuple((text_at(other, "token"), _number_at(other, "logprob")) for other in list_at(entry, "top_logprobs")),
        )
        for entry in content
        if isinstance(entry, dict)
    )


def _number_at(source: Any, key: str) -> float:
    value = source.get(key) if isinstance(source, dict) else None
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else LOGPROB_UNKNOWN


LOGPROB_UNKNOWN = -9999.0
"""OpenAI's own stand-in for a token too unlikely to say."""
