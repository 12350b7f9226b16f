"""Canonical request -> Anthropic messages body (https://docs.anthropic.com/en/api/messages)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from providers.upstream.adapters.anthropic.turns import render_turns, system_text
from providers.upstream.adapters.json_values import list_at, text_at
from providers.upstream.adapters.translation import has_tool_fee, left_out, refusal, refuse_unpriced_tools, refuse_untranslatable
from providers.upstream.types import (
    TOOL_CALLS_UNSAID,
    ChatRequest,
    ImagePart,
    JsonObject,
    ReasoningPart,
    Role,
    Target,
    ToolChoice,
    ToolChoiceMode,
    ToolSpec,
    Wire,
)

# Families that think within a token budget; younger ones are told an effort and refuse a budget.
_BUDGET_FAMILY = re.compile(r"claude-(?:3|(?:opus|sonnet|haiku)-4(?:-0|-1|-20\d{6}|$)|(?:sonnet|haiku)-4-5)")
_BUDGET_TOKENS = {"minimal": 1024, "low": 1024, "medium": 4096, "high": 16384, "xhigh": 32768, "max": 32768}
_EFFORT = {"minimal": "low"}
_MIN_BUDGET_TOKENS = 1024
_TEMPERATURE_MAX = 1.0
_COUNTED = ("messages", "system", "tools", "tool_choice", "thinking", "output_config")
_SEARCH = "web_search_"
_FORCING = (ToolChoiceMode.REQUIRED, ToolChoiceMode.NAMED)
_TOOL_CHOICE_TYPES = {ToolChoiceMode.AUTO: "auto", ToolChoiceMode.NONE: "none", ToolChoiceMode.REQUIRED: "any"}


def degraded(request: ChatRequest, target: Target) -> tuple[str, ...]:
    """For a client of the same wire format, only what this API never wrote."""
    if request.source is not None and _is_same_wire(request):
        return tuple(sorted(_foreign_state(request.source.body)))
    return left_out(request, *_dropped(request, target))


def forwarded_headers(request: ChatRequest) -> dict[str, str]:
    """The client's own version and beta flags: the body means what they say."""
    return dict(request.source.headers) if request.source is not None and _is_same_wire(request) else {}


def _is_same_wire(request: ChatRequest) -> bool:
    return request.source is not None and request.source.wire is Wire.ANTHROPIC_MESSAGES


def _foreign_state(body: Mapping[str, Any]) -> set[str]:
    """What the gateway itself added to earlier answers of other providers, and this API refuses: thinking that nobody signed
    and another provider's signature of a tool call."""
    found = set()
    for turn in list_at(body, "messages"):
        for block in list_at(turn, "content"):
            if _is_unsigned(block):
                found.add("messages.reasoning")
            elif isinstance(block, Mapping) and "extra_content" in block:
                found.add("messages.tool_calls.signature")
    return found


def _is_unsigned(block: Any) -> bool:
    return isinstance(block, Mapping) and block.get("type") == "thinking" and block.get("signature") == ""


def _own_history(body: Mapping[str, Any]) -> JsonObject:
    """A copy of the body without ``_foreign_state``: a conversation may move from another provider to this one."""
    if not _foreign_state(body):
        return dict(body)
    turns = []
    for turn in list_at(body, "messages"):
        blocks = list_at(turn, "content")
        kept = [{name: block[name] for name in block if name != "extra_content"} for block in blocks if not _is_unsigned(block)]
        if kept or not blocks:
            turns.append({**turn, "content": kept} if blocks else turn)
    return {**body, "messages": turns}


def _dropped(request: ChatRequest, target: Target) -> Iterator[str]:
    """What this API has no place for and an answer hardly depends on: a seed is best effort everywhere, reasoning that nobody
    signed and another provider's signatures are refused, an image is scaled by the provider as it likes."""
    if request.seed is not None:
        yield "seed"
    if _must_not_think(request, target):
        yield "reasoning_effort"
    for message in request.messages:
        if message.name is not None and message.role not in (Role.USER, Role.TOOL):
            yield "messages.name"
        if any(call.signature is not None for call in message.tool_calls):
            yield "messages.tool_calls.signature"
        for part in message.parts:
            if isinstance(part, ReasoningPart) and part.signature is None:
                yield "messages.reasoning"
            elif isinstance(part, ImagePart) and part.detail not in (None, "auto"):
                yield "image detail"


def render_count_body(request: ChatRequest, target: Target) -> JsonObject:
    """The body to count: what ``render_body`` sends without the options of generation."""
    if request.source is not None and _is_same_wire(request):
        body = _own_history(request.source.body)
    else:
        refuse_untranslatable(request)
        translated = _translated(request, target, target.max_output_tokens)
        body = {name: translated[name] for name in _COUNTED if name in translated}
    body["model"] = target.upstream_model
    return body


