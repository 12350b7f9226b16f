"""Settlements on disk while the database is away, so that a crash does not turn what was measured into an estimate.

One file per process, one JSON row per line, synced before the client is answered. A process takes over the files of dead ones
when it starts; posting is idempotent, so a row replayed twice counts once.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final
from uuid import UUID

import msgspec
import structlog

from usage.ledger.sql.rows import ClosingRow

SUFFIX: Final = ".settlements"
log = structlog.get_logger(__name__)


class Spool:
    """The file of one process. Used by the ledger writer's thread only."""

    def __init__(self, folder: Path, process_id: UUID) -> None:
        self._folder = folder
        self._path = folder / f"{process_id.hex}{SUFFIX}"
        self._file: int | None = None

    def add(self, rows: Iterable[ClosingRow]) -> None:
        """Appends and syncs. Raises ``OSError``; then nothing may be taken for kept."""
        block = b"".join(msgspec.json.encode(row) + b"\n" for row in rows)
        if block:
            handle = self._open()
            view = memoryview(block)
            while view:
                view = view[os.write(handle, view) :]
            os.fsync(handle)

    def clear(self) -> None:
        """Everything in it was posted."""
        if self._file is not None:
            self._path.unlink(missing_ok=True)
            self.release()

    def release(self) -> None:
        """Leaves the file, and what is in it, to whoever starts next."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def adopt(self) -> list[ClosingRow]:
        """The rows that dead processes left, now in this one's own file as well; their files are gone afterwards.

        A file that cannot be taken over stays for the next process and keeps nobody from the others.
        """
        rows: list[ClosingRow] = []
        for path in sorted(self._folder.glob(f"*{SUFFIX}")) if self._folder.is_dir() else ():
            try:
                rows += self._adopt_one(path) if path != self._path else []
            except OSError as error:
                log.error("settlements on disk could not be read", file=path.name, error=type(error).__name__)
        return rows

    def _adopt_one(self, path: Path) -> list[ClosingRow]:
        try:
            handle = os.open(path, os.O_RDWR)
        except FileNotFoundError:
            return []
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            rows = [*_rows_of(path)]
            self.add(rows)
            path.unlink(missing_ok=True)
        except (BlockingIOError, FileNotFoundError):  # its process lives, or another one has just taken it over
            return []
        finally:
            os.close(handle)
        log.warning("settlements of a dead process taken over", count=len(rows))
        return rows

    def _open(self) -> int:
        if self._file is None:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            folder = os.open(self._folder, os.O_RDONLY)
            os.fsync(folder)  # the name of the file has to survive as well
            os.close(folder)
        return self._file


def _rows_of(path: Path) -> Iterator[ClosingRow]:
    """Whole rows only: the last line may have been cut off by the crash, before anybody was told that it was kept."""
    for line in path.read_bytes().splitlines():
        try:
            yield msgspec.json.decode(line, type=ClosingRow)
        except (msgspec.DecodeError, UnicodeDecodeError):
            log.warning("a torn row of a spool was left out", file=path.name)
