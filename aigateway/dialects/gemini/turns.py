"""Gemini contents and tools -> canonical ones, noting what only a Gemini upstream can honour."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar

import msgspec

from aigateway.dialects.base import beyond, field_error
from aigateway.dialects.gemini.shapes import BlobIn, CallIn, ContentIn, DeclarationIn, FileIn, ResultIn, json_schema_of
from aigateway.errors import invalid_request
from providers.upstream.types import ImagePart, Message, Part, ReasoningPart, Role, TextPart, ToolCall, ToolSpec

_ROLES = (None, "user", "model", "function")
_TO_STANDARD_BASE64 = str.maketrans("-_", "+/")
_CANONICAL = frozenset({"text", "thought", "thoughtSignature", "inlineData", "fileData", "functionCall", "functionResponse"})
_RESULT_SCHEMA = ("response", "responseJsonSchema")  # what a function returns: good to know, and told by its results
_WRAPPERS = ("result", "output")
T = TypeVar("T", bound=msgspec.Struct)


class TurnReader:
    """Reads one body. ``wire_only`` and ``hints`` are what ``ChatRequest`` calls so."""

    def __init__(self) -> None:
        self.wire_only: set[str] = set()
        self.hints: set[str] = set()
        self._unanswered: dict[str, list[str]] = {}
        """Ids of calls whose results are still to come, by name: older clients name no ids."""
        self._calls = 0

    def system(self, content: ContentIn | None) -> Iterator[Message]:
        if content is None:
            return
        parts = [self._part(f"systemInstruction.parts[{index}]", part) for index, part in enumerate(content.listed_parts)]
        texts = [part.text for part in parts if isinstance(part, TextPart)]
        if texts:
            yield Message(Role.SYSTEM, (TextPart("\n\n".join(texts)),))

    def turn(self, position: int, content: ContentIn) -> Iterator[Message]:
        """The canonical turns: every result of a tool is one of its own."""
        where = f"contents[{position}]"
        if content.role not in _ROLES:
            raise invalid_request(f"{where}.role: use 'user' or 'model'.", param=f"{where}.role")
        places = [(f"{where}.parts[{index}]", part) for index, part in enumerate(content.listed_parts)]
        if not places:
            raise invalid_request(f"{where}.parts: a turn has at least one part.", param=f"{where}.parts")
        if content.role == "model":
            yield self._model(places)
        else:
            yield from self._user(places)

    def parts(self, where: str, content: ContentIn) -> list[Part]:
        """What is to be embedded."""
        read = [self._part(f"{where}.parts[{index}]", part) for index, part in enumerate(content.listed_parts)]
        return [part for part in read if part is not None]

    def tools(self, tools: list[dict[str, Any]]) -> Iterator[ToolSpec]:
        """Functions the client runs itself; Google's own tools run nowhere else."""
        for position, tool in enumerate(tools):
            self.wire_only.update(
                f"tools[{position}].{name[:60]}" for name, value in tool.items() if name != "functionDeclarations" and value is not None
            )
            for index, declaration in enumerate(tool.get("functionDeclarations") or []):
                where = f"tools[{position}].functionDeclarations[{index}]"
                typed = self._typed(where, declaration, DeclarationIn)
                self.note(where, {name: value for name, value in declaration.items() if name not in _RESULT_SCHEMA}, DeclarationIn)
                self.hints.update(f"functionDeclarations.{name}" for name in _RESULT_SCHEMA if declaration.get(name))
                yield ToolSpec(typed.name, typed.description, typed.parameters_json_schema or json_schema_of(typed.parameters) or {})

    # ----------------------------------------------------------------- parts

    def _model(self, places: list[tuple[str, dict[str, Any]]]) -> Message:
        parts: list[Part] = []
        calls: list[ToolCall] = []
        for where, part in places:
            if part.get("functionCall") is not None:
                calls.append(self._call(where, part))
            elif (read := self._part(where, part)) is not None:
                parts.append(read)
        return Message(Role.ASSISTANT, tuple(parts), tuple(calls))

    def _user(self, places: list[tuple[str, dict[str, Any]]]) -> Iterator[Message]:
        parts: list[Part] = []
        for where, part in places:
            if part.get("functionResponse") is None:
                read = self._part(where, part)
                parts += [read] if read is not None else []
                continue
            if parts:
                yield Message(Role.USER, tuple(parts))
                parts = []
            yield self._result(where, part)
        if parts:
            yield Message(Role.USER, tuple(parts))

    def _part(self, where: str, part: dict[str, Any]) -> Part | None:
        self._note_part(where, part)
        text = part.get("text")
        if isinstance(text, str):
            return ReasoningPart(text) if part.get("thought") is True else TextPart(text)
        if part.get("inlineData") is not None:
            return self._blob(f"{where}.inlineData", part["inlineData"])
        if part.get("fileData") is not None:
            return self._file(f"{where}.fileData", part["fileData"])
        if text is not None or not set(part) - {"thought", "thoughtSignature"}:
            raise invalid_request(f"{where}: a part holds a text or another kind of content.", param=where)
        return None

    def _note_part(self, where: str, part: dict[str, Any]) -> None:
        """A part of another kind may be an empty object."""
        self.wire_only.update(f"{where}.{name[:60]}" for name, value in part.items() if name not in _CANONICAL and value is not None)

    def _blob(self, where: str, blob: Any) -> Part | None:
        """Google's clients write base64 with the alphabet for URLs; everybody else reads the standard one."""
        typed = self._typed(where, blob, BlobIn)
        self.note(where, blob, BlobIn, "displayName")
        if not typed.mime_type.startswith("image/"):
            self.wire_only.add(f"{where}.mimeType {typed.mime_type[:60]!r}")
            return None
        return ImagePart(data=typed.data.translate(_TO_STANDARD_BASE64), media_type=typed.mime_type)

    def _file(self, where: str, file: Any) -> Part:
        """Uploaded files and videos exist at Google only. An address counts as an image: its size is not in the body."""
        typed = self._typed(where, file, FileIn)
        self.note(where, file, FileIn, "displayName")
        own = not typed.file_uri.startswith("https://") or typed.file_uri.startswith("https://generativelanguage.googleapis.com/")
        if own or not (typed.mime_type or "").startswith("image/"):
            self.wire_only.add(f"{where}.fileUri")
        return ImagePart(url=typed.file_uri, media_type=typed.mime_type)

    def _call(self, where: str, part: dict[str, Any]) -> ToolCall:
        self._note_part(where, part)
        typed = self._typed(f"{where}.functionCall", part["functionCall"], CallIn)
        self.note(f"{where}.functionCall", part["functionCall"], CallIn)
        call_id = typed.id or f"call_{self._calls}"
        self._calls += 1
        self._unanswered.setdefault(typed.name, []).append(call_id)
        signature = part.get("thoughtSignature")
        arguments = msgspec.json.encode(typed.args or {}).decode()
        return ToolCall(call_id, typed.name, arguments, signature if isinstance(signature, str) and signature else None)

    def _result(self, where: str, part: dict[str, Any]) -> Message:
        self._note_part(where, part)
        typed = self._typed(f"{where}.functionResponse", part["functionResponse"], ResultIn)
        self.note(f"{where}.functionResponse", part["functionResponse"], ResultIn)
        waiting = self._unanswered.get(typed.name, [])
        if typed.id is None and not waiting:
            name = f"{where}.functionResponse.name"
            raise invalid_request(f"{name}: no earlier turn calls this function.", param=name)
        call_id = typed.id or waiting[0]
        if call_id in waiting:
            waiting.remove(call_id)
        files = [self._part(f"{where}.functionResponse.parts[{index}]", inner) for index, inner in enumerate(typed.parts or [])]
        parts = (TextPart(_result_text(typed.response)), *(file for file in files if file is not None))
        return Message(Role.TOOL, parts, tool_call_id=call_id, name=typed.name)

    def note(self, where: str, given: Any, shape: type[msgspec.Struct], *labels: str) -> None:
        """What of an object its shape does not know. ``labels`` are names for people, which no model reads."""
        self.wire_only |= beyond(where, given, (*shape.__struct_encode_fields__, *labels))
        self.hints.update(label for label in labels if given.get(label))

    def _typed(self, where: str, value: Any, shape: type[T]) -> T:
        try:
            return msgspec.convert(value, shape)
        except msgspec.ValidationError as error:
            raise field_error(str(error), where) from None


def _result_text(response: dict[str, Any]) -> str:
    """A bare text that was wrapped because a result must be an object comes out again."""
    if len(response) == 1:
        (name, value), *_ = response.items()
        if name in _WRAPPERS and isinstance(value, str):
            return value
    return msgspec.json.encode(response).decode()