def render_body(request: ChatRequest, target: Target) -> JsonObject:
    """The body to send. A client of the same wire format has every field passed on, whatever it means."""
    source = request.source
    if source is not None and _is_same_wire(request):
        refuse_unpriced_tools(request, target)
        body = _own_history(source.body)
        if has_tool_fee(target):
            body = _with_bounded_searches(body)
        sent = body.get("max_tokens")
        cap = target.output_cap_tokens(sent if isinstance(sent, int) else request.max_output_tokens)
    else:
        refuse_untranslatable(request)
        cap = target.output_cap_tokens(request.max_output_tokens)
        body = _translated(request, target, cap)
    body["model"] = target.upstream_model
    body["max_tokens"] = cap
    if request.stream:
        body["stream"] = True
    return body


def _with_bounded_searches(body: JsonObject) -> JsonObject:
    """Every search tool leaves with a bound: the reservation rests on it."""
    tools = list_at(body, "tools")
    if not any(text_at(tool, "type").startswith(_SEARCH) for tool in tools):
        return body
    bounded = [{"max_uses": TOOL_CALLS_UNSAID, **_said(tool)} if text_at(tool, "type").startswith(_SEARCH) else tool for tool in tools]
    return {**body, "tools": bounded}


def _said(tool: JsonObject) -> JsonObject:
    return {name: value for name, value in tool.items() if name != "max_uses" or value is not None}


def _translated(request: ChatRequest, target: Target, cap: int) -> JsonObject:
    _refuse_unknown_to_anthropic(request)
    user = request.end_user
    optional: JsonObject = {
        "system": system_text(request) or None,
        "temperature": request.temperature,
        "top_p": request.top_p,
        "stop_sequences": list(request.stop) or None,
        "tools": [_tool(tool) for tool in request.tools] or None,
        "tool_choice": _tool_choice(request.tool_choice, request.parallel_tool_calls) if request.tools else None,
        "metadata": {"user_id": user} if user else None,
    }
    body: JsonObject = {"messages": render_turns(request), **{name: value for name, value in optional.items() if value is not None}}
    output_config: JsonObject = {}
    if request.response_format is not None and request.response_format.schema is not None:
        output_config["format"] = {"type": "json_schema", "schema": request.response_format.schema}
    if not _must_not_think(request, target):
        _add_reasoning(body, output_config, request.reasoning_effort, target, cap)
    if output_config:
        body["output_config"] = output_config
    return body


def _refuse_unknown_to_anthropic(request: ChatRequest) -> None:
    if request.choices != 1:
        raise refusal("n", "one answer per request")
    if request.logprobs is not None:
        raise refusal("logprobs")
    if request.temperature is not None and request.temperature > _TEMPERATURE_MAX:
        raise refusal("temperature", "at most 1")
    if request.response_format is not None and request.response_format.schema is None:
        raise refusal("response_format", "JSON without a schema; ask for json_schema")
    if not request.tools and request.tool_choice is not None and request.tool_choice.mode in _FORCING:
        raise refusal("tool_choice", "no tools are given")


def _must_not_think(request: ChatRequest, target: Target) -> bool:
    """Families with a budget refuse to go on thinking after a tool call of theirs whose signed thinking is missing, and clients
    of other wire formats seldom keep it (docs.anthropic.com, "Extended thinking", preserving thinking blocks)."""
    if request.reasoning_effort in (None, "none") or not _BUDGET_FAMILY.search(target.upstream_model):
        return False
    turns = [message for message in request.messages if message.role is not Role.SYSTEM]
    if not turns or turns[-1].role is not Role.TOOL:
        return False
    last = next((message for message in reversed(turns) if message.role is Role.ASSISTANT), None)
    return last is not None and not any(isinstance(part, ReasoningPart) and part.signature for part in last.parts)


def _add_reasoning(body: JsonObject, output_config: JsonObject, effort: str | None, target: Target, cap: int) -> None:
    if effort is None:
        return
    if effort == "none":
        body["thinking"] = {"type": "disabled"}
    elif not _BUDGET_FAMILY.search(target.upstream_model):
        body["thinking"] = {"type": "adaptive"}
        output_config["effort"] = _EFFORT.get(effort, effort)
    else:
        if effort not in _BUDGET_TOKENS:
            raise refusal("reasoning_effort", f"{effort!r} is no known effort")
        if cap <= _MIN_BUDGET_TOKENS:
            raise refusal("reasoning_effort", f"reasoning needs an output limit above {_MIN_BUDGET_TOKENS} tokens")
        body["thinking"] = {"type": "enabled", "budget_tokens": min(_BUDGET_TOKENS[effort], cap - 1)}


def _tool(tool: ToolSpec) -> JsonObject:
    body: JsonObject = {"name": tool.name, "input_schema": dict(tool.parameters) or {"type": "object", "properties": {}}}
    if tool.description is not None:
        body["description"] = tool.description
    if tool.strict is not None:
        body["strict"] = tool.strict
    return body


def _tool_choice(choice: ToolChoice | None, parallel: bool | None) -> JsonObject | None:
    if choice is None and parallel is not False:
        return None
    mode = ToolChoiceMode.AUTO if choice is None else choice.mode
    body: dict[str, Any] = {"type": _TOOL_CHOICE_TYPES.get(mode, "tool")}
    if choice is not None and mode is ToolChoiceMode.NAMED:
        body["name"] = choice.name or ""
    if parallel is False and mode is not ToolChoiceMode.NONE:
        body["disable_parallel_tool_use"] = True
    return body
