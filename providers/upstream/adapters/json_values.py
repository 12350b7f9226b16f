"""Reading JSON that others wrote: every accessor tolerates a missing or mistyped value."""

from __future__ import annotations

from typing import Any

import msgspec

from providers.upstream.errors import InvalidBody
from providers.upstream.redaction import READ_MAX
from providers.upstream.types import JsonObject

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode


def encode(value: Any) -> bytes:
    return _encode(value)


def encode_text(value: Any) -> str:
    return _encode(value).decode()


def decode_or_none(body: bytes | str) -> Any:
    """The JSON value, or ``None`` when the text is none. A byte order mark is tolerated."""
    try:
        return _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        if isinstance(body, bytes) and body.startswith(b"\xef\xbb\xbf"):
            return decode_or_none(body[3:])
        return None


def decode_object(body: bytes) -> JsonObject:
    """Raises ``InvalidBody`` for anything but one JSON object. The detail holds a snippet, for logs only."""
    value = decode_or_none(body)
    if not isinstance(value, dict):
        raise InvalidBody(f"not a JSON object: {snippet(body)}")
    return value


def snippet(body: bytes) -> str:
    """The beginning of a body as text; the error it goes into cuts it, once the secrets are out."""
    return body[:READ_MAX].decode("utf-8", "replace")


def object_at(source: Any, key: str) -> JsonObject:
    value = source.get(key) if isinstance(source, dict) else None
    return value if isinstance(value, dict) else {}


def list_at(source: Any, key: str) -> list[Any]:
    value = source.get(key) if isinstance(source, dict) else None
    return value if isinstance(value, list) else []


def text_at(source: Any, key: str) -> str:
    value = source.get(key) if isinstance(source, dict) else None
    return value if isinstance(value, str) else ""


def count_at(source: Any, *keys: str) -> int | None:
    """The first of ``keys`` that holds a count: ``None`` is missing, ``0`` is zero."""
    if not isinstance(source, dict):
        return None
    for key in keys:
        value = source.get(key)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            return value
    return None
