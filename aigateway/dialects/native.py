"""The gateway's own wire format: ``POST /api/v1/ai/generate`` (R101). The answer explains itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import msgspec

from aigateway.dialects.base import (
    DEFAULT_CONTEXT,
    NOTHING_SENT,
    Call,
    Dialect,
    Explanation,
    Sent,
    check_number,
    checked_context,
    decode,
    refuse_unknown,
)
from aigateway.dialects.openai_chat import OpenAIChat, ResponseFormatIn, ToolIn
from aigateway.errors import GatewayError, explain_attempt, invalid_request
from providers.fields import dollars
from providers.upstream.types import (
    ChatChoice,
    ChatResponse,
    FinishReason,
    InferenceResponse,
    Policy,
    StreamEvent,
    Target,
    TokenUsage,
    Wire,
)


class GenerateIn(msgspec.Struct):
    prompt: str | None = None
    messages: list[dict[str, Any]] | None = None
    model: str = "auto"
    provider: str | None = None
    context: str = DEFAULT_CONTEXT
    system: str | None = None
    policy: Policy | None = None
    allow_fallback: bool = True
    use_cache: bool = True
    stream: bool = False
    max_output_tokens: int | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    stop: str | list[str] | None = None
    seed: int | None = None
    tools: list[ToolIn] | None = None
    tool_choice: Literal["auto", "none", "required"] | dict[str, Any] | None = None
    response_format: ResponseFormatIn | None = None


_KNOWN = frozenset(GenerateIn.__struct_fields__)
_SHARED = ("temperature", "top_p", "stop", "seed", "tools", "tool_choice", "response_format")


class Native(Dialect):
    """The dialect of ``generate``: a prompt or messages in, text with its provenance and cost out."""

    wire = Wire.NATIVE

    def parse(self, body: bytes, context: str | None, sent: Sent = NOTHING_SENT) -> Call:
        """Raises ``GatewayError`` (400) naming the field."""
        typed, decoded = decode(body, GenerateIn)
        refuse_unknown(decoded, _KNOWN)
        check_number("max_output_tokens", typed.max_output_tokens, 1, 10_000_000)
        chat_body = _as_chat(typed, decoded)
        call = OpenAIChat().parse(msgspec.json.encode(chat_body), None)
        return Call(
            call.request,
            Wire.NATIVE,
            provider=typed.provider,
            policy=typed.policy,
            context=checked_context(typed.context, "context") if "context" in decoded else context or DEFAULT_CONTEXT,
            allow_fallback=typed.allow_fallback,
        )

    def render(self, response: InferenceResponse, explain: Explanation) -> bytes:
        assert isinstance(response, ChatResponse)
        first = response.choices[0] if response.choices else ChatChoice(0, "", None)
        return msgspec.json.encode(
            {
                "text": first.text,
                "finish_reason": first.finish_reason,
                "tool_calls": [{"id": call.id, "name": call.name, "arguments": call.arguments} for call in first.tool_calls],
                "reasoning": "".join(part.text for part in first.reasoning) or None,
                **explanation_out(explain),
            }
        )

    def stream_renderer(self, call: Call, target: Target, wire: Wire) -> NativeStream:
        return NativeStream()


def _as_chat(typed: GenerateIn, decoded: dict[str, Any]) -> dict[str, Any]:
    if (typed.prompt is None) == (typed.messages is None):
        raise invalid_request("prompt: send either 'prompt' or 'messages'.", param="prompt")
    if typed.prompt == "":
        raise invalid_request("prompt: must not be empty.", param="prompt")
    messages = typed.messages if typed.messages is not None else [{"role": "user", "content": typed.prompt}]
    if typed.system is not None:
        messages = [{"role": "system", "content": typed.system}, *messages]
    chat = {name: decoded[name] for name in _SHARED if decoded.get(name) is not None}
    chat |= {"model": typed.model, "messages": messages, "stream": typed.stream}
    limit = typed.max_output_tokens if typed.max_output_tokens is not None else typed.max_tokens
    if limit is not None:
        chat["max_tokens"] = limit
    return chat


def usage_out(usage: TokenUsage) -> dict[str, int | None]:
    """Disjoint buckets plus totals; ``null`` is unknown."""
    total_in, total_out = usage.total_input_tokens, usage.total_output_tokens
    return {
        "input_tokens": usage.input_tokens,
        "cache_read_tokens": usage.cache_read_tokens,
        "cache_write_tokens": usage.cache_write_tokens,
        "output_tokens": usage.output_tokens,
        "reasoning_tokens": usage.reasoning_tokens,
        "total_tokens": None if total_in is None or total_out is None else total_in + total_out,
    }


def explanation_out(explain: Explanation) -> dict[str, Any]:
    """Model, provider, usage, cost, attempts and the reason for the choice."""
    return {
        "request_id": explain.request_id,
        "model": explain.target.name,
        "provider": explain.target.provider.slug,
        "provider_name": explain.target.provider.label,
        "context": explain.context,
        "usage": usage_out(explain.usage),
        "cost": {"amount": dollars(explain.cost_nano), "currency": "USD", "basis": "measured" if explain.cost_measured else "estimated"},
        "cached": False,
        "degraded": list(explain.degraded),
        "attempts": [explain_attempt(record) for record in explain.attempts],
        "why": {
            "policy": explain.plan.policy,
            "reason": explain.plan.why,
            "skipped": [{"target": s.address, "reason": s.reason, "detail": s.detail} for s in explain.plan.skipped],
        },
    }


class NativeStream:
    """Server-sent events: ``delta`` (text, reasoning, tool calls), then ``done`` with the explanation, or ``error``."""

    def __init__(self) -> None:
        self._finish_reason: FinishReason | None = None

    def event(self, event: StreamEvent) -> bytes:
        delta = event.delta
        self._finish_reason = delta.finish_reason or self._finish_reason
        if not delta.has_content:
            return b""
        out: dict[str, Any] = {"text": delta.text}
        if delta.reasoning:
            out["reasoning"] = delta.reasoning
        if delta.tool_calls:
            out["tool_calls"] = [
                {"index": call.index, "id": call.id, "name": call.name, "arguments": call.arguments} for call in delta.tool_calls
            ]
        return _event(b"delta", out)

    def end(self, explain: Callable[[], Explanation]) -> bytes:
        return _event(b"done", {"finish_reason": self._finish_reason, **explanation_out(explain())})

    def error(self, error: GatewayError, request_id: str) -> bytes:
        return _event(b"error", error.body(request_id))


def _event(name: bytes, payload: dict[str, Any]) -> bytes:
    return b"event: " + name + b"\ndata: " + msgspec.json.encode(payload) + b"\n\n"
