"""Server-sent events from bytes, incrementally and in linear time.

Only LF, CR and CRLF end a line (WHATWG HTML, "Interpreting an event stream"); U+2028, U+2029 and U+0085 are text.
"""

from __future__ import annotations

import re

import msgspec

from providers.upstream.errors import BodyTooLarge

MAX_EVENT_BYTES = 1_048_576

_BOM = b"\xef\xbb\xbf"
_LF = 0x0A
_COLON = 0x3A
# The end of one line followed by an empty line. A CR before an LF is never an end of its own.
_LINE_END = re.compile(rb"\r\n|\n|\r(?!\n)")
_BLANK_LINE = re.compile(rb"(?:\r\n|\n|\r(?!\n))(?:\r\n|\n|\r)")


class SseEvent(msgspec.Struct, frozen=True, gc=False):
    """One block of the stream.

    ``raw`` is its exact bytes, terminator included. A comment line before an event and a stray blank line are blocks of
    their own with empty ``data``: a heartbeat that no blank line follows is handed on at once.
    ``event`` is empty when the block names none.
    """

    event: str
    data: bytes
    raw: bytes


class SseParser:
    """Feeds on chunks of any size; the raws of all events and the bytes still waiting add up to the input.

    Raises ``BodyTooLarge`` once a single event exceeds ``max_event_bytes``.
    """

    __slots__ = ("_at_start", "_buffer", "_max_event_bytes", "_scanned")

    def __init__(self, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self._max_event_bytes = max_event_bytes
        self._buffer = bytearray()
        self._scanned = 0
        self._at_start = True

    @property
    def pending_bytes(self) -> int:
        return len(self._buffer)

    def feed(self, chunk: bytes) -> list[SseEvent]:
        """Events completed by ``chunk``. A CR at the very end waits: the LF of the same line end may follow."""
        if chunk[-2:] != b"\n\n" or self._buffer or self._at_start or len(chunk) > self._max_event_bytes or b"\r" in chunk:
            return self._take_events(chunk, at_end=False)
        if chunk.startswith(b"data: ") and chunk.index(b"\n") == len(chunk) - 2:
            return [SseEvent("", chunk[6:-2], chunk)]
        return self._whole_events(chunk)

    def finish(self) -> list[SseEvent]:
        """What is left at the end of the stream: servers exist that leave out the last blank line."""
        events = self._take_events(b"", at_end=True)
        if self._buffer:
            events.append(self._parse_block(bytes(self._buffer)))
            self._buffer.clear()
        return events

    def _whole_events(self, chunk: bytes) -> list[SseEvent]:
        """The shape of nearly every network read: complete events, lines ended by LF alone. No search by pattern, no copy of the rest."""
        events: list[SseEvent] = []
        start, length = 0, len(chunk)
        while start < length:
            if chunk[start] == _LF:  # a stray blank line is a block of its own
                end = start + 1
            elif chunk[start] == _COLON:
                end = chunk.index(b"\n", start) + 1
            else:
                end = chunk.index(b"\n\n", start) + 2
            events.append(self._parse_block(chunk[start:end]))
            start = end
        return events

    def _take_events(self, chunk: bytes, *, at_end: bool) -> list[SseEvent]:
        buffer = self._buffer
        buffer += chunk
        events: list[SseEvent] = []
        start = 0
        scan = self._scanned
        while (end := self._block_end(start, scan, at_end=at_end)) is not None:
            self._check_size(end - start)
            events.append(self._parse_block(bytes(buffer[start:end])))
            start = scan = end
        self._check_size(len(buffer) - start)
        del buffer[:start]
        # The last two bytes may begin a blank line that the next chunk completes.
        self._scanned = max(0, len(buffer) - 2)
        return events

    def _block_end(self, start: int, scan: int, *, at_end: bool) -> int | None:
        buffer = self._buffer
        if start < len(buffer) and buffer[start] in b"\r\n":
            end = start + (2 if buffer[start : start + 2] == b"\r\n" else 1)
        else:
            ending = _LINE_END if start < len(buffer) and buffer[start] == _COLON else _BLANK_LINE
            match = ending.search(buffer, max(start, scan))
            if match is None:
                return None
            end = match.end()
        if not at_end and end == len(buffer) and buffer[end - 1] == 0x0D:
            return None
        return end

    def _check_size(self, size: int) -> None:
        if size > self._max_event_bytes:
            raise BodyTooLarge(f"an event of the stream exceeds {self._max_event_bytes} bytes")

    def _parse_block(self, raw: bytes) -> SseEvent:
        text = raw
        if self._at_start:
            self._at_start = False
            text = raw.removeprefix(_BOM)
        name = b""
        values: list[bytes] = []
        for line in text.splitlines():  # bytes split at LF, CR and CRLF only
            field, colon, value = line.partition(b":")
            if field == b"data":
                values.append(value[1:] if value[:1] == b" " else value)
            elif field == b"event" and colon:
                name = value[1:] if value[:1] == b" " else value
        data = values[0] if len(values) == 1 else b"\n".join(values)
        return SseEvent(name.decode("utf-8", "replace"), data, raw)
