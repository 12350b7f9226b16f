"""A recorded stream cut into its events, with their places in the body: simple code that reads the whole at once."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

_LINE = re.compile(rb"(?P<line>[^\r\n]*)(?P<end>\r\n|\n|\r|\Z)")


@dataclass(frozen=True, slots=True)
class Frame:
    """``start`` and ``end`` are where the payload stands in the body. ``value`` is its JSON, ``None`` when it is none."""

    start: int
    end: int
    event: str
    data: bytes

    @property
    def value(self) -> Any:
        try:
            return json.loads(self.data)
        except ValueError:
            return None


def sse_frames(body: bytes) -> list[Frame]:
    """https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation"""
    frames: list[Frame] = []
    data: list[bytes] = []
    event, start, end = "", 0, 0
    for match in _LINE.finditer(body.removeprefix(b"\xef\xbb\xbf")):
        line = match["line"]
        if line.startswith(b"data:"):
            start = start if data else match.start()
            end = match.end("line")
            data.append(line[5:].removeprefix(b" "))
        elif line.startswith(b"event:"):
            event = line[6:].strip().decode("utf-8", "replace")
        elif not line and data:
            frames.append(Frame(start, end, event, b"\n".join(data)))
            data, event = [], ""
    if data:
        frames.append(Frame(start, end, event, b"\n".join(data)))
    return frames


def line_frames(body: bytes) -> list[Frame]:
    """One JSON object a line."""
    found = (match for match in _LINE.finditer(body) if match["line"].strip())
    return [Frame(match.start(), match.end("line"), "", match["line"]) for match in found]


def array_frames(body: bytes) -> list[Frame]:
    """The elements of one JSON array."""
    text = body.decode("utf-8", "replace")
    decoder = json.JSONDecoder()
    frames: list[Frame] = []
    at = text.find("[") + 1
    while (start := text.find("{", at)) >= 0:
        try:
            _, at = decoder.raw_decode(text, start)
        except ValueError:
            break
        first, last = len(text[:start].encode()), len(text[:at].encode())
        frames.append(Frame(first, last, "", body[first:last]))
    return frames


def frames_of(body: bytes) -> list[Frame]:
    """The framing told by the first byte that means something."""
    head = body.lstrip()[:1]
    if head == b"[":
        return array_frames(body)
    return line_frames(body) if head == b"{" else sse_frames(body)
