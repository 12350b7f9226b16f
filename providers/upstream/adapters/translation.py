"""Which fields of a client's body a canonical request does not carry, so that translating refuses instead of dropping them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from providers.upstream.errors import UnsupportedRequest
from providers.upstream.types import ChatRequest, Wire

# Carried by ChatRequest, or translated from the body itself (the end user's id).
_CARRIED: Mapping[Wire, frozenset[str]] = {
    Wire.OPENAI_CHAT: frozenset(
        (
            *("model", "messages", "stream", "stream_options", "max_tokens", "max_completion_tokens", "temperature", "top_p"),
            *("stop", "seed", "n", "tools", "tool_choice", "parallel_tool_calls", "response_format", "reasoning_effort", "user"),
        )
    ),
    Wire.ANTHROPIC_MESSAGES: frozenset(
        (
            *("model", "messages", "system", "stream", "max_tokens", "temperature", "top_p", "stop_sequences"),
            *("tools", "tool_choice", "metadata", "output_config"),
        )
    ),
}
# Fields whose listed values mean "nothing special": leaving them out changes no answer.
_NEUTRAL: Mapping[Wire, Mapping[str, tuple[Any, ...]]] = {
    Wire.OPENAI_CHAT: {
        "frequency_penalty": (0,),
        "presence_penalty": (0,),
        "logprobs": (False,),
        "logit_bias": ({},),
        "metadata": ({},),
        "modalities": (["text"],),
        "service_tier": ("auto", "default"),
        "store": (False,),
    },
    Wire.ANTHROPIC_MESSAGES: {
        "service_tier": ("auto", "standard_only"),
        "thinking": ({"type": "disabled"},),
    },
}
_PART_TYPES: Mapping[Wire, frozenset[str]] = {
    Wire.OPENAI_CHAT: frozenset({"text", "image_url", "refusal"}),
    Wire.ANTHROPIC_MESSAGES: frozenset({"text", "image", "tool_use", "tool_result", "thinking", "redacted_thinking"}),
}
_TOOL_TYPES: Mapping[Wire, tuple[str | None, ...]] = {
    Wire.OPENAI_CHAT: ("function",),
    Wire.ANTHROPIC_MESSAGES: (None, "custom"),
}


def refuse_untranslatable(request: ChatRequest) -> None:
    """Raises ``UnsupportedRequest`` naming the first field of the client's body that would get lost in translation."""
    source = request.source
    if source is None or source.wire not in _CARRIED:
        return
    field = next(_lost_fields(source.wire, source.body), None)
    if field is not None:
        raise refusal(field)


def refusal(field: str, reason: str = "") -> UnsupportedRequest:
    """The error that names a field the target's wire format cannot express; its words are ours and may be shown."""
    message = f"{field} cannot be expressed for this model{': ' + reason if reason else ''}"
    return UnsupportedRequest(message, status=400, provider_message=message)


def end_user_id(request: ChatRequest) -> str | None:
    """The end user's id, wherever the client's wire format keeps it."""
    if request.source is None:
        return None
    body = request.source.body
    if request.source.wire is Wire.OPENAI_CHAT:
        return _text_or_none(body.get("user"))
    metadata = body.get("metadata")
    return _text_or_none(metadata.get("user_id")) if isinstance(metadata, Mapping) else None


def _text_or_none(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _lost_fields(wire: Wire, body: Mapping[str, Any]) -> Iterator[str]:
    neutral = _NEUTRAL[wire]
    for name, value in body.items():
        if value is not None and name not in _CARRIED[wire] and value not in neutral.get(name, ()):
            yield name
    if wire is Wire.ANTHROPIC_MESSAGES:
        yield from _lost_keys("metadata", body.get("metadata"), frozenset({"user_id"}))
        yield from _lost_keys("output_config", body.get("output_config"), frozenset({"format", "effort"}))
    yield from _each("tools", body.get("tools"), lambda path, tool: _lost_tool(wire, path, tool))
    yield from _each("messages", body.get("messages"), lambda path, message: _lost_parts(wire, path, message))


def _lost_keys(path: str, value: Any, carried: frozenset[str]) -> Iterator[str]:
    if isinstance(value, Mapping):
        yield from (f"{path}.{key}" for key in value if key not in carried and value[key] is not None)


def _each(path: str, values: Any, check: Callable[[str, Any], Iterator[str]]) -> Iterator[str]:
    if isinstance(values, (list, tuple)):
        for position, value in enumerate(values):
            yield from check(f"{path}[{position}]", value)


def _lost_tool(wire: Wire, path: str, tool: Any) -> Iterator[str]:
    kind = tool.get("type") if isinstance(tool, Mapping) else None
    if kind not in _TOOL_TYPES[wire]:
        yield f"{path}.type {kind!r}"


_MESSAGE_KEYS = frozenset({"role", "content", "name", "tool_calls", "tool_call_id", "refusal"})


def _lost_parts(wire: Wire, path: str, message: Any) -> Iterator[str]:
    if not isinstance(message, Mapping):
        return
    for key, value in message.items():
        if key not in _MESSAGE_KEYS and value and not (key == "annotations" and message.get("role") == "assistant"):
            yield f"{path}.{key}"
    yield from _each(f"{path}.content", message.get("content"), lambda at, part: _lost_part(wire, at, part))


def _lost_part(wire: Wire, path: str, part: Any) -> Iterator[str]:
    kind = part.get("type") if isinstance(part, Mapping) else None
    if kind not in _PART_TYPES[wire]:
        yield f"{path}.type {kind!r}"
