"""Canonical request -> OpenAI chat completions body (https://platform.openai.com/docs/api-reference/chat/create)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from providers.upstream.adapters.openai.profiles import Profile, profile_of
from providers.upstream.adapters.openai.variants import adapt
from providers.upstream.adapters.translation import left_out, refusal, refuse_unpriced_tools, refuse_untranslatable
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
    ToolChoice,
    ToolChoiceMode,
    ToolSpec,
    Wire,
)

# Reasoning families refuse ``max_tokens`` (unsupported_parameter); ``openai/`` and the like may stand in front.
_REASONING_FAMILY = re.compile(r"(?:^|/)(?:o[134]|gpt-5)(?![a-z0-9])", re.IGNORECASE)


def render_body(request: ChatRequest, target: Target) -> tuple[JsonObject, tuple[str, ...]]:
    """The body to send and the names of what was left out of it because it changes no answer.

    A client of the same wire format has every field passed on, as far as this service's variant of the format knows it.
    """
    source = request.source
    profile = profile_of(target.provider.kind)
    dropped: tuple[str, ...] = ()
    if source is not None and source.wire is Wire.OPENAI_CHAT:
        refuse_unpriced_tools(request, target)
        body = dict(source.body)
    else:
        refuse_untranslatable(request)
        body = _translated(request, profile)
        dropped = left_out(request, *_forgotten(request, profile))
    body["model"] = target.upstream_model
    _limit_output(body, request, target, profile)
    _stream(body, request, profile)
    body, unknown = adapt(body, profile)
    return body, tuple(sorted({*dropped, *unknown}))


def _stream(body: JsonObject, request: ChatRequest, profile: Profile) -> None:
    options = body.pop("stream_options", None)
    if not request.stream:
        return
    body["stream"] = True
    if profile.stream_options:
        body["stream_options"] = {**(options if isinstance(options, Mapping) else {}), "include_usage": True}


def _limit_output(body: JsonObject, request: ChatRequest, target: Target, profile: Profile) -> None:
    """Every call leaves with a limit (the reservation rests on it), under the service's only name or the name the client used."""
    names = [name for name in ("max_tokens", "max_completion_tokens") if body.get(name) is not None]
    cap = target.output_cap_tokens(request.max_output_tokens)
    if not names:
        body.pop("max_tokens", None)
        body.pop("max_completion_tokens", None)
        names = ["max_completion_tokens" if _REASONING_FAMILY.search(target.upstream_model) else "max_tokens"]
    limits = {name: body.pop(name, None) for name in names}
    for name, sent in limits.items():
        limit = target.output_cap_tokens(sent) if isinstance(sent, int) else cap
        known = profile.output_limit or name
        body[known] = min(limit, body.get(known, limit))


def _forgotten(request: ChatRequest, profile: Profile) -> tuple[str, ...]:
    """Earlier reasoning, where the service has no place for it: it is the model's draft, not part of the conversation."""
    has_reasoning = any(isinstance(part, ReasoningPart) for message in request.messages for part in message.parts)
    return ("messages.reasoning",) if has_reasoning and profile.reasoning_key is None else ()


def _translated(request: ChatRequest, profile: Profile) -> JsonObject:
    optional: JsonObject = {
        "temperature": request.temperature,
        "top_p": request.top_p,
        "stop": list(request.stop) or None,
        "seed": request.seed,
        "n": request.choices if request.choices != 1 else None,
        "tools": [_tool(tool) for tool in request.tools] or None,
        "tool_choice": _tool_choice(request.tool_choice) if request.tools else None,
        "parallel_tool_calls": request.parallel_tool_calls if request.tools else None,
        "response_format": _response_format(request.response_format),
        "reasoning_effort": request.reasoning_effort,
        "logprobs": True if request.logprobs is not None else None,
        "top_logprobs": request.logprobs or None,
        "user": request.end_user,
    }
    if not request.tools and request.tool_choice is not None and request.tool_choice.mode in _FORCING:
        raise refusal("tool_choice", "no tools are given")
    messages = [_message(position, message, profile) for position, message in enumerate(request.messages)]
    return {"messages": messages, **{name: value for name, value in optional.items() if value is not None}}


_FORCING = (ToolChoiceMode.REQUIRED, ToolChoiceMode.NAMED)


def _message(position: int, message: Message, profile: Profile) -> JsonObject:
    where = f"messages[{position}]"
    body: JsonObject = {"role": message.role.value}
    content = _content(where, message, profile)
    if message.role is Role.TOOL:
        body["tool_call_id"] = message.tool_call_id or ""
    if message.name is not None and message.role is not Role.TOOL:
        body["name"] = message.name
    reasoning = "".join(part.text for part in message.parts if isinstance(part, ReasoningPart))
    if reasoning and profile.reasoning_key is not None and message.role is Role.ASSISTANT:
        body[profile.reasoning_key] = reasoning
    if message.tool_calls:
        body["tool_calls"] = [_tool_call(call) for call in message.tool_calls]
    # An assistant turn of tool calls alone has no content; everybody else needs at least an empty one.
    if content or not message.tool_calls:
        body["content"] = content
    return body


def _content(where: str, message: Message, profile: Profile) -> str | list[JsonObject]:
    parts = message.parts
    if message.role is Role.ASSISTANT:
        parts = tuple(part for part in parts if not isinstance(part, ReasoningPart))
    if all(isinstance(part, TextPart) for part in parts):
        return message.text if len(parts) < 2 or message.role is not Role.USER else [_part(where, part) for part in parts]
    if message.role is not Role.USER and not (message.role is Role.TOOL and profile.tool_images):
        raise refusal(f"{where}.content", f"images in a turn of role {message.role.value}")
    return [_part(where, part) for part in parts]


def _part(where: str, part: Part) -> JsonObject:
    if isinstance(part, TextPart):
        return {"type": "text", "text": part.text}
    if isinstance(part, ReasoningPart):
        raise refusal(f"{where}.content", "reasoning in a turn of role user")
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
    function: JsonObject = {"name": tool.name}
    if tool.description is not None:
        function["description"] = tool.description
    if tool.parameters:
        function["parameters"] = tool.parameters
    if tool.strict is not None:
        function["strict"] = tool.strict
    return {"type": "function", "function": function}


def _tool_choice(choice: ToolChoice | None) -> Any:
    if choice is None:
        return None
    if choice.mode is ToolChoiceMode.NAMED:
        return {"type": "function", "function": {"name": choice.name or ""}}
    return choice.mode.value


def _response_format(wanted: ResponseFormat | None) -> JsonObject | None:
    if wanted is None:
        return None
    if wanted.schema is None:
        return {"type": "json_object"}
    schema: JsonObject = {"name": wanted.name, "schema": wanted.schema}
    if wanted.strict is not None:
        schema["strict"] = wanted.strict
    return {"type": "json_schema", "json_schema": schema}
