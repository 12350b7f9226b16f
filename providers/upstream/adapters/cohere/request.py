"""Canonical request -> Cohere's ``/v2/chat`` body (https://docs.cohere.com/reference/chat)."""

from __future__ import annotations

from collections.abc import Iterator

from providers.upstream.adapters.translation import left_out, refusal, refuse_untranslatable
from providers.upstream.types import (
    ChatRequest,
    ImagePart,
    JsonObject,
    Message,
    Part,
    ReasoningPart,
    ResponseFormat,
    Role,
    Target,
    TextPart,
    ToolCall,
    ToolChoiceMode,
    ToolSpec,
)

_FORCING = (ToolChoiceMode.REQUIRED, ToolChoiceMode.NAMED)
_P_MIN, _P_MAX = 0.01, 0.99
# Without a budget the model thinks as long as it likes.
_BUDGET_TOKENS = {"minimal": 1024, "low": 1024, "medium": 4096, "high": None, "xhigh": None, "max": None}


def render_body(request: ChatRequest, target: Target) -> JsonObject:
    refuse_untranslatable(request)
    _refuse_unknown_to_cohere(request)
    cap = target.output_cap_tokens(request.max_output_tokens)
    tools = _offered_tools(request)
    optional: JsonObject = {
        "temperature": request.temperature,
        "p": None if request.top_p is None else _clamped_p(request.top_p),
        "seed": request.seed,
        "stop_sequences": list(request.stop) or None,
        "tools": [_tool(tool) for tool in tools] or None,
        "strict_tools": True if tools and all(tool.strict for tool in tools) else None,
        "tool_choice": _tool_choice(request) if tools else None,
        "response_format": _response_format(request.response_format),
        "thinking": _thinking(request.reasoning_effort, cap),
    }
    return {
        "model": target.upstream_model,
        "messages": [_message(f"messages[{position}]", message) for position, message in enumerate(request.messages)],
        "max_tokens": cap,
        "stream": request.stream,
        **{name: value for name, value in optional.items() if value is not None},
    }


def degraded(request: ChatRequest) -> tuple[str, ...]:
    return left_out(request, *_dropped(request))


def _dropped(request: ChatRequest) -> Iterator[str]:
    """``top_p`` 1 becomes the highest value there is; reasoning that another provider sealed means nothing here."""
    if request.end_user is not None:
        yield "user"
    if request.top_p is not None and _clamped_p(request.top_p) != request.top_p:
        yield "top_p"
    if any(tool.strict for tool in request.tools) and not all(tool.strict for tool in request.tools):
        yield "tools.strict"
    for message in request.messages:
        if any(call.signature is not None for call in message.tool_calls):
            yield "tool_calls.signature"
        if any(isinstance(part, ReasoningPart) and part.redacted for part in message.parts):
            yield "reasoning"


def _refuse_unknown_to_cohere(request: ChatRequest) -> None:
    if request.choices != 1:
        raise refusal("n", "one answer per request")
    if request.logprobs is not None:
        raise refusal("logprobs")
    if request.tools and request.parallel_tool_calls is False:
        raise refusal("parallel_tool_calls", "the model decides how many tools it calls")
    if not request.tools and request.tool_choice is not None and request.tool_choice.mode in _FORCING:
        raise refusal("tool_choice", "no tools are given")


def _clamped_p(top_p: float) -> float:
    return min(max(top_p, _P_MIN), _P_MAX)


def _offered_tools(request: ChatRequest) -> tuple[ToolSpec, ...]:
    """There is no way to name the tool to call: it is offered alone, and some call is required."""
    choice = request.tool_choice
    if choice is None or choice.mode is not ToolChoiceMode.NAMED:
        return request.tools
    named = tuple(tool for tool in request.tools if tool.name == choice.name)
    if request.tools and not named:
        raise refusal("tool_choice", "no tool of that name is given")
    return named


def _tool_choice(request: ChatRequest) -> str | None:
    mode = None if request.tool_choice is None else request.tool_choice.mode
    if mode is ToolChoiceMode.NONE:
        return "NONE"
    return "REQUIRED" if mode in _FORCING else None


def _response_format(wanted: ResponseFormat | None) -> JsonObject | None:
    if wanted is None:
        return None
    schema = {} if wanted.schema is None else {"json_schema": wanted.schema}
    return {"type": "json_object", **schema}


def _thinking(effort: str | None, cap: int) -> JsonObject | None:
    if effort is None:
        return None
    if effort == "none":
        return {"type": "disabled"}
    if effort not in _BUDGET_TOKENS:
        raise refusal("reasoning_effort", f"{effort!r} is no known effort")
    budget = _BUDGET_TOKENS[effort]
    return {"type": "enabled"} if budget is None or cap <= 1 else {"type": "enabled", "token_budget": min(budget, cap - 1)}


def _message(where: str, message: Message) -> JsonObject:
    if message.name is not None and message.role is not Role.TOOL:
        raise refusal(f"{where}.name")
    body: JsonObject = {"role": message.role.value}
    if message.role is Role.TOOL:
        body["tool_call_id"] = message.tool_call_id or ""
    parts = [part for part in message.parts if not (isinstance(part, ReasoningPart) and part.redacted)]
    content = [_part(where, message.role, part) for part in parts]
    # A turn of calls alone has no content; everybody else needs at least an empty one.
    if all(isinstance(part, TextPart) for part in parts) and len(parts) < 2:
        if message.text or not message.tool_calls:
            body["content"] = message.text
    else:
        body["content"] = content
    if message.tool_calls:
        body["tool_calls"] = [_tool_call(call) for call in message.tool_calls]
    return body


def _part(where: str, role: Role, part: Part) -> JsonObject:
    if isinstance(part, TextPart):
        return {"type": "text", "text": part.text}
    if isinstance(part, ReasoningPart):
        if role is not Role.ASSISTANT:
            raise refusal(f"{where}.content", f"reasoning in a turn of role {role.value}")
        return {"type": "thinking", "thinking": part.text}
    if role is not Role.USER:
        raise refusal(f"{where}.content", f"images in a turn of role {role.value}")
    image: JsonObject = {"url": _image_url(where, part)}
    if part.detail is not None:
        image["detail"] = part.detail
    return {"type": "image_url", "image_url": image}


def _image_url(where: str, image: ImagePart) -> str:
    if image.url is not None:
        return image.url
    if image.data is None or image.media_type is None:
        raise refusal(f"{where}.content", "an image needs a URL, or data with its media type")
    return f"data:{image.media_type};base64,{image.data}"


def _tool_call(call: ToolCall) -> JsonObject:
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}


def _tool(tool: ToolSpec) -> JsonObject:
    function: JsonObject = {"name": tool.name, "parameters": dict(tool.parameters) or {"type": "object", "properties": {}}}
    if tool.description is not None:
        function["description"] = tool.description
    return {"type": "function", "function": function}
