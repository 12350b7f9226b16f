"""Canonical request -> Ollama's ``/api/chat`` body."""

from __future__ import annotations

import re
from collections.abc import Iterator

from providers.upstream.adapters.json_values import decode_or_none
from providers.upstream.adapters.translation import left_out, refusal, refuse_untranslatable
from providers.upstream.types import (
    ChatRequest,
    ImagePart,
    JsonObject,
    Message,
    ReasoningPart,
    ResponseFormat,
    Role,
    Target,
    ToolCall,
    ToolChoiceMode,
    ToolSpec,
)

_DATA_URL = re.compile(r"data:[^,]*;base64,(.*)", re.DOTALL)
# The family that is told how hard to think; all others only whether (docs/capabilities/thinking).
_LEVEL_FAMILY = "gpt-oss"
_LEVELS = {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "high", "max": "high"}
_FORCING = (ToolChoiceMode.REQUIRED, ToolChoiceMode.NAMED)


def render_body(request: ChatRequest, target: Target) -> JsonObject:
    """``stream`` is always said, because the server streams unless told otherwise; ``truncate`` is off, so that a prompt above
    the context window is refused instead of losing its beginning unnoticed (servers before 0.12 do not know it)."""
    refuse_untranslatable(request)
    _refuse_unknown_to_ollama(request)
    optional: JsonObject = {
        "tools": [_tool(tool) for tool in _offered_tools(request)] or None,
        "format": _format(request.response_format),
        "think": _think(request.reasoning_effort, target),
    }
    return {
        "model": target.upstream_model,
        "messages": _messages(request),
        "stream": request.stream,
        "truncate": False,
        "options": _options(request, target),
        **{name: value for name, value in optional.items() if value is not None},
    }


def degraded(request: ChatRequest, target: Target) -> tuple[str, ...]:
    return left_out(request, *_dropped(request, target))


def _dropped(request: ChatRequest, target: Target) -> Iterator[str]:
    if request.end_user is not None:
        yield "user"
    if request.reasoning_effort not in (None, "none") and _LEVEL_FAMILY not in target.upstream_model.lower():
        yield "reasoning_effort"
    if any(tool.strict for tool in request.tools):
        yield "tools.strict"
    for message in request.messages:
        if any(call.signature is not None for call in message.tool_calls):
            yield "tool_calls.signature"
        for part in message.parts:
            if isinstance(part, ImagePart) and part.detail not in (None, "auto"):
                yield "image detail"
            elif isinstance(part, ReasoningPart) and part.redacted:
                yield "reasoning"


def _refuse_unknown_to_ollama(request: ChatRequest) -> None:
    if request.choices != 1:
        raise refusal("n", "one answer per request")
    if request.logprobs is not None:
        raise refusal("logprobs")
    if request.tool_choice is not None and request.tool_choice.mode in _FORCING:
        raise refusal("tool_choice", "the model decides whether it calls a tool")
    if request.tools and request.parallel_tool_calls is False:
        raise refusal("parallel_tool_calls", "the model decides how many tools it calls")


def _offered_tools(request: ChatRequest) -> tuple[ToolSpec, ...]:
    """A client that forbids calls is served by offering none."""
    forbidden = request.tool_choice is not None and request.tool_choice.mode is ToolChoiceMode.NONE
    return () if forbidden else request.tools


def _options(request: ChatRequest, target: Target) -> JsonObject:
    optional: JsonObject = {
        "temperature": request.temperature,
        "top_p": request.top_p,
        "seed": request.seed,
        "stop": list(request.stop) or None,
    }
    known = {name: value for name, value in optional.items() if value is not None}
    return {"num_predict": target.output_cap_tokens(request.max_output_tokens), **known}


def _format(wanted: ResponseFormat | None) -> str | JsonObject | None:
    if wanted is None:
        return None
    return "json" if wanted.schema is None else dict(wanted.schema)


def _think(effort: str | None, target: Target) -> bool | str | None:
    if effort is None:
        return None
    if effort == "none":
        return False
    if effort not in _LEVELS:
        raise refusal("reasoning_effort", f"{effort!r} is no known effort")
    return _LEVELS[effort] if _LEVEL_FAMILY in target.upstream_model.lower() else True


def _messages(request: ChatRequest) -> list[JsonObject]:
    names: dict[str, str] = {}
    """The tool behind each call so far: a result is told by the tool's name."""
    messages = []
    for position, message in enumerate(request.messages):
        names |= {call.id: call.name for call in message.tool_calls}
        messages.append(_message(f"messages[{position}]", message, names))
    return messages


def _message(where: str, message: Message, names: dict[str, str]) -> JsonObject:
    if message.name is not None and message.role is not Role.TOOL:
        raise refusal(f"{where}.name")
    body: JsonObject = {"role": message.role.value, "content": message.text}
    images = [_image(where, part) for part in message.parts if isinstance(part, ImagePart)]
    thinking = "".join(part.text for part in message.parts if isinstance(part, ReasoningPart))
    if images:
        body["images"] = images
    if thinking and message.role is Role.ASSISTANT:
        body["thinking"] = thinking
    if message.tool_calls:
        body["tool_calls"] = [_tool_call(f"{where}.tool_calls[{index}]", index, call) for index, call in enumerate(message.tool_calls)]
    if message.role is Role.TOOL:
        name = names.get(message.tool_call_id or "") or message.name
        if name:
            body["tool_name"] = name
        if message.tool_call_id:
            body["tool_call_id"] = message.tool_call_id
    return body


def _image(where: str, image: ImagePart) -> str:
    inline = _DATA_URL.fullmatch(image.url) if image.url is not None else None
    if inline is not None:
        return inline[1]
    if image.url is not None:
        raise refusal(f"{where}.content", "an image by URL; send its data")
    if image.data is None:
        raise refusal(f"{where}.content", "an image without data")
    return image.data


def _tool_call(where: str, index: int, call: ToolCall) -> JsonObject:
    arguments = decode_or_none(call.arguments) if call.arguments.strip() else {}
    if not isinstance(arguments, dict):
        raise refusal(f"{where}.function.arguments", "not a JSON object")
    return {"id": call.id, "function": {"index": index, "name": call.name, "arguments": arguments}}


def _tool(tool: ToolSpec) -> JsonObject:
    function: JsonObject = {"name": tool.name, "parameters": dict(tool.parameters) or {"type": "object", "properties": {}}}
    if tool.description is not None:
        function["description"] = tool.description
    return {"type": "function", "function": function}
