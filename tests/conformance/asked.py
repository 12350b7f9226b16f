"""What a request asks for, in one plain form for every wire format, read without any code of the gateway."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any

_DEFAULTS: dict[str, tuple[Any, ...]] = {
    "service_tier": ("auto", "default", "on_demand"),
    "modalities": (["text"],),
    "responseModalities": (["TEXT"], [1]),
    "truncation": ("disabled",),
}
_EMPTY_SCHEMAS = ({}, {"type": "object"}, {"type": "object", "properties": {}})


@dataclass(slots=True)
class Called:
    """``arguments`` is the JSON value, or the text where it is none. ``id`` is empty where the wire gives no id."""

    id: str
    name: str
    arguments: Any
    signature: str = ""


@dataclass(slots=True)
class Turn:
    """``pieces`` are ("text", text), ("image", address), ("detail", of the image before it) or ("other", value). A result of a tool
    is a turn of its own: ``answers`` is the id of the call, ``name`` the tool's name where the wire tells it."""

    role: str
    pieces: list[tuple[str, Any]] = field(default_factory=list)
    reasoning: str = ""
    signatures: list[str] = field(default_factory=list)
    calls: list[Called] = field(default_factory=list)
    answers: str = ""
    name: str = ""

    @property
    def says_nothing(self) -> bool:
        return self.role != "tool" and not (self.pieces or self.calls or self.reasoning or self.signatures)


@dataclass(slots=True)
class Tool:
    name: str
    description: str = ""
    parameters: Any = None
    strict: bool | None = None


@dataclass(slots=True)
class Format:
    """``schema`` is ``None`` where any JSON object is wanted. ``kind`` is a type that is neither of the two."""

    schema: Any = None
    strict: bool | None = None
    name: str = ""
    kind: str = ""


@dataclass(slots=True)
class Asked:
    """``choice`` is auto, none, required or ``=name``. ``effort`` is a word, "on" or "off". ``inputs`` is what to embed.

    ``others`` are the top-level fields (and options) that have no place above, without those that say nothing.
    """

    model: str = ""
    system: str = ""
    turns: list[Turn] = field(default_factory=list)
    tools: list[Tool] = field(default_factory=list)
    choice: str = "auto"
    parallel: bool = True
    limit: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    stop: list[str] = field(default_factory=list)
    seed: int | None = None
    n: int = 1
    format: Format | None = None
    effort: str | None = None
    budget: int | None = None
    logprobs: int | None = None
    stream: bool = False
    user: str = ""
    inputs: list[Any] = field(default_factory=list)
    dimensions: int | None = None
    others: dict[str, Any] = field(default_factory=dict)

    def tidy(self) -> Asked:
        """Leading system turns become the system text, turns of one role that follow each other become one."""
        leading = []
        while self.turns and self.turns[0].role == "system" and all(kind == "text" for kind, _ in self.turns[0].pieces):
            leading.append("".join(text for _, text in self.turns.pop(0).pieces))
        self.system = "\n\n".join(text for text in [self.system, *leading] if text)
        merged: list[Turn] = []
        for turn in self.turns:
            turn.pieces = _tidied(turn)
            if turn.says_nothing:
                continue
            last = merged[-1] if merged else None
            if last is not None and last.role == turn.role != "tool" and last.name == turn.name:
                last.pieces += turn.pieces
                last.calls += turn.calls
                last.reasoning += turn.reasoning
                last.signatures += turn.signatures
            else:
                merged.append(turn)
        self.turns = merged
        if not self.tools:
            self.choice, self.parallel = "auto" if self.choice == "none" else self.choice, True
        return self


def _tidied(turn: Turn) -> list[tuple[str, Any]]:
    """No empty texts; what a model or a tool said is one text, however many pieces it came in."""
    pieces = [(kind, value) for kind, value in turn.pieces if kind != "text" or value]
    if turn.role == "user":
        return pieces
    joined: list[tuple[str, Any]] = []
    for kind, value in pieces:
        if kind == "text" and joined and joined[-1][0] == "text":
            joined[-1] = ("text", joined[-1][1] + value)
        else:
            joined.append((kind, value))
    return joined


def others_of(body: dict[str, Any], known: tuple[str, ...]) -> dict[str, Any]:
    """What says something and is not among ``known``."""
    beyond = {name: value for name, value in body.items() if name not in known and says_something(value)}
    return {name: value for name, value in beyond.items() if value not in _DEFAULTS.get(name, ())}


def says_something(value: Any) -> bool:
    return bool(value)


def json_value(text: Any) -> Any:
    """Arguments of a call: the JSON value of a text, an empty object for none."""
    if not isinstance(text, str):
        return text if text is not None else {}
    if not text.strip():
        return {}
    try:
        return json.loads(text)
    except ValueError:
        return text


def schema_of(schema: Any) -> Any:
    """A schema whose spelling is no matter: types in lower case, no annotations, ``const`` as an ``enum`` of one, no parameters as none."""
    plain = _schema(schema or {})
    return {} if plain in _EMPTY_SCHEMAS else plain


_ANNOTATIONS = ("$schema", "$comment", "examples", "discriminator", "deprecated", "readOnly", "writeOnly", "propertyOrdering")
_NAMED = ("properties", "$defs", "definitions", "patternProperties")


def _schema(value: Any) -> Any:
    if isinstance(value, list):
        return [_schema(item) for item in value]
    if not isinstance(value, dict):
        return value
    found: dict[str, Any] = {}
    for spelt, inner in value.items():
        key = re.sub(r"_([a-z])", lambda letter: letter[1].upper(), spelt)  # Google takes its words in either spelling
        if key in _ANNOTATIONS or key == "nullable" or (key == "required" and inner == []):
            continue
        if key in _NAMED and isinstance(inner, dict):
            found[key] = {name: _schema(one) for name, one in inner.items()}
        elif key == "type" and isinstance(inner, str):
            found[key] = inner.lower()
        elif key == "const":
            found["enum"] = [inner]
        else:
            found[key] = inner if key in ("enum", "required", "default") else _schema(inner)
    if value.get("nullable") is True and isinstance(found.get("type"), str):
        found["type"] = [found["type"], "null"]
    return found


def image_of(url: Any) -> tuple[str, str]:
    """An image by address; a ``data:`` address holds the image itself, in either alphabet of base64."""
    text = str(url)
    head, comma, payload = text.partition(",")
    if head.startswith("data:") and comma:
        return "image", f"{head},{payload.translate(str.maketrans('-_', '+/'))}"
    return "image", text


def detail_of(image: dict[str, Any]) -> list[tuple[str, Any]]:
    """How closely to look, where that is not left to the provider."""
    return [("detail", image["detail"])] if image.get("detail") not in (None, "auto") else []


def typed_name(value: dict[str, Any], name: Any, kind: str = "function") -> str:
    """A name with its type where that is not the ordinary one: what no provider knows must not look like what it knows."""
    given = value.get("type")
    return word_of(name) if given in (None, kind) else f"{given}: {name}"


def texts_of(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def objects_of(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def object_of(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def word_of(value: Any) -> str:
    return value if isinstance(value, str) else ""
