"""Canonical request -> Anthropic messages body (https://docs.anthropic.com/en/api/messages)."""

from __future__ import annotations

import re
from typing import Any

from providers.upstream.adapters.json_values import decode_or_none
from providers.upstream.adapters.translation import end_user_id, refusal, refuse_untranslatable
from providers.upstream.types import (
    ChatRequest,
    ImagePart,
    JsonObject,
    Message,
    Part,
    ReasoningPart,
    Role,
    Target,
    TextPart,
    ToolCall,
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
_DATA_URL = re.compile(r"data:([^;,]+);base64,(.*)", re.DOTALL)
_FORCING = (ToolChoiceMode.REQUIRED, ToolChoiceMode.NAMED)
_TOOL_CHOICE_TYPES = {ToolChoiceMode.AUTO: "auto", ToolChoiceMode.NONE: "none", ToolChoiceMode.REQUIRED: "any"}


def render_body(request: ChatRequest, target: Target) -> JsonObject:
    """The body to send. A client of the same wire format has every field passed on, whatever it means."""
    source = request.source
    if source is not None and source.wire is Wire.ANTHROPIC_MESSAGES:
        body = dict(source.body)
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


def _translated(request: ChatRequest, target: Target, cap: int) -> JsonObject:
    _refuse_unknown_to_anthropic(request)
    user = end_user_id(request)
    optional: JsonObject = {
        "system": _system(request) or None,
        "temperature": request.temperature,
        "top_p": request.top_p,
        "stop_sequences": list(request.stop) or None,
        "tools": [_tool(tool) for tool in request.tools] or None,
        "tool_choice": _tool_choice(request.tool_choice, request.parallel_tool_calls) if request.tools else None,
        "metadata": {"user_id": user} if user else None,
    }
    body: JsonObject = {"messages": _turns(request), **{name: value for name, value in optional.items() if value is not None}}
    output_config: JsonObject = {}
    if request.response_format is not None and request.response_format.schema is not None:
        output_config["format"] = {"type": "json_schema", "schema": request.response_format.schema}
    _add_reasoning(body, output_config, request.reasoning_effort, target, cap)
    if output_config:
        body["output_config"] = output_config
    return body


def _refuse_unknown_to_anthropic(request: ChatRequest) -> None:
    if request.choices != 1:
        raise refusal("n", "one answer per request")
    if request.seed is not None:
        raise refusal("seed")
    if request.temperature is not None and request.temperature > _TEMPERATURE_MAX:
        raise refusal("temperature", "at most 1")
    if request.response_format is not None and request.response_format.schema is None:
        raise refusal("response_format", "JSON without a schema; ask for json_schema")
    if not request.tools and request.tool_choice is not None and request.tool_choice.mode in _FORCING:
        raise refusal("tool_choice", "no tools are given")


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


def _system(request: ChatRequest) -> str:
    """The one system prompt there is: all system turns in their order, wherever they stood."""
    texts = []
    for position, message in enumerate(request.messages):
        if message.role is Role.SYSTEM:
            if any(not isinstance(part, TextPart) for part in message.parts):
                raise refusal(f"messages[{position}].content", "a system turn holds text only")
            texts.append(message.text)
    return "\n\n".join(text for text in texts if text)


def _turns(request: ChatRequest) -> list[JsonObject]:
    """User and assistant in turns. Tool results are blocks of a user turn, and all results of one turn share one."""
    turns: list[JsonObject] = []
    for position, message in enumerate(request.messages):
        if message.role is Role.SYSTEM:
            continue
        role = "assistant" if message.role is Role.ASSISTANT else "user"
        blocks = _blocks(f"messages[{position}]", message)
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"] += blocks
        else:
            turns.append({"role": role, "content": blocks})
    return turns


def _blocks(where: str, message: Message) -> list[JsonObject]:
    if message.name is not None and message.role is not Role.TOOL:
        raise refusal(f"{where}.name")
    # The API refuses empty text blocks; an empty text says nothing.
    parts = [part for part in message.parts if not (isinstance(part, TextPart) and not part.text)]
    blocks = [_block(where, message.role, part) for part in parts]
    if message.role is Role.TOOL:
        return [{"type": "tool_result", "tool_use_id": message.tool_call_id or "", "content": blocks}]
    return blocks + [_tool_use(f"{where}.tool_calls[{position}]", call) for position, call in enumerate(message.tool_calls)]


def _block(where: str, role: Role, part: Part) -> JsonObject:
    if isinstance(part, TextPart):
        return {"type": "text", "text": part.text}
    if isinstance(part, ImagePart):
        if role is Role.ASSISTANT:
            raise refusal(f"{where}.content", "an image in a turn of role assistant")
        return {"type": "image", "source": _image_source(where, part)}
    return _thinking(where, role, part)


def _image_source(where: str, image: ImagePart) -> JsonObject:
    if image.detail == "low":
        raise refusal(f"{where}.content", "image detail 'low'")
    inline = _DATA_URL.fullmatch(image.url) if image.url is not None else None
    if inline is not None:
        return {"type": "base64", "media_type": inline[1], "data": inline[2]}
    if image.url is not None:
        return {"type": "url", "url": image.url}
    if image.data is None or image.media_type is None:
        raise refusal(f"{where}.content", "an image needs a URL, or data with its media type")
    return {"type": "base64", "media_type": image.media_type, "data": image.data}


def _thinking(where: str, role: Role, part: ReasoningPart) -> JsonObject:
    if role is not Role.ASSISTANT or part.signature is None:
        raise refusal(f"{where}.content", "reasoning without the signature of its provider")
    if part.redacted:
        return {"type": "redacted_thinking", "data": part.signature}
    return {"type": "thinking", "thinking": part.text, "signature": part.signature}


def _tool_use(where: str, call: ToolCall) -> JsonObject:
    arguments = decode_or_none(call.arguments) if call.arguments.strip() else {}
    if not isinstance(arguments, dict):
        raise refusal(f"{where}.function.arguments", "not a JSON object")
    return {"type": "tool_use", "id": call.id, "name": call.name, "input": arguments}


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
