"""Turns a body in OpenAI's own form into the variant one service takes. Nothing is dropped unnoticed: what changes no answer is
returned by name, anything else is refused by name before dispatch."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

from providers.upstream.adapters.json_values import list_at, object_at
from providers.upstream.adapters.openai.profiles import PLAIN, Profile
from providers.upstream.adapters.translation import refusal
from providers.upstream.types import JsonObject

# Keys of a turn that are labels or repeat what the model does not need to see again.
_TURN_LABELS = frozenset(
    ("name", "annotations", "reasoning", "reasoning_content", "reasoning_details", "refusal", "provider_specific_fields", "cache_control")
)
_BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def adapt(body: JsonObject, profile: Profile) -> tuple[JsonObject, frozenset[str]]:
    """The service's body, and the names of what was left out of it. The given body is not touched.

    Raises ``UnsupportedRequest`` naming what the service cannot be asked. A field that is null is left out (U33).
    """
    left_out: set[str] = set()
    adapted: JsonObject = {}
    for name, value in body.items():
        if value is None:
            continue
        if name in profile.left_out:
            if value:
                left_out.add(name)
        elif name in profile.refused:
            if value or name == "seed":  # false, zero and empty ask for nothing; a seed of zero does
                raise refusal(name)
        else:
            adapted[profile.renamed.get(name, name)] = value
    _choices(adapted, profile)
    _reasoning(adapted, profile)
    _tools(adapted, profile)
    if object_at(adapted, "response_format").get("type") == "json_schema" and not profile.json_schema:
        raise refusal("response_format", "only json_object is offered")
    if profile is not PLAIN and "messages" in adapted:
        adapted["messages"] = [
            _message(f"messages[{position}]", message, profile, left_out) for position, message in enumerate(list_at(adapted, "messages"))
        ]
    return adapted, frozenset(left_out)


def _choices(body: JsonObject, profile: Profile) -> None:
    if not profile.several_choices and body.get("n", 1) != 1:
        raise refusal("n", "one answer per request is offered")


def _reasoning(body: JsonObject, profile: Profile) -> None:
    """A service's own fields win over ours where the client sent both."""
    replacement = profile.efforts.get(str(body.get("reasoning_effort")))
    if replacement is not None:
        del body["reasoning_effort"]
        for name, value in replacement.items():
            body[name] = {**value, **object_at(body, name)} if isinstance(value, Mapping) else value


def _tools(body: JsonObject, profile: Profile) -> None:
    choice = body.get("tool_choice")
    if choice == "required":
        body["tool_choice"] = profile.required
    elif isinstance(choice, Mapping) and not profile.named_tool:
        wanted = object_at(choice, "function").get("name")
        body["tools"] = [tool for tool in list_at(body, "tools") if object_at(tool, "function").get("name") == wanted]
        body["tool_choice"] = profile.required
        if not body["tools"]:
            raise refusal("tool_choice", "it names a tool that is not given")
    if profile.needs_parameters and "tools" in body:
        body["tools"] = [_with_parameters(tool) for tool in list_at(body, "tools")]


def _with_parameters(tool: Any) -> Any:
    function = object_at(tool, "function")
    if not function or isinstance(function.get("parameters"), Mapping):
        return tool
    return {**tool, "function": {**function, "parameters": {"type": "object", "properties": {}}}}


# --------------------------------------------------------------------------- messages


def _message(where: str, message: Any, profile: Profile, left_out: set[str]) -> Any:
    if not isinstance(message, Mapping):
        return message
    adapted = dict(message)
    if adapted.get("role") == "developer" and not profile.developer_role:
        adapted["role"] = "system"
    if profile.message_keys is not None:
        allowed = profile.message_keys.get(str(adapted.get("role")))
        if allowed is not None:
            adapted = _trimmed(where, adapted, allowed, left_out)
    if profile.parts is not None:
        _check_parts(where, adapted.get("content"), profile.parts)
    if profile.call_id_chars is not None:
        adapted = _with_call_ids(adapted, profile.call_id_chars)
    return adapted


def _trimmed(where: str, message: JsonObject, allowed: frozenset[str], left_out: set[str]) -> JsonObject:
    kept: JsonObject = {}
    speaks_as_refusal = bool(message.get("refusal")) and not message.get("content")
    for key, value in message.items():
        if key in allowed and not (key == "content" and speaks_as_refusal):
            kept[key] = value
        elif key == "refusal" and speaks_as_refusal:
            kept["content"] = value  # what the model said in that turn
        elif value and key in _TURN_LABELS:
            left_out.add(f"messages.{key}")
        elif value:
            raise refusal(f"{where}.{key}")
    return kept


def _check_parts(where: str, content: Any, allowed: frozenset[str]) -> None:
    for index, part in enumerate(content if isinstance(content, list) else ()):
        kind = part.get("type") if isinstance(part, Mapping) else None
        if kind not in allowed:
            raise refusal(f"{where}.content[{index}].type {kind!r}")


def _with_call_ids(message: JsonObject, length: int) -> JsonObject:
    adapted = dict(message)
    if isinstance(adapted.get("tool_call_id"), str):
        adapted["tool_call_id"] = call_id(adapted["tool_call_id"], length)
    calls = list_at(adapted, "tool_calls")
    if calls:
        adapted["tool_calls"] = [{**call, "id": call_id(str(call.get("id")), length)} for call in calls if isinstance(call, Mapping)]
    return adapted


def call_id(original: str, length: int) -> str:
    """The id as it is when it fits, else one derived from it: the same for a call and its result, in every turn."""
    if re.fullmatch(rf"[A-Za-z0-9]{{{length}}}", original):
        return original
    return "".join(_digits(int.from_bytes(hashlib.sha256(original.encode("utf-8", "replace")).digest()[:16]), length))


def _digits(number: int, length: int) -> Iterator[str]:
    for _ in range(length):
        number, digit = divmod(number, 62)
        yield _BASE62[digit]
