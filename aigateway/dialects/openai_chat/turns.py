"""OpenAI chat messages -> canonical turns."""

from __future__ import annotations

import msgspec

from aigateway.dialects.base import thought_signature
from aigateway.dialects.openai_chat.shapes import ImageUrlIn, MessageIn, PartIn, ThinkingBlockIn, ToolCallIn
from aigateway.errors import invalid_request
from providers.upstream.types import ImagePart, Message, Part, ReasoningPart, Role, TextPart, ToolCall

_ROLES = {"developer": Role.SYSTEM, "function": Role.TOOL, **{role.value: role for role in Role}}


def read_turn(message: MessageIn, index: int) -> Message:
    if message.role == "tool" and not message.tool_call_id:
        raise invalid_request(
            f"messages[{index}].tool_call_id: a tool message names the call it answers.", param=f"messages[{index}].tool_call_id"
        )
    parts = (*_earlier_reasoning(message), *_parts(message.content, index))
    if message.refusal and not any(isinstance(part, TextPart) for part in parts):
        parts = (*parts, TextPart(message.refusal))  # what the model said in that turn
    return Message(
        role=_ROLES[message.role],
        parts=parts,
        tool_calls=tuple(_tool_call(call) for call in message.tool_calls or () if call.function is not None),
        tool_call_id=message.tool_call_id,
        name=message.name,
    )


def _earlier_reasoning(message: MessageIn) -> tuple[Part, ...]:
    """Signed blocks where the client kept them, else the bare text."""
    if message.role != "assistant":
        return ()
    if message.thinking_blocks:
        return tuple(_thinking_block(block) for block in message.thinking_blocks)
    text = message.reasoning_content or message.reasoning
    return (ReasoningPart(text),) if text else ()


def _thinking_block(block: ThinkingBlockIn) -> ReasoningPart:
    if block.type == "redacted_thinking":
        return ReasoningPart("", block.data, redacted=True)
    return ReasoningPart(block.thinking, block.signature)


def _tool_call(call: ToolCallIn) -> ToolCall:
    function = call.function
    assert function is not None
    arguments = function.arguments if isinstance(function.arguments, str) else msgspec.json.encode(function.arguments).decode()
    signature = thought_signature({"extra_content": call.extra_content})
    return ToolCall(call.id, function.name, arguments, signature)


def _parts(content: str | list[PartIn] | None, index: int) -> tuple[Part, ...]:
    if content is None:
        return ()
    if isinstance(content, str):
        return (TextPart(content),)
    parts = (_part(part, f"messages[{index}].content[{position}]") for position, part in enumerate(content))
    return tuple(part for part in parts if part is not None)


def _part(part: PartIn, where: str) -> Part | None:
    """``None`` for types that ``Extras`` names as nothing another wire format can express."""
    match part:
        case PartIn(type="text", text=str(text)) | PartIn(type="refusal", refusal=str(text)):
            return TextPart(text)
        case PartIn(type="image_url", image_url=str(url)):
            return image_part(url)
        case PartIn(type="image_url", image_url=ImageUrlIn() as image):
            return image_part(image.url, image.detail)
        case PartIn(type="thinking", thinking=str(text)):
            return ReasoningPart(text, part.signature)
        case PartIn(type="thinking", thinking=list(thoughts)):
            return ReasoningPart("".join(thought.text or "" for thought in thoughts), part.signature)
        case PartIn(type="text" | "refusal" | "image_url" | "thinking"):
            raise invalid_request(f"{where}.{part.type}: a part of this type has it.", param=f"{where}.{part.type}")
    return None


def image_part(url: str, detail: str | None = None) -> ImagePart:
    """A ``data:`` URL is taken apart; any other URL is passed on and never fetched (S07)."""
    head, comma, payload = url.partition(",")
    if head.startswith("data:") and head.endswith(";base64") and comma:
        return ImagePart(data=payload, media_type=head[5:-7] or "image/png", detail=detail)
    return ImagePart(url=url, detail=detail)
