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
NUMBER_DIGITS_MAX = 40
PLACE_CHARACTERS_MAX = 200

# Always matches once it saw a quote, closed or not, and never goes back: linear on any input.
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


class InvalidJson(ParseError):
    """A body that is refused. ``field`` is the dotted path of the offending value, where one is to blame."""

    def __init__(self, detail: str, code: str = "invalid_json", field: str | None = None) -> None:
        super().__init__(detail, code)
        self.field = field


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
    _check_depth(body)
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidJson(f"The body is not UTF-8: byte {error.start + 1} cannot be read.", "not_utf8") from None
    try:
        tree = json.loads(
            text, object_pairs_hook=_object, parse_constant=_constant, parse_float=_float, parse_int=_integer
        )  # fmt: skip
    except json.JSONDecodeError as error:
        raise InvalidJson(f"The body is not valid JSON: {error.msg} at line {error.lineno}, column {error.colno}.") from None
    _check_values(tree, "")
    return tree


def _check_depth(body: bytes) -> None:
    """Counts brackets outside strings before any parser recurses."""
    depth = 0
    for bracket in _STRING.sub(b"", body).translate(None, _NOT_BRACKETS):
        depth += 1 if bracket in b"[{" else -1
        if depth > DEPTH_MAX:
            raise InvalidJson(f"The body nests deeper than {DEPTH_MAX} levels.", "too_deep")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) == len(pairs):
        return members
    seen: set[str] = set()
    for name, _ in pairs:
        if name in seen:
            members[name] = _Refused("duplicate_key", "appears twice; send each key once")
        seen.add(name)
    return members


def _constant(literal: str) -> _Refused:
    return _Refused("number_not_finite", f"is {literal}; send a finite number")


def _float(literal: str) -> float | _Refused:
    if len(literal) > NUMBER_DIGITS_MAX:
        return _too_long(literal)
    value = float(literal)
    return value if math.isfinite(value) else _Refused("number_not_finite", f"is {literal}, which is too large for a number")


def _integer(literal: str) -> int | _Refused:
    return int(literal) if len(literal) <= NUMBER_DIGITS_MAX else _too_long(literal)


def _too_long(literal: str) -> _Refused:
    return _Refused("number_too_long", f"has {len(literal)} digits; at most {NUMBER_DIGITS_MAX} are accepted")


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
    found = _UNSTORABLE.search(text)
    if found is None:
        return
    if found.group() == "\x00":
        _refuse(path, f"{prefix}contains the character NUL (\\u0000) at position {found.start() + 1}", "nul_character")
    _refuse(path, f"{prefix}contains half of a surrogate pair at position {found.start() + 1}", "lone_surrogate")


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
