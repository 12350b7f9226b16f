"""One JSON value a line, from bytes, incrementally and in linear time (https://github.com/ndjson/ndjson-spec).

Only LF ends a line; a CR before it belongs to the line end. U+2028, U+2029 and U+0085 are text.
"""

from __future__ import annotations

from providers.upstream.errors import BodyTooLarge
from providers.upstream.sse import MAX_EVENT_BYTES, SseEvent


class NdjsonParser:
    """Feeds on chunks of any size; the raws of all events and the bytes still waiting add up to the input.

    ``data`` of an event is its line without the line end; blank lines are events with empty ``data``.
    Raises ``BodyTooLarge`` once a single line exceeds ``max_event_bytes``.
    """

    __slots__ = ("_buffer", "_max_event_bytes", "_scanned")

    def __init__(self, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self._max_event_bytes = max_event_bytes
        self._buffer = bytearray()
        self._scanned = 0

    @property
    def pending_bytes(self) -> int:
        return len(self._buffer)

    def feed(self, chunk: bytes) -> list[SseEvent]:
        """Lines completed by ``chunk``."""
        buffer = self._buffer
        buffer += chunk
        events: list[SseEvent] = []
        start = 0
        while (end := buffer.find(b"\n", max(start, self._scanned)) + 1) > 0:
            self._check_size(end - start)
            events.append(_line(bytes(buffer[start:end])))
            start = end
        self._check_size(len(buffer) - start)
        del buffer[:start]
        self._scanned = len(buffer)
        return events

    def finish(self) -> list[SseEvent]:
        """What is left at the end of the stream: the last line end may be missing."""
        rest = bytes(self._buffer)
        self._buffer.clear()
        self._scanned = 0
        return [_line(rest)] if rest else []

    def _check_size(self, size: int) -> None:
        if size > self._max_event_bytes:
            raise BodyTooLarge(f"a line of the stream exceeds {self._max_event_bytes} bytes")


def _line(raw: bytes) -> SseEvent:
    return SseEvent("", raw.strip(b" \t\r\n"), raw)
