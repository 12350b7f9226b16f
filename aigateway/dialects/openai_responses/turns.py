"""The items of a Responses input as turns of a conversation."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from aigateway.dialects.base import beyond, thought_signature
from aigateway.dialects.openai_chat import image_part
from aigateway.dialects.openai_responses.answer import reasoning_of
from aigateway.errors import invalid_request
from providers.upstream.types import Message, Part, ReasoningPart, Role, TextPart, ToolCall

_ROLES = {"user": Role.USER, "assistant": Role.ASSISTANT, "system": Role.SYSTEM, "developer": Role.SYSTEM}
_TEXTS = frozenset({"input_text", "output_text", "text"})
_CALL_KEYS = frozenset({"type", "call_id", "name", "arguments", "extra_content", "id", "status"})
_RESULT_KEYS = frozenset({"type", "call_id", "output", "id", "status"})
_SAID_KEYS = frozenset({"type", "text", "refusal", "annotations", "logprobs"})
_IMAGE_KEYS = frozenset({"type", "image_url", "detail"})
_CACHE_MARKS = frozenset({"prompt_cache_breakpoint", "cache_control"})
_MARKS_OF_AN_ANSWER = frozenset({"id", "status", "phase"})
"""What an item of an earlier answer carries and a request does not need."""


class TurnReader:
    """Collects what other formats cannot carry (``wire_only``), may leave out (``hints``), and whose state it is (``state``)."""

    def __init__(self) -> None:
        self.wire_only: set[str] = set()
        self.hints: set[str] = set()
        self.state: list[str] = []
        self.has_input_elsewhere = False

    def messages(self, given: str | list[dict[str, Any]]) -> Iterable[Message]:
        """Raises ``GatewayError`` (400) naming the item."""
        if isinstance(given, str):
            return [Message(Role.USER, (TextPart(given),))]
        turns: list[Message] = []
        for position, item in enumerate(given):
            self._take(f"input[{position}]", item, turns)
        return turns

    def _take(self, where: str, item: dict[str, Any], turns: list[Message]) -> None:
        match item.get("type", "message"):
            case "message":
                self._append_message(self._message(where, item), turns)
            case "function_call":
                self._append_call(where, item, turns)
            case "function_call_output":
                self.wire_only |= beyond(where, item, _RESULT_KEYS)
                call_id = _text(where, item, "call_id")
                turns.append(Message(Role.TOOL, self._parts(f"{where}.output", item.get("output")), tool_call_id=call_id))
            case "reasoning" if (part := reasoning_of(item)) is not None:
                self._append_reasoning(part, turns)
            case "reasoning":
                self.hints.add("input.reasoning")  # only the account that issued it can read it
                self._remember(item, "encrypted_content", "id")
            case "item_reference":
                self.wire_only.add(where)
                self.has_input_elsewhere = True
                self._remember(item, "id")
            case kind:
                self.wire_only.add(f"{where}.type {kind!r}")

    def _remember(self, item: dict[str, Any], *names: str) -> None:
        self.state += [item[name] for name in names if isinstance(item.get(name), str) and item[name]]

    def _message(self, where: str, item: dict[str, Any]) -> Message:
        role = _ROLES.get(item.get("role")) if isinstance(item.get("role"), str) else None  # type: ignore[arg-type]
        if role is None:
            raise invalid_request(f"{where}.role: use user, assistant, system or developer.", param=f"{where}.role")
        for name in item:
            if name not in ("type", "role", "content", *_MARKS_OF_AN_ANSWER) and item[name] is not None:
                self.wire_only.add(f"{where}.{name[:60]}")
        return Message(role, self._parts(f"{where}.content", item.get("content")))

    def _append_message(self, message: Message, turns: list[Message]) -> None:
        """What the model thought before it spoke belongs to the same turn."""
        thoughts = turns[-1].parts if turns and not turns[-1].tool_calls else ()
        if message.role is Role.ASSISTANT and thoughts and all(isinstance(part, ReasoningPart) for part in thoughts):
            turns[-1] = replace(message, parts=(*thoughts, *message.parts))
        else:
            turns.append(message)

    def _append_reasoning(self, part: ReasoningPart, turns: list[Message]) -> None:
        last = turns[-1] if turns else None
        if last is not None and last.role is Role.ASSISTANT and not last.tool_calls:
            turns[-1] = replace(last, parts=(*last.parts, part))
        else:
            turns.append(Message(Role.ASSISTANT, (part,)))

    def _append_call(self, where: str, item: dict[str, Any], turns: list[Message]) -> None:
        """Calls of one turn follow each other as items; other formats want them in the assistant's message."""
        self.hints |= beyond("input.function_call", item, _CALL_KEYS)  # an earlier answer is sent back as it came
        arguments = _text(where, item, "arguments", may_be_empty=True)
        call = ToolCall(_text(where, item, "call_id"), _text(where, item, "name"), arguments, thought_signature(item))
        if turns and turns[-1].role is Role.ASSISTANT:
            turns[-1] = replace(turns[-1], tool_calls=(*turns[-1].tool_calls, call))
        else:
            turns.append(Message(Role.ASSISTANT, tool_calls=(call,)))

    def _parts(self, where: str, content: Any) -> tuple[Part, ...]:
        if isinstance(content, str):
            return (TextPart(content),)
        if content is None:
            return ()
        if not isinstance(content, list):
            raise invalid_request(f"{where}: send a text or a list of parts.", param=where)
        parts = [self._part(f"{where}[{position}]", part) for position, part in enumerate(content)]
        return tuple(part for part in parts if part is not None)

    def _part(self, where: str, part: Any) -> Part | None:
        if not isinstance(part, dict) or not isinstance(part.get("type"), str):
            raise invalid_request(f"{where}.type: a part has a type.", param=f"{where}.type")
        kind = part["type"]
        if kind in _TEXTS or kind in ("refusal", "input_image"):
            found = beyond(where, part, _CACHE_MARKS | (_IMAGE_KEYS if kind == "input_image" else _SAID_KEYS))
            (self.hints if kind in ("output_text", "refusal") else self.wire_only).update(found)
            self.hints.update(mark for mark in _CACHE_MARKS if part.get(mark))
        if kind in _TEXTS:
            return TextPart(_text(where, part, "text", may_be_empty=True))
        if kind == "refusal":
            return TextPart(_text(where, part, "refusal", may_be_empty=True))
        if kind == "input_image" and isinstance(part.get("image_url"), str):
            detail = part.get("detail")
            return image_part(part["image_url"], detail if isinstance(detail, str) else None)
        self.wire_only.add(f"{where}.type {kind!r}")
        self.has_input_elsewhere = self.has_input_elsewhere or "file_id" in part or "file_url" in part
        return None


def _text(where: str, source: dict[str, Any], name: str, *, may_be_empty: bool = False) -> str:
    value = source.get(name)
    if not isinstance(value, str) or not (value or may_be_empty):
        raise invalid_request(f"{where}.{name}: send a text.", param=f"{where}.{name}")
    return value
