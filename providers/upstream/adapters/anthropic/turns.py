"""Canonical turns -> Anthropic messages (https://docs.anthropic.com/en/api/messages)."""

from __future__ import annotations

import re

from providers.upstream.adapters.json_values import decode_or_none
from providers.upstream.adapters.translation import refusal
from providers.upstream.types import ChatRequest, ImagePart, JsonObject, Message, Part, ReasoningPart, Role, TextPart, ToolCall

_NOT_IN_IDS = re.compile(r"[^a-zA-Z0-9_-]")
_DATA_URL = re.compile(r"data:([^;,]+);base64,(.*)", re.DOTALL)


def system_text(request: ChatRequest) -> str:
    """The one system prompt there is: all system turns in their order, wherever they stood."""
    texts = []
    for position, message in enumerate(request.messages):
        if message.role is Role.SYSTEM:
            if any(not isinstance(part, TextPart) for part in message.parts):
                raise refusal(f"messages[{position}].content", "a system turn holds text only")
            texts.append(message.text)
    return "\n\n".join(text for text in texts if text)


def render_turns(request: ChatRequest) -> list[JsonObject]:
    """User and assistant in turns. Tool results are blocks of a user turn, and all results of one turn share one."""
    turns: list[JsonObject] = []
    for position, message in enumerate(request.messages):
        if message.role is Role.SYSTEM:
            continue
        role = "assistant" if message.role is Role.ASSISTANT else "user"
        blocks = _blocks(f"messages[{position}]", message)
        if not blocks:
            continue  # the API refuses a turn that says nothing
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"] += blocks
        else:
            turns.append({"role": role, "content": blocks})
    return turns


def _blocks(where: str, message: Message) -> list[JsonObject]:
    if message.name is not None and message.role is Role.USER:
        raise refusal(f"{where}.name")
    blocks = [_block(where, message.role, part) for part in message.parts if not _says_nothing(part)]
    if message.role is Role.TOOL:
        return [{"type": "tool_result", "tool_use_id": _tool_id(message.tool_call_id or ""), "content": blocks}]
    return blocks + [_tool_use(f"{where}.tool_calls[{position}]", call) for position, call in enumerate(message.tool_calls)]


def _says_nothing(part: Part) -> bool:
    """The API refuses empty text blocks, and reasoning without the signature it gave."""
    return (isinstance(part, TextPart) and not part.text) or (isinstance(part, ReasoningPart) and part.signature is None)


def _block(where: str, role: Role, part: Part) -> JsonObject:
    if isinstance(part, TextPart):
        return {"type": "text", "text": part.text}
    if isinstance(part, ImagePart):
        if role is Role.ASSISTANT:
            raise refusal(f"{where}.content", "an image in a turn of role assistant")
        return {"type": "image", "source": _image_source(where, part)}
    return _thinking(where, role, part)


def _image_source(where: str, image: ImagePart) -> JsonObject:
    inline = _DATA_URL.fullmatch(image.url) if image.url is not None else None
    if inline is not None:
        return {"type": "base64", "media_type": inline[1], "data": inline[2]}
    if image.url is not None:
        return {"type": "url", "url": image.url}
    if image.data is None or image.media_type is None:
        raise refusal(f"{where}.content", "an image needs a URL, or data with its media type")
    return {"type": "base64", "media_type": image.media_type, "data": image.data}


def _thinking(where: str, role: Role, part: ReasoningPart) -> JsonObject:
    if role is not Role.ASSISTANT:
        raise refusal(f"{where}.content", f"reasoning in a turn of role {role.value}")
    if part.redacted:
        return {"type": "redacted_thinking", "data": part.signature}
    return {"type": "thinking", "thinking": part.text, "signature": part.signature}


def _tool_use(where: str, call: ToolCall) -> JsonObject:
    arguments = decode_or_none(call.arguments) if call.arguments.strip() else {}
    if not isinstance(arguments, dict):
        raise refusal(f"{where}.function.arguments", "not a JSON object")
    return {"type": "tool_use", "id": _tool_id(call.id), "name": call.name, "input": arguments}


def _tool_id(call_id: str) -> str:
    """Other providers' ids may hold characters that this API refuses (``functions.f:0``)."""
    return _NOT_IN_IDS.sub("_", call_id)
