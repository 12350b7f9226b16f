"""A stream that is one JSON array, cut into its elements as they arrive, incrementally and in linear time.

Google sends its streams so where nobody asks for server-sent events (no ``alt=sse``), pretty-printed; an error comes as a
plain object instead. Strings are skipped as a whole, so braces and brackets in them cut nothing.
"""

from __future__ import annotations

import re

from providers.upstream.errors import BodyTooLarge
from providers.upstream.sse import MAX_EVENT_BYTES, SseEvent, SseParser

_BLANK = b" \t\r\n"
_OPENING = b"{["
_STRUCTURE = re.compile(rb'[{}\[\]"]')
_IN_STRING = re.compile(rb'["\\]')


class JsonArrayParser:
    """Feeds on chunks of any size; the raws of all events and the bytes still waiting add up to the input.

    ``data`` of an event is one element that is an object; what stands between two elements belongs to the raw of the second.
    Raises ``BodyTooLarge`` for an element above ``max_event_bytes``.
    """

    __slots__ = ("_buffer", "_depth", "_in_string", "_max_event_bytes", "_scanned", "_start")

    def __init__(self, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self._max_event_bytes = max_event_bytes
        self._buffer = bytearray()
        self._scanned = 0
        self._depth = 0
        self._in_string = False
        self._start = -1
        """Where the element under way begins, -1 between two."""

    def feed(self, chunk: bytes) -> list[SseEvent]:
        """Elements completed by ``chunk``."""
        buffer = self._buffer
        buffer += chunk
        events: list[SseEvent] = []
        taken = 0
        while (at := self._next_mark()) is not None:
            if self._closes_element(at):
                raw = bytes(buffer[taken : at + 1])
                events.append(SseEvent("", raw[self._start - taken :], raw))
                self._check_size(len(raw))
                taken, self._start = at + 1, -1
        self._check_size(len(buffer) - taken)
        if taken:
            del buffer[:taken]
            self._scanned -= taken
            self._start = max(-1, self._start - taken)
        return events

    def finish(self) -> list[SseEvent]:
        """What is left: the closing bracket, or an element cut in the middle, which is handed on as it is."""
        raw = bytes(self._buffer)
        self._buffer.clear()
        if not raw:
            return []
        return [SseEvent("", raw[self._start :] if self._start >= 0 else b"", raw)]

    def _next_mark(self) -> int | None:
        """The next byte that opens or closes something outside a string."""
        while True:
            match = (_IN_STRING if self._in_string else _STRUCTURE).search(self._buffer, self._scanned)
            if match is None:
                self._scanned = max(self._scanned, len(self._buffer))
                return None
            at = match.start()
            mark = self._buffer[at]
            if mark == ord("\\"):
                if at + 1 == len(self._buffer):
                    self._scanned = at  # the escaped byte is still to come
                    return None
                self._scanned = at + 2
            else:
                self._scanned = at + 1
                if mark != ord('"'):
                    return at
                self._in_string = not self._in_string

    def _closes_element(self, at: int) -> bool:
        """Elements are objects inside the array, or an object that stands alone."""
        mark = self._buffer[at]
        if mark in _OPENING:
            if mark == ord("{") and self._start < 0:
                self._start = at
                self._depth = 0
            self._depth += self._start >= 0
            return False
        if self._start < 0:
            return False  # the end of the array itself
        self._depth -= 1
        return self._depth == 0

    def _check_size(self, size: int) -> None:
        if size > self._max_event_bytes:
            raise BodyTooLarge(f"an element of the stream exceeds {self._max_event_bytes} bytes")


class SseOrJsonParser:
    """Server-sent events, or JSON where the first byte that is not blank opens an array or an object."""

    __slots__ = ("_head", "_parser")

    def __init__(self) -> None:
        self._head = b""
        self._parser: SseParser | JsonArrayParser | None = None

    def feed(self, chunk: bytes) -> list[SseEvent]:
        if self._parser is None:
            self._head += chunk
            first = self._head.lstrip(_BLANK)[:1]
            if not first and len(self._head) <= MAX_EVENT_BYTES:
                return []
            self._parser = JsonArrayParser() if first and first in _OPENING else SseParser()
            chunk = self._head
        return self._parser.feed(chunk)

    def finish(self) -> list[SseEvent]:
        if self._parser is None:
            return [SseEvent("", b"", self._head)] if self._head else []
        return self._parser.finish()
