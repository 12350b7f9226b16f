"""The simulator sees pictures of one plain colour, so that a vision check has something to find out."""

from __future__ import annotations

import base64
import binascii
import struct
import zlib
from collections.abc import Mapping
from typing import Any

COLOURS = {(255, 0, 0): "red", (0, 255, 0): "green", (0, 0, 255): "blue", (255, 255, 255): "white", (0, 0, 0): "black"}
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_TRUECOLOUR_8_BIT = (8, 2)
_ROW_BYTES_MAX = 65_536


def seen_in(part: Mapping[str, Any]) -> str:
    """What the simulator says of an image part of any wire, empty when it is none or nothing can be made out."""
    return seen(_base64_of(part))


def seen(data: str) -> str:
    """What the simulator says of a picture in base64."""
    colour = _colour(data) if data else None
    return f" (a {colour} picture)" if colour else ""


def _base64_of(part: Mapping[str, Any]) -> str:
    """From OpenAI's ``image_url`` (chat or Responses), Anthropic's ``source`` or Gemini's ``inlineData``."""
    image = part.get("image_url")
    url = image.get("url") if isinstance(image, dict) else image
    if isinstance(url, str):
        return url.partition(";base64,")[2]
    source, inline = part.get("source"), part.get("inlineData")
    if isinstance(source, dict) and isinstance(source.get("data"), str):
        return str(source["data"])
    if isinstance(inline, dict) and isinstance(inline.get("data"), str):
        # Either alphabet is a protobuf's (https://protobuf.dev/programming-guides/json/); Google's client writes the URL-safe one.
        return str(inline["data"]).replace("-", "+").replace("_", "/")
    return ""


def _colour(data: str) -> str | None:
    """The colour of the first pixel of an 8-bit RGB PNG (https://www.w3.org/TR/png-3/)."""
    try:
        png = base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        return None
    if not png.startswith(_SIGNATURE) or png[24:26] != bytes(_TRUECOLOUR_8_BIT):
        return None
    at = png.find(b"IDAT")
    if at < 8:
        return None
    (length,) = struct.unpack(">I", png[at - 4 : at])
    try:
        row = zlib.decompressobj().decompress(png[at + 4 : at + 4 + length], _ROW_BYTES_MAX)
    except zlib.error:
        return None
    return COLOURS.get((row[1], row[2], row[3])) if len(row) >= 4 else None
