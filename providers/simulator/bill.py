"""The simulator's own bill: one line per call that did work. It shares no code with the gateway's ledger.

A complete answer is billed in full. A call that ended early, whoever ended it, is billed its input and the output tokens
already written to the socket. A refused call (any HTTP error, a redirect, a foreign page) is billed nothing.
"""

from __future__ import annotations

import asyncio
import csv
import io
from collections import deque
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import IO

import msgspec

from providers.simulator.answers import Usage
from providers.simulator.catalogue import SimulatedModel

LINES_KEPT = 200_000
TOKENS_PER_PRICE = 1_000_000


class BillLine(msgspec.Struct, frozen=True):
    """``id`` is the id in the answer; ``outcome`` is ``complete``, ``disconnected`` (the client left) or ``reset`` (the
    simulator broke off). Token buckets are disjoint; ``key`` is a fingerprint. Times are seconds since 1970."""

    id: str
    client_request_id: str
    model: str
    key: str
    wire: str
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    reasoning_tokens: int
    cost_nano: int
    outcome: str
    stream: bool
    started_s: float
    finished_s: float


COLUMNS = BillLine.__struct_fields__


def cost_nano(model: SimulatedModel, usage: Usage) -> int:
    """Exact sum over the buckets, rounded once, half to even, to whole nano-dollars."""
    cached = model.input_nano_per_mtok if model.cache_read_nano_per_mtok is None else model.cache_read_nano_per_mtok
    reasoning = model.output_nano_per_mtok if model.reasoning_nano_per_mtok is None else model.reasoning_nano_per_mtok
    total = (
        usage.input_tokens * model.input_nano_per_mtok
        + usage.cached_tokens * cached
        + usage.output_tokens * model.output_nano_per_mtok
        + usage.reasoning_tokens * reasoning
    )
    return round(Fraction(total, TOKENS_PER_PRICE))


class Bill:
    """The last ``LINES_KEPT`` lines in memory and, when a file is named, all of them as JSON lines that survive a kill.

    An existing file is continued: its lines are on the bill again. ``grown`` is set at each new line.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.grown = asyncio.Event()
        self._file: IO[bytes] | None = None
        self._lines: deque[BillLine] = deque(maxlen=LINES_KEPT)
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._lines.extend(read_bill(path))
            self._file = path.open("ab", buffering=0)
            self._file.truncate(_whole_lines(path.read_bytes()))

    def add(self, line: BillLine) -> None:
        self._lines.append(line)
        self.grown.set()
        if self._file is not None:
            self._file.write(msgspec.json.encode(line) + b"\n")

    def lines(self, since_s: float = 0.0) -> list[BillLine]:
        """Lines finished at ``since_s`` or later, oldest first."""
        return [line for line in self._lines if line.finished_s >= since_s]

    def clear(self) -> None:
        self._lines.clear()
        if self._file is not None:
            self._file.truncate(0)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def read_bill(path: Path) -> list[BillLine]:
    """Lines of a bill file; a last line cut short by a kill is left out."""
    if not path.exists():
        return []
    written = path.read_bytes()
    return [msgspec.json.decode(line, type=BillLine) for line in written[: _whole_lines(written)].splitlines()]


def _whole_lines(written: bytes) -> int:
    """Bytes up to the end of the last whole line."""
    return written.rfind(b"\n") + 1


def as_csv(lines: Iterable[BillLine]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(msgspec.structs.astuple(line) for line in lines)
    return text.getvalue()
