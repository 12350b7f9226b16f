"""What an OpenAI chat body holds beyond the canonical request: what each of it means for a translation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aigateway.dialects.base import beyond

# Labels for the provider's own books: another provider cannot use them, and the answer does not depend on them.
HINTS = frozenset(
    # OpenRouter's ``usage`` asks for figures that come anyway.
    ("metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key", "prompt_cache_retention", "usage")
)
# Fields of OpenAI and of the common compatible servers (Mistral, vLLM, llama.cpp, OpenRouter) that change the answer.
EXTENSIONS = frozenset(
    (
        *("frequency_penalty", "presence_penalty", "logit_bias", "modalities", "audio", "prediction", "verbosity"),
        *("web_search_options", "functions", "function_call", "top_k", "min_p", "top_a", "repetition_penalty", "length_penalty"),
        *("min_tokens", "stop_token_ids", "ignore_eos", "guided_json", "guided_regex", "guided_choice", "guided_grammar"),
        *("structured_outputs", "chat_template_kwargs", "enable_thinking", "thinking", "reasoning", "reasoning_format"),
        *("reasoning_split", "grammar", "json_schema", "cache_prompt", "id_slot", "mirostat", "typical_p"),
        *("safe_prompt", "keep_alive", "options", "think", "plugins", "transforms", "route", "models", "provider"),
        *("prompt_mode", "guardrails", "prompt_logprobs", "top_prompt_logprobs"),
    )
)
# Values that mean "nothing special": leaving the field out changes no answer. ``null``, false, zero and empty are so anyway.
_NEUTRAL: Mapping[str, tuple[Any, ...]] = {"modalities": (["text"],), "service_tier": ("auto", "default", "on_demand")}
_PART_KEYS: Mapping[str, frozenset[str]] = {
    "text": frozenset({"type", "text"}),
    "image_url": frozenset({"type", "image_url"}),
    "refusal": frozenset({"type", "refusal"}),
    "thinking": frozenset({"type", "thinking", "signature", "closed"}),
}
_IMAGE_KEYS = frozenset({"url", "detail"})
_MESSAGE_KEYS = frozenset(
    ("role", "content", "name", "tool_calls", "tool_call_id", "refusal", "reasoning_content", "reasoning", "thinking_blocks")
)
# What clients send back with an answer although no model reads it, and marks that change cost only.
_ECHOES = frozenset({"annotations", "reasoning_details", "provider_specific_fields", "cache_control"})
_TOOL_KEYS = frozenset({"type", "function"})
_FUNCTION_KEYS = frozenset({"name", "description", "parameters", "strict"})
_CALLED_KEYS = frozenset({"name", "arguments"})
_NAME_KEYS = frozenset({"name"})
_SCHEMA_KEYS = frozenset({"name", "schema", "strict", "description"})
_STREAM_KEYS = frozenset({"include_usage", "include_obfuscation"})
_CALL_KEYS = frozenset({"id", "type", "function", "index", "extra_content"})


class Extras:
    """Reads one decoded body of the right shape. ``wire_only`` and ``hints`` are what ``ChatRequest`` calls so."""

    def __init__(self, body: Mapping[str, Any]) -> None:
        self.wire_only = {name for name in body if name in EXTENSIONS and _matters(name, body[name])}
        self.hints = {name for name in body if name in HINTS and _matters(name, body[name])}
        self.hints |= beyond("stream_options", body.get("stream_options"), _STREAM_KEYS)
        self._format(body.get("response_format"))
        choice = body.get("tool_choice")
        if isinstance(choice, Mapping) and not self._other_type("tool_choice", choice):
            self.wire_only |= beyond("tool_choice", choice, _TOOL_KEYS)
            self.wire_only |= beyond("tool_choice.function", choice.get("function"), _NAME_KEYS)
        for position, tool in enumerate(body.get("tools") or ()):
            self._tool(f"tools[{position}]", tool)
        for position, message in enumerate(body.get("messages") or ()):
            self._message(f"messages[{position}]", message)

    def _format(self, wanted: Any) -> None:
        self.wire_only |= beyond("response_format", wanted, ("type", "json_schema"))
        if isinstance(wanted, Mapping):
            self.wire_only |= beyond("response_format.json_schema", wanted.get("json_schema"), _SCHEMA_KEYS)

    def _tool(self, where: str, tool: Mapping[str, Any]) -> None:
        if not self._other_type(where, tool):
            self._beyond(where, tool, _TOOL_KEYS)
            self._beyond(f"{where}.function", tool.get("function") or {}, _FUNCTION_KEYS)

    def _message(self, where: str, message: Mapping[str, Any]) -> None:
        self._beyond(where, message, _MESSAGE_KEYS)
        if message.get("role") == "function":
            self.wire_only.add(f"{where}.role 'function'")
        for index, call in enumerate(message.get("tool_calls") or ()):
            if not self._other_type(f"{where}.tool_calls[{index}]", call):
                self._beyond(f"{where}.tool_calls[{index}]", call, _CALL_KEYS)
                self._beyond(f"{where}.tool_calls[{index}].function", call.get("function") or {}, _CALLED_KEYS)
        content = message.get("content")
        for index, part in enumerate(content if isinstance(content, list) else ()):
            self._part(f"{where}.content[{index}]", part)

    def _part(self, where: str, part: Mapping[str, Any]) -> None:
        known = _PART_KEYS.get(part["type"])
        if known is None:
            self.wire_only.add(f"{where}.type {part['type'][:60]!r}")
            return
        self._beyond(where, part, known)
        image = part.get("image_url")
        if isinstance(image, Mapping):
            self._beyond(f"{where}.image_url", image, _IMAGE_KEYS)

    def _other_type(self, where: str, value: Mapping[str, Any]) -> bool:
        """Custom tools and the like: everything of it belongs to OpenAI alone."""
        kind = value.get("type", "function")
        if kind == "function":
            return False
        self.wire_only.add(f"{where}.type {kind[:60]!r}")
        return True

    def _beyond(self, where: str, value: Mapping[str, Any], known: frozenset[str]) -> None:
        for key, inner in value.items():
            if key in known or not inner:
                continue
            if key in _ECHOES:
                self.hints.add(key)
            else:
                self.wire_only.add(f"{where}.{key[:60]}")


def _matters(name: str, value: Any) -> bool:
    if name == "web_search_options":
        return value is not None  # an empty object asks for a search
    return bool(value) and value not in _NEUTRAL.get(name, ())
