"""Reading JSON bodies strictly: what the standard library or the database would choke on later is refused here, by name."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import IO, Any, ClassVar, NoReturn

from rest_framework.exceptions import ParseError, UnsupportedMediaType
from rest_framework.parsers import BaseParser

from aigateway.api.errors import PayloadTooLarge

BODY_BYTES_MAX = 1024 * 1024
DEPTH_MAX = 64
VALUES_MAX = 200_000
"""Numbers, texts, names, objects, lists: what takes time and memory is their count, not their length (C02)."""
NUMBER_DIGITS_MAX = 40
PLACE_CHARACTERS_MAX = 200

_SLICE_BYTES = 128 * 1024
"""Looked at in one piece: other threads get their turn in between."""
_NOT_SIGNS = bytes(set(range(256)) - set(b",:[]{}"))
_UNSTORABLE_ESCAPES = (b"\\u0000", b"\\ud", b"\\uD")
"""A text that cannot be stored comes in no other way: raw, UTF-8 and JSON refuse it."""
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


class InvalidJson(ParseError):
    """A body that is refused. ``field`` is the dotted path of the offending value, where one is to blame."""

    def __init__(self, detail: str, code: str = "invalid_json", field: str | None = None) -> None:
        super().__init__(detail, code)
        self.field = field


class TooManyValues(InvalidJson):
    status_code = 413

    def __init__(self) -> None:
        super().__init__(f"The body holds more than {VALUES_MAX} values.", "too_many_values")


@dataclass(frozen=True, slots=True)
class _Refused:
    """Stands in the parsed tree for a value that must not be used, until its path is known."""

    code: str
    what: str


def parse_strict(body: bytes) -> Any:
    """The value of a JSON text; raises ``InvalidJson`` naming the place for everything B01, B02, B04 to B06 and B14 list."""
    if not body.strip():
        raise InvalidJson("The body is empty; send a JSON object.", "empty_body")
    if body.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        raise InvalidJson("The body starts with a byte order mark; send plain UTF-8 without one.", "byte_order_mark")
    _check_structure(body)
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidJson(f"The body is not UTF-8: byte {error.start + 1} cannot be read.", "not_utf8") from None
    reader = _Reader()
    try:
        tree = json.loads(
            text, object_pairs_hook=reader.members, parse_constant=reader.constant, parse_float=reader.decimal, parse_int=reader.integer
        )  # fmt: skip
    except json.JSONDecodeError as error:
        raise InvalidJson(f"The body is not valid JSON: {error.msg} at line {error.lineno}, column {error.colno}.") from None
    if reader.has_refused or any(escape in body for escape in _UNSTORABLE_ESCAPES):
        _check_values(tree, "")
    return tree


def values_at_most(body: bytes) -> int:
    """How many values ``body`` may hold: fast, and never too low. Signs inside texts are counted too."""
    return 1 + len(body) - len(body.translate(None, b",:[{"))


def _check_structure(body: bytes) -> None:
    """Counts values and levels outside of texts before any parser makes something of them."""
    values, depth = 0, 0
    for signs in _signs_outside_texts(body):
        opened = signs.count(b"[") + signs.count(b"{")
        values += opened + signs.count(b",") + signs.count(b":")
        if values > VALUES_MAX:
            raise TooManyValues
        depth = _checked_depth(signs, depth) if depth + opened > DEPTH_MAX else depth + opened - signs.count(b"]") - signs.count(b"}")
        if depth < 0:
            return  # no JSON: the parser will say where


def _checked_depth(signs: bytes, depth: int) -> int:
    for bracket in signs.translate(None, b",:"):
        depth += 1 if bracket in b"[{" else -1
        if depth > DEPTH_MAX:
            raise InvalidJson(f"The body nests deeper than {DEPTH_MAX} levels.", "too_deep")
    return depth


def _signs_outside_texts(body: bytes) -> Iterator[bytes]:
    """The commas, colons and brackets between texts, slice by slice. An escape outside of a text is no JSON, so what follows is of no
    interest."""
    start, inside = 0, 0
    while start < len(body):
        piece = body[start : start + _SLICE_BYTES]
        if start + len(piece) < len(body) and (len(piece) - len(piece.rstrip(b"\\"))) % 2:
            piece = piece[:-1]  # an escape belongs to the sign after it
        start += len(piece)
        if b"\\" in piece:
            piece = piece.replace(b"\\\\", b"").replace(b'\\"', b"")
        parts = piece.split(b'"')
        yield b"".join(parts[inside::2]).translate(None, _NOT_SIGNS)
        inside = (inside + len(parts) - 1) % 2


class _Reader:
    """What the parser asks for each object and number. Notes whether anything in the tree must not be used."""

    def __init__(self) -> None:
        self.has_refused = False

    def members(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        members = dict(pairs)
        if len(members) == len(pairs):
            return members
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                members[name] = self._refused("duplicate_key", "appears twice; send each key once")
            seen.add(name)
        return members

    def constant(self, literal: str) -> _Refused:
        return self._refused("number_not_finite", f"is {literal}; send a finite number")

    def decimal(self, literal: str) -> float | _Refused:
        if len(literal) > NUMBER_DIGITS_MAX:
            return self._too_long(literal)
        value = float(literal)
        if math.isfinite(value):
            return value
        return self._refused("number_not_finite", f"is {literal}, which is too large for a number")

    def integer(self, literal: str) -> int | _Refused:
        return int(literal) if len(literal) <= NUMBER_DIGITS_MAX else self._too_long(literal)

    def _too_long(self, literal: str) -> _Refused:
        return self._refused("number_too_long", f"has {len(literal)} digits; at most {NUMBER_DIGITS_MAX} are accepted")

    def _refused(self, code: str, what: str) -> _Refused:
        self.has_refused = True
        return _Refused(code, what)


def _check_values(value: Any, path: str) -> None:
    """Recursion is bounded by ``DEPTH_MAX``."""
    if isinstance(value, _Refused):
        _refuse(path, value.what, value.code)
    elif isinstance(value, str):
        _check_text(value, path, "")
    else:
        for name, inner in _members(value, path):
            _check_values(inner, name)


def _members(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            _check_text(name, path, "has a key that ")
            yield (f"{path}.{name}" if path else name), inner
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield f"{path}[{index}]", inner


def _check_text(text: str, path: str, prefix: str) -> None:
    nul_at = text.find("\x00")
    if nul_at >= 0:
        _refuse(path, f"{prefix}contains the character NUL (\\u0000) at position {nul_at + 1}", "nul_character")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        _refuse(path, f"{prefix}contains half of a surrogate pair at position {error.start + 1}", "lone_surrogate")


def _refuse(path: str, what: str, code: str) -> NoReturn:
    place = _UNSTORABLE.sub("\ufffd", path)[:PLACE_CHARACTERS_MAX]
    subject = f"'{place}'" if place else "The body"
    raise InvalidJson(f"{subject} {what}.", code, place or None)


class StrictJSONParser(BaseParser):
    """The only parser of the REST surface: its bodies are objects. Reads at most ``bytes_max`` and one byte more."""

    media_type = "application/json"
    bytes_max: ClassVar[int] = BODY_BYTES_MAX

    def parse(self, stream: IO[bytes], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None) -> Any:  # noqa: ARG002 - the framework's signature
        request = (parser_context or {}).get("request")
        encoding = request.headers.get("Content-Encoding", "identity") if request is not None else "identity"
        if encoding.strip().lower() != "identity":
            raise UnsupportedMediaType(encoding, "Compressed bodies are not accepted; send the JSON as it is.")
        charset = str((parser_context or {}).get("encoding") or "utf-8").lower()
        if charset not in ("utf-8", "utf8", "us-ascii", "ascii"):
            raise UnsupportedMediaType(charset, "JSON is UTF-8; other charsets are not accepted.")
        body = stream.read(self.bytes_max + 1)
        if len(body) > self.bytes_max:
            raise PayloadTooLarge(f"The body is larger than {self.bytes_max} bytes.")
        tree = parse_strict(body)
        if not isinstance(tree, dict):
            raise InvalidJson("The body is not an object; send a JSON object.", "not_an_object")
        return tree
