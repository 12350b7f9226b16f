"""OpenAI chat completions body -> canonical request (https://platform.openai.com/docs/api-reference/chat/create)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aigateway.dialects.base import check_number, decode, refuse_unknown
from aigateway.dialects.openai_chat.extras import EXTENSIONS, HINTS, Extras
from aigateway.dialects.openai_chat.shapes import ChatIn, NamedChoiceIn, ResponseFormatIn, ToolIn
from aigateway.dialects.openai_chat.turns import read_turn
from aigateway.dialects.provider_tools import of_chat
from aigateway.errors import invalid_request
from providers.upstream.types import ChatRequest, ResponseFormat, SourceBody, ToolChoice, ToolChoiceMode, ToolSpec, Wire

_CANONICAL = frozenset(ChatIn.__struct_fields__)
_KNOWN = _CANONICAL | HINTS | EXTENSIONS
_MAX_MESSAGES = 10_000
_MAX_TOOLS = 256
_MAX_CHOICES = 16
_MAX_STOPS = 64
# Mistral's words for what OpenAI calls otherwise; an adapter for Mistral turns them back.
_IN_OPENAI_WORDS = {"any": "required"}
# ``on_demand`` is Groq's word for the ordinary tier (https://console.groq.com/docs/service-tiers).
_TIERS = (None, "auto", "default", "flex", "on_demand")


def parse_chat(body: bytes) -> ChatRequest:
    """Raises ``GatewayError`` (400) naming the field."""
    typed, decoded = decode(body, ChatIn)
    refuse_unknown(decoded, _KNOWN)
    _check(typed)
    extras = Extras(decoded)
    return ChatRequest(
        model=typed.model,
        messages=tuple(read_turn(message, index) for index, message in enumerate(typed.messages)),
        body_bytes=len(body),
        stream=bool(typed.stream),
        include_usage=bool(typed.stream_options and typed.stream_options.include_usage),
        max_output_tokens=typed.max_completion_tokens or typed.max_tokens,
        temperature=typed.temperature,
        top_p=typed.top_p,
        stop=(typed.stop,) if isinstance(typed.stop, str) else tuple(typed.stop or ()),
        seed=typed.seed if typed.seed is not None else typed.random_seed,
        choices=typed.n or 1,
        tools=tuple(_tool(tool) for tool in typed.tools or () if tool.function is not None),
        tool_choice=_tool_choice(typed.tool_choice),
        parallel_tool_calls=typed.parallel_tool_calls,
        response_format=_response_format(typed.response_format),
        reasoning_effort=typed.reasoning_effort,
        logprobs=(typed.top_logprobs or 0) if typed.logprobs else None,
        end_user=typed.user or None,
        has_input_elsewhere=(tools := of_chat(decoded)) is not None,
        provider_tools=tools,
        wire_only=frozenset(extras.wire_only),
        hints=frozenset(extras.hints),
        source=SourceBody(Wire.OPENAI_CHAT, _in_openai_words(decoded)),
    )


def _in_openai_words(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """Mistral's clients post to the same path."""
    choice, tools = body.get("tool_choice"), body.get("tools") or ()
    changed: dict[str, Any] = {"tool_choice": "required"} if choice == "any" else {}
    if any("type" not in tool for tool in tools):
        changed["tools"] = [{"type": "function", **tool} for tool in tools]
    if "random_seed" not in body and not changed:
        return body
    return {"seed" if name == "random_seed" else name: value for name, value in body.items()} | changed


def _check(typed: ChatIn) -> None:
    if not typed.model or len(typed.model) > 200:
        raise invalid_request("model: name a model, at most 200 characters.", param="model")
    if not typed.messages:
        raise invalid_request("messages: send at least one message.", param="messages", code="empty_array")
    if typed.service_tier not in _TIERS:
        raise invalid_request("service_tier: use auto, default or flex; others are billed above the list price.", param="service_tier")
    if len(typed.messages) > _MAX_MESSAGES:
        raise invalid_request(f"messages: at most {_MAX_MESSAGES} messages.", param="messages")
    if len(typed.tools or ()) > _MAX_TOOLS:
        raise invalid_request(f"tools: at most {_MAX_TOOLS} tools.", param="tools")
    check_number("max_tokens", typed.max_tokens, 1, 10_000_000)
    check_number("max_completion_tokens", typed.max_completion_tokens, 1, 10_000_000)
    check_number("n", typed.n, 1, _MAX_CHOICES)
    check_number("temperature", typed.temperature, 0, 2)
    check_number("top_p", typed.top_p, 0, 1)
    check_number("top_logprobs", typed.top_logprobs, 0, 20)
    check_number("seed", typed.seed, -(2**63), 2**63 - 1)
    check_number("random_seed", typed.random_seed, 0, 2**63 - 1)
    if isinstance(typed.stop, list) and len(typed.stop) > _MAX_STOPS:
        raise invalid_request(f"stop: at most {_MAX_STOPS} sequences.", param="stop")
    _refuse_contradictions(typed)
    if any(name != typed.model for name in typed.models or ()):
        raise invalid_request("models: name one model in 'model'; another one has another price and may not be yours.", param="models")


def _refuse_contradictions(typed: ChatIn) -> None:
    """Two names for one thing may not say two things: which of them a provider would follow, nobody knows."""
    if None not in (typed.seed, typed.random_seed) and typed.seed != typed.random_seed:
        raise invalid_request("random_seed: it is another name for 'seed'; send one of them.", param="random_seed")
    if None not in (typed.max_tokens, typed.max_completion_tokens) and typed.max_tokens != typed.max_completion_tokens:
        raise invalid_request("max_tokens: it is the older name of 'max_completion_tokens'; send one of them.", param="max_tokens")


def _tool(tool: ToolIn) -> ToolSpec:
    function = tool.function
    assert function is not None
    return ToolSpec(function.name, function.description, function.parameters or {}, function.strict)


def _tool_choice(choice: str | NamedChoiceIn | None) -> ToolChoice | None:
    if isinstance(choice, NamedChoiceIn):
        if choice.type == "function" and choice.function is None:
            raise invalid_request("tool_choice.function: name the function.", param="tool_choice.function")
        return None if choice.function is None else ToolChoice(ToolChoiceMode.NAMED, choice.function.name)
    return None if choice is None else ToolChoice(ToolChoiceMode(_IN_OPENAI_WORDS.get(choice, choice)))


def _response_format(wanted: ResponseFormatIn | None) -> ResponseFormat | None:
    if wanted is None or wanted.type == "text":
        return None
    if wanted.type == "json_object":
        return ResponseFormat()
    if wanted.json_schema is None:
        raise invalid_request("response_format.json_schema: name a schema.", param="response_format.json_schema")
    schema = wanted.json_schema.schema
    if wanted.json_schema.description is not None:
        # Only OpenAI has the field; every reader of a schema knows the keyword.
        schema = {"description": wanted.json_schema.description, **schema}
    return ResponseFormat(wanted.json_schema.name, schema, wanted.json_schema.strict)
