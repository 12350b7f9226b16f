"""Anthropic turns and tools -> canonical ones, noting what only the Messages API itself can honour."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

import msgspec

from aigateway.dialects.anthropic_messages.shapes import (
    DocumentIn,
    ImageIn,
    RedactedThinkingIn,
    SourceIn,
    TextIn,
    ThinkingBlockIn,
    ToolIn,
    ToolResultIn,
    ToolUseIn,
    TurnIn,
)
from aigateway.dialects.base import beyond, field_error, thought_signature
from aigateway.errors import invalid_request
from providers.upstream.types import ImagePart, Message, Part, ReasoningPart, Role, TextPart, ToolCall, ToolSpec

# Marks that change cost or presentation, never the answer: another wire format goes without them.
_BLOCK_HINTS = frozenset({"cache_control", "citations", "is_error", "eager_input_streaming"})
# Values that say nothing.
_NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    "caller": ({"type": "direct"},),
    "allowed_callers": (["direct"],),
    "citations": ({"enabled": False},),
}
_CLIENT_TOOL_TYPES = (None, "custom")
T = TypeVar("T", bound=msgspec.Struct)


class TurnReader:
    """Reads one body. ``wire_only`` and ``hints`` are what ``ChatRequest`` calls so."""

    def __init__(self) -> None:
        self.wire_only: set[str] = set()
        self.hints: set[str] = set()

    def system(self, system: str | list[dict[str, Any]] | None) -> Iterator[Message]:
        """One system turn; its blocks are paragraphs."""
        if isinstance(system, list):
            system = "\n\n".join(self._text(f"system[{position}]", block) for position, block in enumerate(system))
        if system:
            yield Message(Role.SYSTEM, (TextPart(system),))

    def turn(self, position: int, turn: TurnIn) -> Iterator[Message]:
        """The canonical turns: every tool result is one of its own."""
        where = f"messages[{position}]"
        blocks = [{"type": "text", "text": turn.content}] if isinstance(turn.content, str) else turn.content
        places = [(f"{where}.content[{index}]", block) for index, block in enumerate(blocks)]
        if turn.role == "assistant":
            yield self._assistant(places)
        elif turn.role == "system":
            yield Message(Role.SYSTEM, (TextPart("\n\n".join(self._text(at, block) for at, block in places)),))
        else:
            yield from self._user(places)

    def tools(self, tools: list[dict[str, Any]]) -> Iterator[ToolSpec]:
        """Tools the client runs itself; the provider's own run nowhere else."""
        for position, tool in enumerate(tools):
            where = f"tools[{position}]"
            if tool.get("type") in _CLIENT_TOOL_TYPES:
                typed = self._typed(where, tool, ToolIn)
                yield ToolSpec(typed.name, typed.description, typed.input_schema, typed.strict)
            else:
                self.wire_only.add(f"{where}.type {tool['type']!r}")

    # ----------------------------------------------------------------- blocks

    def _user(self, places: list[tuple[str, dict[str, Any]]]) -> Iterator[Message]:
        parts: list[Part] = []
        for where, block in places:
            if block.get("type") != "tool_result":
                parts += self._parts(where, block)
                continue
            if parts:
                yield Message(Role.USER, tuple(parts))
                parts = []
            yield self._tool_result(where, block)
        if parts:
            yield Message(Role.USER, tuple(parts))

    def _tool_result(self, where: str, block: dict[str, Any]) -> Message:
        typed = self._typed(where, block, ToolResultIn)
        content = typed.content or []
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
        parts = [part for index, inner in enumerate(blocks) for part in self._parts(f"{where}.content[{index}]", inner)]
        return Message(Role.TOOL, tuple(parts), tool_call_id=typed.tool_use_id)

    def _assistant(self, places: list[tuple[str, dict[str, Any]]]) -> Message:
        parts: list[Part] = []
        calls: list[ToolCall] = []
        for where, block in places:
            if block.get("type") == "tool_use":
                typed = self._typed(where, block, ToolUseIn, "extra_content")
                arguments = msgspec.json.encode(typed.input).decode()
                calls.append(ToolCall(typed.id, typed.name, arguments, thought_signature(block)))
            else:
                parts += self._parts(where, block)
        return Message(Role.ASSISTANT, tuple(parts), tuple(calls))

    def _parts(self, where: str, block: dict[str, Any]) -> Iterator[Part]:
        match block.get("type"):
            case "text":
                yield TextPart(self._text(where, block))
            case "image":
                self.wire_only |= beyond(f"{where}.source", block.get("source"), SourceIn.__struct_fields__)
                yield from self._image(where, self._typed(where, block, ImageIn))
            case "document":
                yield from self._document(where, block)
            case "thinking":
                thinking = self._typed(where, block, ThinkingBlockIn)
                yield ReasoningPart(thinking.thinking, thinking.signature or None)
            case "redacted_thinking":
                yield ReasoningPart("", self._typed(where, block, RedactedThinkingIn).data, redacted=True)
            case str(kind):
                self.wire_only.add(f"{where}.type {kind[:60]!r}")
            case _:
                raise invalid_request(f"{where}.type: a block names its type.", param=f"{where}.type")

    def _text(self, where: str, block: dict[str, Any]) -> str:
        if block.get("type") != "text":
            raise invalid_request(f"{where}.type: only text is possible here.", param=f"{where}.type")
        return self._typed(where, block, TextIn).text

    def _image(self, where: str, image: ImageIn) -> Iterator[Part]:
        source = image.source
        if source.type == "base64" and source.data is not None and source.media_type is not None:
            yield ImagePart(data=source.data, media_type=source.media_type)
        elif source.type == "url" and source.url is not None:
            yield ImagePart(url=source.url)
        elif source.type in ("base64", "url"):
            raise invalid_request(f"{where}.source: send data with its media_type, or a url.", param=f"{where}.source")
        else:
            self.wire_only.add(f"{where}.source.type {source.type[:60]!r}")

    def _document(self, where: str, block: dict[str, Any]) -> Iterator[Part]:
        """A document of plain text is text; any other kind needs a provider that reads it, and so do citations."""
        source = self._typed(where, block, DocumentIn).source
        cited = block.get("citations") not in (None, {"enabled": False})
        if source.get("type") == "text" and isinstance(source.get("data"), str) and not cited:
            yield TextPart(source["data"])
        else:
            self.wire_only.add(f"{where}.type 'document'")

    def _typed(self, where: str, block: dict[str, Any], shape: type[T], *known: str) -> T:
        """``block`` as ``shape``; fields beyond it are noted. Raises ``GatewayError`` 400 naming the field."""
        try:
            typed = msgspec.convert(block, shape)
        except msgspec.ValidationError as error:
            raise field_error(str(error), where) from None
        fields = shape.__struct_fields__
        for name, value in block.items():
            if name in _BLOCK_HINTS and value and value not in _NEUTRAL.get(name, ()):
                self.hints.add(name)
            elif name not in fields and name != "type" and name not in known and value and value not in _NEUTRAL.get(name, ()):
                self.wire_only.add(f"{where}.{name[:60]}")
        return typed
