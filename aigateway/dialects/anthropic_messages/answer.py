"""Canonical answers and usage -> the bodies of the Messages API."""

from __future__ import annotations

from typing import Any

import msgspec

from providers.upstream.types import ChatChoice, ChatResponse, FinishReason, ReasoningPart, TokenUsage, ToolCall

STOP_REASONS = {
    FinishReason.STOP: "end_turn",
    FinishReason.LENGTH: "max_tokens",
    FinishReason.TOOL_CALLS: "tool_use",
    FinishReason.CONTENT_FILTER: "refusal",
}


def message_out(response: ChatResponse, request_id: str) -> dict[str, Any]:
    """A ``message`` object. Which stop sequence matched is known to no other wire format, so it is ``null``."""
    choice = response.choices[0] if response.choices else ChatChoice(0, "", None)
    return {
        "id": message_id(response.id or request_id),
        "type": "message",
        "role": "assistant",
        "model": response.model,
        "content": _blocks(choice),
        "stop_reason": None if choice.finish_reason is None else STOP_REASONS[choice.finish_reason],
        "stop_sequence": None,
        "usage": usage_out(response.usage),
    }


def message_id(upstream_id: str) -> str:
    """Clients tell messages by the prefix."""
    return upstream_id if upstream_id.startswith("msg_") else f"msg_{upstream_id}"


def _blocks(choice: ChatChoice) -> list[dict[str, Any]]:
    texts = [text for text in (choice.text, choice.refusal) if text]
    return [
        *(_thinking(part) for part in choice.reasoning),
        *({"type": "text", "text": text} for text in texts),
        *(_tool_use(call) for call in choice.tool_calls),
    ]


def _thinking(part: ReasoningPart) -> dict[str, Any]:
    """Only some providers sign their reasoning: an empty signature says that nobody did."""
    if part.redacted:
        return {"type": "redacted_thinking", "data": part.signature or ""}
    return {"type": "thinking", "thinking": part.text, "signature": part.signature or ""}


def _tool_use(call: ToolCall) -> dict[str, Any]:
    block = tool_use_head(call.id, call.name, call.signature)
    return {**block, "input": tool_input(call.arguments)}


def tool_use_head(call_id: str, name: str, signature: str | None) -> dict[str, Any]:
    """A block without input yet. Gemini's signature travels where Google's OpenAI-compatible API has it: clients send
    blocks back as they came."""
    block: dict[str, Any] = {"type": "tool_use", "id": call_id, "name": name, "input": {}}
    if signature:
        block["extra_content"] = {"google": {"thought_signature": signature}}
    return block


def tool_input(arguments: str) -> dict[str, Any]:
    """The object a tool is called with. What is no JSON object is wrapped the way Anthropic asks clients to wrap it
    (https://docs.anthropic.com/en/docs/agents-and-tools/tool-use/fine-grained-tool-streaming): visible, never guessed at."""
    if not arguments.strip():
        return {}
    try:
        decoded = msgspec.json.decode(arguments)
    except msgspec.DecodeError:
        decoded = None
    return decoded if isinstance(decoded, dict) else {"INVALID_JSON": arguments}


def usage_out(usage: TokenUsage) -> dict[str, Any]:
    """Anthropic's convention: input excludes both cache buckets, output includes thinking. ``null`` is unknown."""
    plain = [count for count in (usage.input_tokens, usage.audio_input_tokens, usage.image_input_tokens) if count is not None]
    written = [count for count in (usage.cache_write_tokens, usage.cache_write_1h_tokens) if count is not None]
    out: dict[str, Any] = {
        "input_tokens": sum(plain) if plain else None,
        "cache_creation_input_tokens": sum(written) if written else None,
        "cache_read_input_tokens": usage.cache_read_tokens,
        "output_tokens": usage.total_output_tokens,
    }
    if usage.cache_write_1h_tokens is not None:
        out["cache_creation"] = {
            "ephemeral_5m_input_tokens": usage.cache_write_tokens or 0,
            "ephemeral_1h_input_tokens": usage.cache_write_1h_tokens,
        }
    if usage.reasoning_tokens is not None:
        out["output_tokens_details"] = {"thinking_tokens": usage.reasoning_tokens}
    return out
