"""What happened on the wire: when each request came, when its answer began and ended, and how."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import deque

import msgspec

ENTRIES_KEPT = 20_000


class Entry(msgspec.Struct):
    """One inference request. Times are seconds since 1970, ``None`` until it happens.

    ``ended`` is how: ``answered``, ``disconnected`` (the client left, noticed at ``finished_s``), ``reset`` or ``refused``.
    ``connection`` numbers the TCP connection, ``closed_s`` is when that one closed
    (on the last request of the connection).
    """

    number: int
    connection: int
    path: str
    client_request_id: str
    started_s: float
    id: str = ""
    model: str = ""
    stream: bool = False
    fault: str = ""
    status: int | None = None
    events_written: int = 0
    first_byte_s: float | None = None
    finished_s: float | None = None
    closed_s: float | None = None
    ended: str = ""


class Journal:
    """The last ``ENTRIES_KEPT`` requests, and how many connections there are and ever were.

    ``finished`` counts closed entries; ``grown`` is set at each.
    """

    def __init__(self) -> None:
        self.entries: deque[Entry] = deque(maxlen=ENTRIES_KEPT)
        self.connections_open = 0
        self.connections_made = 0
        self._numbers = itertools.count(1)
        self._latest: dict[int, Entry] = {}
        self.grown = asyncio.Event()
        self.finished = 0

    def open(self, connection: int, path: str, client_request_id: str, started_s: float) -> Entry:
        entry = Entry(next(self._numbers), connection, path, client_request_id, started_s)
        self.entries.append(entry)
        self._latest[connection] = entry
        return entry

    def finish(self, entry: Entry, ended: str, status: int | None = None) -> float:
        """Closes ``entry`` now; returns when that was."""
        entry.finished_s = time.time()
        entry.ended = ended
        entry.status = entry.status if status is None else status
        self.finished += 1
        self.grown.set()
        return entry.finished_s

    def connected(self) -> int:
        self.connections_open += 1
        self.connections_made += 1
        return self.connections_made

    def disconnected(self, connection: int) -> None:
        self.connections_open -= 1
        entry = self._latest.pop(connection, None)
        if entry is not None:
            entry.closed_s = time.time()

    def snapshot(self) -> dict[str, object]:
        return {
            "entries": list(self.entries),
            "connections_open": self.connections_open,
            "connections_made": self.connections_made,
        }

    def clear(self) -> None:
        self.entries.clear()
        self.finished = 0
