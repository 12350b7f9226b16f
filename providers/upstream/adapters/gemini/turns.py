"""Canonical turns -> Gemini contents (https://ai.google.dev/api/caching#Content)."""

from __future__ import annotations

import mimetypes
import re
from urllib.parse import urlsplit

from providers.upstream.adapters.json_values import decode_or_none
from providers.upstream.adapters.translation import refusal
from providers.upstream.types import ChatRequest, ImagePart, JsonObject, Message, Part, ReasoningPart, Role, TextPart, ToolCall

_DATA_URL = re.compile(r"data:([^;,]+);base64,(.*)", re.DOTALL)
_FETCHED = ("https", "gs")
_UNSIGNED_FAMILIES = re.compile(r"gemini-(?:1|2)[.-]|gemma", re.IGNORECASE)
# From Gemini 3 on, the first call of a step without its signature is refused. This value stands for the signature of a call that
# another model made (https://ai.google.dev/gemini-api/docs/thought-signatures, "FAQs").
FOREIGN_SIGNATURE = "skip_thought_signature_validator"


def system_parts(request: ChatRequest) -> list[JsonObject]:
    """The one system prompt there is: all system turns in their order, wherever they stood."""
    parts = []
    for position, message in enumerate(request.messages):
        if message.role is Role.SYSTEM:
            if any(not isinstance(part, TextPart) for part in message.parts):
                raise refusal(f"messages[{position}].content", "a system turn holds text only")
            if message.text:
                parts.append({"text": message.text})
    return parts


def render_turns(request: ChatRequest, model: str) -> list[JsonObject]:
    """User and model in turns; the results of tools are parts of a user turn."""
    needs_signature = not _UNSIGNED_FAMILIES.search(model)
    names: dict[str, str] = {}
    turns: list[JsonObject] = []
    for position, message in enumerate(request.messages):
        if message.role is Role.SYSTEM:
            continue
        names |= {call.id: call.name for call in message.tool_calls}
        role = "model" if message.role is Role.ASSISTANT else "user"
        parts = _parts(f"messages[{position}]", message, names, needs_signature=needs_signature)
        if not parts:
            continue  # the API refuses a turn that says nothing
        if turns and turns[-1]["role"] == role:
            turns[-1]["parts"] += parts
        else:
            turns.append({"role": role, "parts": parts})
    if not turns:
        raise refusal("messages", "a system prompt alone is no question")
    return turns


def _parts(where: str, message: Message, names: dict[str, str], *, needs_signature: bool) -> list[JsonObject]:
    if message.name is not None and message.role is Role.USER:
        raise refusal(f"{where}.name")
    if message.role is Role.TOOL:
        return _tool_result(where, message, names)
    parts = [_part(where, message.role, part) for part in message.parts if _says_something(part)]
    calls = [_call(f"{where}.tool_calls[{position}]", call) for position, call in enumerate(message.tool_calls)]
    if calls and needs_signature:
        calls[0].setdefault("thoughtSignature", FOREIGN_SIGNATURE)
    return parts + calls


def _says_something(part: Part) -> bool:
    """Earlier reasoning has no place of its own; what it was good for is in the signatures."""
    return isinstance(part, ImagePart) or (isinstance(part, TextPart) and bool(part.text))


def _part(where: str, role: Role, part: Part) -> JsonObject:
    if isinstance(part, TextPart):
        return {"text": part.text}
    assert not isinstance(part, ReasoningPart), "left out before"
    if role is Role.ASSISTANT:
        raise refusal(f"{where}.content", "an image in a turn of role assistant")
    return _image(where, part)


def _image(where: str, image: ImagePart) -> JsonObject:
    inline = _DATA_URL.fullmatch(image.url) if image.url is not None else None
    if inline is not None:
        return {"inlineData": {"mimeType": inline[1], "data": inline[2]}}
    if image.url is not None:
        return {"fileData": _fetched(where, image.url, image.media_type)}
    if image.data is None or image.media_type is None:
        raise refusal(f"{where}.content", "an image needs a URL, or data with its media type")
    return {"inlineData": {"mimeType": image.media_type, "data": image.data}}


def _fetched(where: str, url: str, media_type: str | None) -> JsonObject:
    """Google fetches public HTTPS addresses and its own storage itself
    (https://ai.google.dev/gemini-api/docs/file-input-methods)."""
    address = urlsplit(url)
    if address.scheme not in _FETCHED:
        raise refusal(f"{where}.content", "an image by address needs https; send its data instead")
    known = media_type or mimetypes.guess_type(address.path)[0]
    return {"fileUri": url} | ({"mimeType": known} if known else {})


def _call(where: str, call: ToolCall) -> JsonObject:
    arguments = decode_or_none(call.arguments) if call.arguments.strip() else {}
    if not isinstance(arguments, dict):
        raise refusal(f"{where}.function.arguments", "not a JSON object")
    function: JsonObject = {"name": call.name, "args": arguments}
    if call.id:
        function["id"] = call.id
    part: JsonObject = {"functionCall": function}
    if call.signature:
        part["thoughtSignature"] = call.signature
    return part


def _tool_result(where: str, message: Message, names: dict[str, str]) -> list[JsonObject]:
    """A result must be an object; any other one is wrapped. Images follow the result as parts of their own."""
    call_id = message.tool_call_id or ""
    name = names.get(call_id) or message.name
    if not name:
        raise refusal(f"{where}.tool_call_id", "no earlier turn calls a tool with this id")
    decoded = decode_or_none(message.text)
    response = decoded if isinstance(decoded, dict) else {"result": message.text}
    function: JsonObject = {"name": name, "response": response}
    if call_id:
        function["id"] = call_id
    images = [_image(where, part) for part in message.parts if isinstance(part, ImagePart)]
    return [{"functionResponse": function}, *images]
