"""OpenAI Responses body -> canonical request (https://platform.openai.com/docs/api-reference/responses/create)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aigateway.dialects.base import beyond, check_number, decode, refuse_unknown
from aigateway.dialects.openai_responses.shapes import FormatIn, ReasoningIn, ResponsesIn, TextIn
from aigateway.dialects.openai_responses.turns import TurnReader
from aigateway.dialects.provider_tools import of_responses
from aigateway.errors import invalid_request
from providers.upstream.types import (
    ChatRequest,
    Message,
    ResponseFormat,
    Role,
    SourceBody,
    TextPart,
    ToolChoice,
    ToolChoiceMode,
    ToolSpec,
    Wire,
)

_KNOWN = frozenset(ResponsesIn.__struct_fields__)
_WIRE_ONLY = ("previous_response_id", "conversation", "prompt", "max_tool_calls", "context_management", "provider")
_HINTS = (
    *("store", "metadata", "safety_identifier", "prompt_cache_key", "prompt_cache_retention", "prompt_cache_options"),
    *("service_tier", "stream_options"),
)
_LOGPROBS = "message.output_text.logprobs"
_ENCRYPTED = "reasoning.encrypted_content"
_FUNCTION_KEYS = ("type", "name", "description", "parameters", "strict")
_CLIENT_TOOLS = ("function", "custom")
# https://platform.openai.com/docs/pricing : "priority" costs a multiple of the list price, which the ledger does not know of.
_TIERS = (None, "auto", "default", "flex")
_MAX_ITEMS = 10_000
_MAX_TOOLS = 256
_CHOICES = {"auto": ToolChoiceMode.AUTO, "none": ToolChoiceMode.NONE, "required": ToolChoiceMode.REQUIRED}


def parse_response_request(body: bytes) -> ChatRequest:
    """Raises ``GatewayError`` (400) naming the field."""
    typed, decoded = decode(body, ResponsesIn)
    refuse_unknown(decoded, _KNOWN)
    _check(typed)
    reader = TurnReader()
    messages = [*_instructions(typed), *reader.messages(typed.input or [])]
    tools = tuple(_tools(typed.tools or [], reader.wire_only))
    choice = _tool_choice(typed.tool_choice, reader.wire_only)
    _note_the_rest(typed, decoded, reader)
    return ChatRequest(
        model=typed.model,
        messages=tuple(messages),
        body_bytes=len(body),
        stream=bool(typed.stream),
        include_usage=True,
        max_output_tokens=typed.max_output_tokens,
        temperature=typed.temperature,
        top_p=typed.top_p,
        tools=tools,
        tool_choice=choice,
        parallel_tool_calls=typed.parallel_tool_calls,
        response_format=_response_format(typed.text),
        reasoning_effort=typed.reasoning.effort if typed.reasoning else None,
        logprobs=_logprobs(typed),
        end_user=typed.user or None,
        provider_state=tuple(dict.fromkeys((*([typed.previous_response_id] if typed.previous_response_id else []), *reader.state))),
        has_input_elsewhere=reader.has_input_elsewhere or _adds_input(typed),
        provider_tools=of_responses(decoded),
        wire_only=frozenset(reader.wire_only),
        hints=frozenset(reader.hints),
        source=SourceBody(Wire.OPENAI_RESPONSES, decoded),
    )


def _check(typed: ResponsesIn) -> None:
    if not typed.model or len(typed.model) > 200:
        raise invalid_request("model: name a model, at most 200 characters.", param="model")
    if not typed.input and typed.prompt is None and typed.previous_response_id is None and typed.conversation is None:
        raise invalid_request("input: send a text or at least one item.", param="input", code="empty_array")
    if isinstance(typed.input, list) and len(typed.input) > _MAX_ITEMS:
        raise invalid_request(f"input: at most {_MAX_ITEMS} items.", param="input")
    if len(typed.tools or ()) > _MAX_TOOLS:
        raise invalid_request(f"tools: at most {_MAX_TOOLS} tools.", param="tools")
    if typed.background:
        raise invalid_request(
            "background: answers are given at once; leave it out or use false.", param="background", code="unsupported_feature"
        )
    if typed.service_tier not in _TIERS:
        raise invalid_request("service_tier: use auto, default or flex; others are billed above the list price.", param="service_tier")
    check_number("max_output_tokens", typed.max_output_tokens, 1, 10_000_000)
    check_number("temperature", typed.temperature, 0, 2)
    check_number("top_p", typed.top_p, 0, 1)
    check_number("top_logprobs", typed.top_logprobs, 0, 20)


def _adds_input(typed: ResponsesIn) -> bool:
    """Stored conversations and prompts, and tools that the provider runs itself."""
    stored = typed.previous_response_id or typed.conversation or typed.prompt
    return bool(stored) or any(tool.get("type") not in _CLIENT_TOOLS for tool in typed.tools or ())


def _instructions(typed: ResponsesIn) -> list[Message]:
    return [Message(Role.SYSTEM, (TextPart(typed.instructions),))] if typed.instructions else []


def _tools(tools: list[dict[str, Any]], wire_only: set[str]) -> list[ToolSpec]:
    found = []
    for position, tool in enumerate(tools):
        where = f"tools[{position}]"
        if tool.get("type") != "function":
            wire_only.add(f"{where}.type {tool.get('type')!r}")
            continue
        wire_only |= beyond(where, tool, _FUNCTION_KEYS)
        name, parameters = tool.get("name"), tool.get("parameters")
        if not isinstance(name, str) or not name:
            raise invalid_request(f"{where}.name: name the tool.", param=f"{where}.name")
        if parameters is not None and not isinstance(parameters, dict):
            raise invalid_request(f"{where}.parameters: send a JSON schema.", param=f"{where}.parameters")
        description, strict = tool.get("description"), tool.get("strict")
        found.append(
            ToolSpec(
                name,
                description if isinstance(description, str) else None,
                parameters or {},
                strict if isinstance(strict, bool) else None,
            )
        )
    return found


def _tool_choice(choice: str | dict[str, Any] | None, wire_only: set[str]) -> ToolChoice | None:
    if choice is None:
        return None
    if isinstance(choice, str):
        if choice not in _CHOICES:
            raise invalid_request("tool_choice: use 'auto', 'none', 'required' or name a function.", param="tool_choice")
        return ToolChoice(_CHOICES[choice])
    if choice.get("type") == "function" and isinstance(choice.get("name"), str):
        wire_only |= beyond("tool_choice", choice, ("type", "name"))
        return ToolChoice(ToolChoiceMode.NAMED, choice["name"])
    wire_only.add("tool_choice")
    return None


def _response_format(text: TextIn | None) -> ResponseFormat | None:
    wanted = text.format if text is not None else None
    if wanted is None or wanted.type == "text":
        return None
    if wanted.type == "json_object":
        return ResponseFormat()
    if wanted.schema is None:
        raise invalid_request("text.format.schema: send a schema.", param="text.format.schema")
    schema = wanted.schema if wanted.description is None else {"description": wanted.description, **wanted.schema}
    return ResponseFormat(wanted.name, schema, wanted.strict)


def _logprobs(typed: ResponsesIn) -> int | None:
    asked = _LOGPROBS in (typed.include or ())
    return (typed.top_logprobs or 0) if asked or typed.top_logprobs else None


def _note_the_rest(typed: ResponsesIn, decoded: Mapping[str, Any], reader: TurnReader) -> None:
    """What no other format can carry, and what it may leave out."""
    for name, shape in (("reasoning", ReasoningIn), ("text", TextIn)):
        reader.wire_only |= beyond(name, decoded.get(name), shape.__struct_fields__)
    reader.wire_only |= beyond("text.format", (decoded.get("text") or {}).get("format"), FormatIn.__struct_fields__)
    reader.wire_only.update(name for name in _WIRE_ONLY if getattr(typed, name))
    reader.hints.update(name for name in _HINTS if getattr(typed, name))
    if typed.service_tier in ("auto", "default"):
        reader.hints.discard("service_tier")
    if typed.truncation not in (None, "disabled"):
        reader.wire_only.add("truncation")
    if typed.text is not None and typed.text.verbosity not in (None, "medium"):
        reader.wire_only.add("text.verbosity")
    if typed.reasoning is not None and (typed.reasoning.summary or typed.reasoning.generate_summary):
        reader.hints.add("reasoning.summary")
    for name in typed.include or ():
        if name != _LOGPROBS:
            reader.hints.add(f"include.{name[:60]}" if name != _ENCRYPTED else "include.reasoning.encrypted_content")
