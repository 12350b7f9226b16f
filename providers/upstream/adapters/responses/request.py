"""Canonical request -> OpenAI Responses body (https://platform.openai.com/docs/api-reference/responses/create)."""

from __future__ import annotations

from typing import Any

from providers.upstream.adapters.json_values import text_at
from providers.upstream.adapters.translation import has_tool_fee, left_out, refusal, refuse_unpriced_tools, refuse_untranslatable
from providers.upstream.types import (
    ChatRequest,
    ImagePart,
    JsonObject,
    Message,
    ReasoningPart,
    ResponseFormat,
    Role,
    Target,
    TextPart,
    ToolChoice,
    ToolChoiceMode,
    ToolSpec,
    Wire,
)

SIGNED_BY_OTHERS = "gw1."
"""Begins the ``encrypted_content`` of a reasoning item that the gateway made of another provider's answer."""
_FORCING = (ToolChoiceMode.REQUIRED, ToolChoiceMode.NAMED)
_LOGPROBS = "message.output_text.logprobs"


def render_body(request: ChatRequest, target: Target) -> tuple[JsonObject, tuple[str, ...]]:
    """The body to send and what was left out. A client of the same wire format has every field passed on."""
    source = request.source
    if source is not None and source.wire is Wire.OPENAI_RESPONSES:
        refuse_unpriced_tools(request, target)
        body = {name: value for name, value in source.body.items() if value is not None}
        body, degraded = _without_what_others_said(body)
        sent = body.get("max_output_tokens")
        if request.provider_tools is not None and has_tool_fee(target):
            body["max_tool_calls"] = request.provider_tools.calls_max
    else:
        refuse_untranslatable(request)
        body, dropped = _translated(request)
        sent, degraded = request.max_output_tokens, left_out(request, *dropped)
    body["model"] = target.upstream_model
    body["max_output_tokens"] = target.output_cap_tokens(sent if isinstance(sent, int) else None)
    if request.stream:
        body["stream"] = True
    return body, degraded


def _without_what_others_said(body: JsonObject) -> tuple[JsonObject, tuple[str, ...]]:
    """The body without what the gateway itself added to earlier answers of other providers, which this API refuses."""
    given = body.get("input")
    if not isinstance(given, list):
        return body, ()
    names: set[str] = set()
    kept: list[Any] = []
    for item in given:
        if text_at(item, "type") == "reasoning" and text_at(item, "encrypted_content").startswith(SIGNED_BY_OTHERS):
            names.add("input.reasoning")
        elif isinstance(item, dict) and "extra_content" in item:
            names.add("input.extra_content")
            kept.append({name: value for name, value in item.items() if name != "extra_content"})
        else:
            kept.append(item)
    return ({**body, "input": kept} if names else body), tuple(sorted(names))


def _translated(request: ChatRequest) -> tuple[JsonObject, set[str]]:
    dropped: set[str] = set()
    for name, given in (("stop", request.stop), ("seed", request.seed is not None), ("n", request.choices != 1)):
        if given and name != "seed":
            raise refusal(name, "the Responses format has no such field")
        if given:
            dropped.add(name)
    if not request.tools and request.tool_choice is not None and request.tool_choice.mode in _FORCING:
        raise refusal("tool_choice", "no tools are given")
    items: list[JsonObject] = []
    for position, message in enumerate(request.messages):
        items += _items(f"messages[{position}]", message, dropped)
    optional: JsonObject = {
        "temperature": request.temperature,
        "top_p": request.top_p,
        "tools": [_tool(tool) for tool in request.tools] or None,
        "tool_choice": _tool_choice(request.tool_choice) if request.tools else None,
        "parallel_tool_calls": request.parallel_tool_calls if request.tools else None,
        "text": {"format": _format(request.response_format)} if request.response_format is not None else None,
        "reasoning": {"effort": request.reasoning_effort} if request.reasoning_effort is not None else None,
        "top_logprobs": request.logprobs,
        "include": [_LOGPROBS] if request.logprobs is not None else None,
        "user": request.end_user,
    }
    # Nobody asked for the answer to be kept at the provider.
    body: JsonObject = {"input": items, "store": False}
    return body | {name: value for name, value in optional.items() if value is not None}, dropped


def _items(where: str, message: Message, dropped: set[str]) -> list[JsonObject]:
    if message.role is Role.TOOL:
        return [{"type": "function_call_output", "call_id": message.tool_call_id or "", "output": _tool_output(where, message)}]
    if message.name is not None:
        dropped.add("messages.name")
    parts = []
    for part in message.parts:
        if isinstance(part, ReasoningPart):
            dropped.add("messages.reasoning")  # only the account that issued it could read it
        elif isinstance(part, TextPart):
            parts.append({"type": "output_text" if message.role is Role.ASSISTANT else "input_text", "text": part.text})
        elif message.role is Role.ASSISTANT:
            raise refusal(f"{where}.content", "an image in a turn of role assistant")
        else:
            parts.append(_image(where, part))
    items: list[JsonObject] = [{"role": message.role.value, "content": parts}] if parts else []
    return items + [
        {"type": "function_call", "call_id": call.id, "name": call.name, "arguments": call.arguments} for call in message.tool_calls
    ]


def _tool_output(where: str, message: Message) -> str | list[JsonObject]:
    if all(isinstance(part, TextPart) for part in message.parts):
        return message.text
    return [
        {"type": "input_text", "text": part.text} if isinstance(part, TextPart) else _image(where, part)
        for part in message.parts
        if not isinstance(part, ReasoningPart)
    ]


def _image(where: str, image: ImagePart) -> JsonObject:
    if image.url is None and (image.data is None or image.media_type is None):
        raise refusal(f"{where}.content", "an image needs a URL, or data with its media type")
    url = image.url if image.url is not None else f"data:{image.media_type};base64,{image.data}"
    return {"type": "input_image", "image_url": url, "detail": image.detail or "auto"}


def _tool(tool: ToolSpec) -> JsonObject:
    """``strict`` is true by default here and false everywhere else."""
    body: JsonObject = {"type": "function", "name": tool.name, "strict": bool(tool.strict)}
    if tool.description is not None:
        body["description"] = tool.description
    body["parameters"] = dict(tool.parameters) or {"type": "object", "properties": {}}
    return body


def _tool_choice(choice: ToolChoice | None) -> Any:
    if choice is None:
        return None
    return {"type": "function", "name": choice.name or ""} if choice.mode is ToolChoiceMode.NAMED else choice.mode.value


def _format(wanted: ResponseFormat | None) -> JsonObject | None:
    if wanted is None:
        return None
    if wanted.schema is None:
        return {"type": "json_object"}
    found: JsonObject = {"type": "json_schema", "name": wanted.name, "schema": dict(wanted.schema)}
    return found if wanted.strict is None else {**found, "strict": wanted.strict}
