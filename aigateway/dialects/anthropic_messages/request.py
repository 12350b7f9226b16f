"""Anthropic messages body -> canonical request (https://docs.anthropic.com/en/api/messages)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from aigateway.dialects.anthropic_messages.shapes import FormatIn, MessagesIn, ThinkingIn, ToolChoiceIn, TurnIn
from aigateway.dialects.anthropic_messages.turns import TurnReader
from aigateway.dialects.base import Sent, beyond, check_number, decode, refuse_unknown
from aigateway.dialects.provider_tools import messages_add_input, of_messages
from aigateway.errors import invalid_request
from providers.upstream.types import ChatRequest, Message, ResponseFormat, SourceBody, ToolChoice, ToolChoiceMode, Wire

_KNOWN = frozenset(MessagesIn.__struct_fields__)
_GENERATION_ONLY = ("max_tokens", "stream", "temperature", "top_p", "top_k", "stop_sequences", "metadata", "service_tier", "container")
_COUNTED = _KNOWN - frozenset(_GENERATION_ONLY)
_MAX_MESSAGES = 10_000
_MAX_TOOLS = 256
_WIRE_ONLY = ("top_k", "container", "mcp_servers")
# Context management only shortens what the model sees again: without it, it sees everything the client sent.
_HINTS = ("cache_control", "diagnostics", "context_management", "compaction")
_CHOICES = {"auto": ToolChoiceMode.AUTO, "any": ToolChoiceMode.REQUIRED, "tool": ToolChoiceMode.NAMED, "none": ToolChoiceMode.NONE}
# From this budget on, in tokens. What a budget means as an effort is an approximation, so it is reported as left out.
_EFFORTS = ((16_384, "high"), (4_096, "medium"), (0, "low"))
# Headers a provider of the same wire format needs to understand the body (B11: names and characters are checked).
_FORWARDED: Mapping[str, re.Pattern[str]] = {
    "anthropic-version": re.compile(r"\d{4}-\d{2}-\d{2}"),
    "anthropic-beta": re.compile(r"[A-Za-z0-9._,= -]{1,1000}"),
}


def parse_messages(body: bytes, sent: Sent, *, counting: bool = False) -> ChatRequest:
    """``counting``: the body of ``count_tokens``, which has no options of generation. Raises ``GatewayError`` (400)."""
    typed, decoded = decode(body, MessagesIn)
    refuse_unknown(decoded, _COUNTED if counting else _KNOWN)
    _check(typed, counting=counting)
    reader = TurnReader()
    messages: list[Message] = [*reader.system(typed.system)]
    for position, turn in enumerate(typed.messages):
        messages += reader.turn(position, turn)
    tools = tuple(reader.tools(typed.tools or []))
    effort = _effort(typed, reader)
    _note_the_rest(typed, decoded, reader)
    choice = typed.tool_choice
    return ChatRequest(
        model=typed.model,
        messages=tuple(messages),
        body_bytes=len(body),
        stream=bool(typed.stream),
        include_usage=True,
        max_output_tokens=typed.max_tokens,
        temperature=typed.temperature,
        top_p=typed.top_p,
        stop=tuple(typed.stop_sequences or ()),
        tools=tools,
        tool_choice=_tool_choice(choice),
        parallel_tool_calls=False if choice is not None and choice.disable_parallel_tool_use else None,
        response_format=_response_format(typed),
        reasoning_effort=effort,
        end_user=(typed.metadata.user_id or None) if typed.metadata else None,
        has_input_elsewhere=messages_add_input(decoded),
        provider_tools=of_messages(decoded),
        wire_only=frozenset(reader.wire_only),
        hints=frozenset(reader.hints),
        source=SourceBody(Wire.ANTHROPIC_MESSAGES, decoded, _headers(sent)),
    )


def _check(typed: MessagesIn, *, counting: bool) -> None:
    if not typed.model or len(typed.model) > 200:
        raise invalid_request("model: name a model, at most 200 characters.", param="model")
    if not typed.messages:
        raise invalid_request("messages: send at least one message.", param="messages", code="empty_array")
    if len(typed.messages) > _MAX_MESSAGES:
        raise invalid_request(f"messages: at most {_MAX_MESSAGES} messages.", param="messages")
    if len(typed.tools or ()) > _MAX_TOOLS:
        raise invalid_request(f"tools: at most {_MAX_TOOLS} tools.", param="tools")
    if typed.max_tokens is None and not counting:
        raise invalid_request("max_tokens: say how many tokens the answer may have.", param="max_tokens")
    if typed.tool_choice is not None and typed.tool_choice.type == "tool" and not typed.tool_choice.name:
        raise invalid_request("tool_choice.name: name the tool.", param="tool_choice.name")
    check_number("max_tokens", typed.max_tokens, 0, 10_000_000)
    check_number("temperature", typed.temperature, 0, 1)
    check_number("top_p", typed.top_p, 0, 1)
    check_number("top_k", typed.top_k, 0, 10_000_000)
    _refuse_surcharges(typed)


def _refuse_surcharges(typed: MessagesIn) -> None:
    """Anthropic bills these at a multiple of the list price, which neither the reservation nor the ledger would know of
    (https://docs.anthropic.com/en/docs/about-claude/pricing)."""
    if typed.speed not in (None, "standard"):
        raise invalid_request("speed: only 'standard'; other speeds are billed above the list price.", param="speed")
    if typed.inference_geo not in (None, "global"):
        raise invalid_request("inference_geo: only 'global'; other regions are billed above the list price.", param="inference_geo")


def _headers(sent: Sent) -> dict[str, str]:
    headers: dict[str, str] = {}
    for name, allowed in _FORWARDED.items():
        value = sent.headers.get(name)
        if value is None:
            continue
        if allowed.fullmatch(value) is None:
            raise invalid_request(f"{name}: the header holds characters it may not have.", param=name)
        headers[name] = value
    return headers


def _tool_choice(choice: ToolChoiceIn | None) -> ToolChoice | None:
    return None if choice is None else ToolChoice(_CHOICES[choice.type], choice.name if choice.type == "tool" else None)


def _response_format(typed: MessagesIn) -> ResponseFormat | None:
    """Anthropic guarantees the schema, so a translation asks for the guarantee as well."""
    wanted: FormatIn | None = typed.output_config.format if typed.output_config else None
    wanted = wanted or typed.output_format
    return None if wanted is None else ResponseFormat(schema=wanted.schema, strict=True)


def _effort(typed: MessagesIn, reader: TurnReader) -> str | None:
    """``adaptive`` and ``disabled`` name no effort of their own: where thinking is not a switch, they are left out and said so."""
    effort = typed.output_config.effort if typed.output_config else None
    thinking = typed.thinking
    if thinking is None:
        return effort
    if thinking.display is not None:
        reader.hints.add("thinking.display")
    match thinking.type:
        case "enabled":
            budget = thinking.budget_tokens
            if budget is None:
                raise invalid_request("thinking.budget_tokens: name the budget.", param="thinking.budget_tokens")
            reader.hints.add("thinking.budget_tokens")
            return effort or next(name for least, name in _EFFORTS if budget >= least or least == 0)
        case "adaptive" | "disabled":
            reader.hints.add(f"thinking.type={thinking.type}")
            return None if thinking.type == "disabled" else effort
    reader.wire_only.add(f"thinking.type {thinking.type[:60]!r}")
    return effort


def _note_the_rest(typed: MessagesIn, decoded: Mapping[str, Any], reader: TurnReader) -> None:
    reader.wire_only.update(name for name in _WIRE_ONLY if decoded.get(name))
    reader.hints.update(name for name in _HINTS if decoded.get(name))
    config = decoded.get("output_config") or {}
    for where, given, shape in (
        ("thinking", decoded.get("thinking"), ThinkingIn),
        ("tool_choice", decoded.get("tool_choice"), ToolChoiceIn),
        ("output_config.format", config.get("format"), FormatIn),
        ("output_format", decoded.get("output_format"), FormatIn),
        *((f"messages[{position}]", turn, TurnIn) for position, turn in enumerate(decoded["messages"])),
    ):
        reader.wire_only |= beyond(where, given, ("type", *shape.__struct_fields__))
    if typed.max_tokens == 0:
        reader.wire_only.add("max_tokens 0")  # fills the prompt cache and answers nothing
    if typed.service_tier == "standard_only":
        reader.hints.add("service_tier")
    if typed.messages[-1].role == "assistant":
        reader.wire_only.add(f"messages[{len(typed.messages) - 1}] (an answer to be continued)")
