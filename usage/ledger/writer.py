"""The one thread of a process that posts: whatever has queued up becomes the next transaction (natural group commit).

It keeps the process's heartbeat and sweeps orphans, so neither depends on Celery.
"""

from __future__ import annotations

import asyncio
import os
import socket
import threading
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Final
from uuid import UUID

import structlog
from django.conf import settings
from django.db import Error, IntegrityError, InterfaceError, OperationalError, connection
from msgspec.structs import replace

from providers import clock
from usage.ledger.posting import BatchConflict, CommitUncertain, Outcome, PeriodIds, Work, apply_batch, closing_row
from usage.ledger.spool import Spool
from usage.ledger.sql.rows import ClosingRow
from usage.ledger.sweeper import sweep
from usage.ledger.types import ESTIMATED, MEASURED, LedgerError, LedgerUnavailable, ReserveOrder, Void
from usage.models import GatewayProcess

BATCH_MAX: Final = 64
UNPOSTED_MAX: Final = 20_000
"""Closings kept in memory and on disk for another try while the database is away; beyond it they are left to the sweeper."""
SPOOL_FOLDER: Final = "spool"
HEARTBEAT_S: Final = 5.0
SWEEP_S: Final = 10.0
RETRY_DELAYS_S: Final = (0.02, 0.1, 0.4)
"""Waits between the tries of one batch; its reservations are refused after the last."""
UNPOSTED_RETRY_S: Final = 0.5
DOUBTED_NOTE: Final = "the database computed another cost from the usage"

log = structlog.get_logger(__name__)


class Pending:
    """One queued operation and the future its caller awaits, if there still is one."""

    __slots__ = ("abandoned", "done", "future", "loop", "operation", "refusal", "spooled")

    def __init__(
        self,
        operation: ReserveOrder | ClosingRow,
        loop: asyncio.AbstractEventLoop | None = None,
        future: asyncio.Future[None] | None = None,
    ) -> None:
        self.operation = operation
        self.loop = loop
        self.future = future
        self.done = False
        self.abandoned = False
        self.spooled = False
        self.refusal: LedgerError | None = None


class LedgerWriter:
    """Queue and thread. All methods but ``_run`` and what it calls belong to other threads."""

    def __init__(self, process_id: UUID) -> None:
        self.process_id = process_id
        self._ready = threading.Condition()
        self._queue: deque[Pending] = deque()
        self._open = False
        self._stop_at: float | None = None
        self._halt = threading.Event()
        self._thread: threading.Thread | None = None
        self.clock = clock.CarriedClock()
        self._registered = False
        self._known: PeriodIds = {}
        self._unposted: deque[Pending] = deque()
        self._spool = Spool(Path(settings.VAR_DIR) / SPOOL_FOLDER, process_id)
        self._in_flight: list[Pending] = []
        self._retry_at = 0.0
        self._beat_at = 0.0
        self._sweep_at = 0.0
        self._failing = False

    # ------------------------------------------------------------------ for callers

    @property
    def is_open(self) -> bool:
        return self._open and self._stop_at is None

    def start(self) -> None:
        with self._ready:
            if self._thread is not None:
                raise RuntimeError("a ledger writer starts once")
            self._open = True
            self._thread = threading.Thread(target=self._run, name="ledger-writer", daemon=True)
        self._thread.start()

    def stop(self, timeout_s: float) -> bool:
        """Posts everything queued, marks the process stopped and ends the thread; ``False`` if it took too long."""
        if self._thread is None:
            return True
        with self._ready:
            self._stop_at = time.monotonic() + timeout_s
            self._halt.set()
            self._ready.notify()
        self._thread.join(timeout_s + 1)
        return not self._thread.is_alive()

    def submit(self, pending: Pending) -> bool:
        """Queues an operation; ``False`` when the writer takes none any more."""
        with self._ready:
            stopping = self._stop_at is not None and isinstance(pending.operation, ReserveOrder)
            if not self._open or stopping:
                return False
            self._queue.append(pending)
            self._ready.notify()
            return True

    def abandon(self, pending: Pending) -> None:
        """The caller of a reservation is gone: it is dropped if still queued, else voided once it was made."""
        with self._ready:
            pending.abandoned = True
            if pending.done and pending.refusal is None:
                self._void_locked(pending)

    # ------------------------------------------------------------------ the thread

    def _run(self) -> None:
        try:
            self._adopt()
            while (batch := self._take()) is not None:
                self._in_flight = batch
                if batch:
                    self._commit(batch)
                self._in_flight = []
                if not self._unposted:
                    self._spool.clear()
                self._keep_house()
            self._say_goodbye()
        finally:
            self._refuse_rest()
            self._spool.release()
            connection.close()

    def _take(self) -> list[Pending] | None:
        """What is queued, up to the batch size; nothing when house-keeping is due; ``None`` at the end."""
        with self._ready:
            while True:
                now = time.monotonic()
                if self._stop_at is not None and (now >= self._stop_at or not (self._queue or self._unposted)):
                    self._open = False
                    return None
                batch = self._pop_batch(now)
                wait_s = self._next_wake() - now
                if batch or wait_s <= 0:
                    return batch
                self._ready.wait(wait_s)

    def _pop_batch(self, now: float) -> list[Pending]:
        batch: list[Pending] = []
        while self._unposted and now >= self._retry_at and len(batch) < BATCH_MAX:
            batch.append(self._unposted.popleft())
        while self._queue and len(batch) < BATCH_MAX:
            pending = self._queue.popleft()
            if not pending.abandoned:
                batch.append(pending)
        return batch

    def _next_wake(self) -> float:
        deadlines = [self._beat_at, self._sweep_at]
        if self._unposted:
            deadlines.append(self._retry_at)
        if self._stop_at is not None:
            deadlines.append(self._stop_at)
        return min(deadlines)

    def _commit(self, batch: Sequence[Pending]) -> None:
        """Applies a batch, one transaction if all is well. Tries again where that can help, one by one where one is bad."""
        uncertain = False
        for delay_s in (None,) if self._failing else (None, *RETRY_DELAYS_S):
            if delay_s is not None:
                self._halt.wait(delay_s)
            try:
                outcome = self._apply(batch)
            except (CommitUncertain, OperationalError, InterfaceError) as error:
                uncertain = uncertain or isinstance(error, CommitUncertain)
                self._note_failure("ledger batch failed", error)
            except (BatchConflict, Error, ValueError, TypeError, OverflowError) as error:
                self._note_failure("ledger batch refused", error)
                self._isolate(batch, error)
                return
            else:
                self._failing = False
                self._finish(batch, outcome)
                return
        self._failing = True
        self._give_up(batch, uncertain)

    def _apply(self, batch: Sequence[Pending]) -> Outcome:
        if not self._registered:
            self._beat()
        orders = [each.operation for each in batch if isinstance(each.operation, ReserveOrder)]
        closings = [each.operation for each in batch if isinstance(each.operation, ClosingRow)]
        outcome = apply_batch(Work(self.process_id, self.clock.now(), orders, closings), self._known)
        self.clock.set(outcome.reading)
        return outcome

    def _isolate(self, batch: Sequence[Pending], error: Exception) -> None:
        """One operation spoils its batch: the others must not suffer. A lone closing that is refused is left to the sweeper.

        Unless the database only denies that the cost is measured (``usage.ledger.cost_guard``): then it is booked as an estimate.
        """
        lone = batch[0].operation
        if len(batch) > 1:
            for each in batch:
                self._commit([each])
        elif isinstance(lone, ReserveOrder):
            self._refuse(batch, LedgerUnavailable("the database refused the reservation"))
        elif isinstance(error, IntegrityError) and lone.cost_nano is not None and lone.basis == MEASURED:
            log.error("ledger line booked as an estimate, its cost does not follow from its usage", attempt_id=lone.attempt_id)
            batch[0].operation = replace(lone, basis=ESTIMATED, status="estimated", note=DOUBTED_NOTE)
            self._commit(batch)
        else:
            log.error("ledger closing refused", attempt_id=lone.attempt_id)
            self._finish(batch, Outcome())

    def _finish(self, batch: Sequence[Pending], outcome: Outcome) -> None:
        with self._ready:
            for pending in batch:
                pending.done = True
                if isinstance(pending.operation, ReserveOrder):
                    pending.refusal = outcome.refusals.get(pending.operation.attempt_id)
                    if pending.abandoned and pending.refusal is None:
                        self._void_locked(pending)
        self._deliver(batch)

    def _give_up(self, batch: Sequence[Pending], uncertain: bool) -> None:
        """Reservations are refused (and voided, should they have been written after all); closings wait for a better time."""
        orders = [each for each in batch if isinstance(each.operation, ReserveOrder)]
        self._refuse(orders, LedgerUnavailable("the database did not answer"))
        closings = [each for each in batch if isinstance(each.operation, ClosingRow)]
        voids = [Pending(closing_row(Void(each.operation.attempt_id))) for each in orders if isinstance(each.operation, ReserveOrder)]
        waiting = [*closings, *(voids if uncertain else ())]
        with self._ready:
            self._retry_at = time.monotonic() + UNPOSTED_RETRY_S
            room = UNPOSTED_MAX - len(self._unposted)
            # What is on disk stays: that file is removed once nothing is waiting any more.
            kept = [each for position, each in enumerate(waiting) if position < room or each.spooled]
            self._unposted.extend(kept)
        for each in (each for each in waiting if each not in kept):
            log.error("ledger closing dropped, the sweeper will estimate it", attempt_id=each.operation.attempt_id)
        self._keep_on_disk(kept)
        self._deliver(closings)

    def _keep_on_disk(self, kept: Sequence[Pending]) -> None:
        """Once each, however often it is tried again. Without a disk they are in memory only, as loud as can be."""
        fresh = [each for each in kept if not each.spooled]
        try:
            self._spool.add(each.operation for each in fresh if isinstance(each.operation, ClosingRow))
        except OSError as error:
            log.error("ledger closings are in memory only", error=type(error).__name__, count=len(fresh))
            return
        for each in fresh:
            each.spooled = True

    def _adopt(self) -> None:
        try:
            rows = self._spool.adopt()
        except OSError as error:
            log.error("settlements on disk could not be read", error=type(error).__name__)
            return
        adopted = [Pending(row) for row in rows]
        for each in adopted:
            each.spooled = True
        with self._ready:
            self._unposted.extend(adopted)

    def _refuse(self, batch: Sequence[Pending], refusal: LedgerError) -> None:
        with self._ready:
            for pending in batch:
                pending.done = True
                pending.refusal = refusal
        self._deliver(batch)

    def _void_locked(self, pending: Pending) -> None:
        """Queues the void of a reservation nobody waits for any more. The condition's lock is held."""
        if isinstance(pending.operation, ReserveOrder):
            self._queue.append(Pending(closing_row(Void(pending.operation.attempt_id, error_code="cancelled"))))
            self._ready.notify()

    def _deliver(self, batch: Sequence[Pending]) -> None:
        """Wakes the callers: one call per event loop, whatever the batch size."""
        by_loop: dict[asyncio.AbstractEventLoop, list[Pending]] = {}
        for pending in batch:
            if pending.loop is not None:
                by_loop.setdefault(pending.loop, []).append(pending)
        for loop, waiting in by_loop.items():
            try:
                loop.call_soon_threadsafe(_wake, waiting)
            except RuntimeError:  # the loop is closed: nobody is left to make the call
                for pending in waiting:
                    self.abandon(pending)

    # ------------------------------------------------------------------ house-keeping

    def _keep_house(self) -> None:
        now = time.monotonic()
        connection.queries_log.clear()  # with DEBUG on, Django keeps every statement with its values
        try:
            if now >= self._beat_at:
                self._beat_at = now + HEARTBEAT_S
                self._beat()
            if now >= self._sweep_at:
                self._sweep_at = now + SWEEP_S
                swept = sweep(self.clock.now())
                if swept:
                    log.warning("orphaned attempts estimated", count=swept)
        except (CommitUncertain, BatchConflict, Error) as error:
            self._note_failure("ledger house-keeping failed", error)

    def _beat(self, *, is_last: bool = False) -> None:
        self.clock.set(clock.read())
        now = self.clock.now()
        stopped_at = now if is_last else None
        GatewayProcess.objects.update_or_create(
            id=self.process_id,
            defaults={"heartbeat_at": now, "stopped_at": stopped_at},
            create_defaults={
                "host": socket.gethostname()[:100],
                "pid": os.getpid(),
                "started_at": now,
                "heartbeat_at": now,
                "stopped_at": stopped_at,
            },
        )
        self._registered = True

    def _say_goodbye(self) -> None:
        try:
            self._beat(is_last=True)
        except Error as error:
            self._note_failure("ledger could not sign off", error)

    def _refuse_rest(self) -> None:
        """Whatever ended the thread, nobody waits for ever: attempts left open are estimated by another process's sweeper."""
        with self._ready:
            self._open = False
            rest = [*(each for each in self._in_flight if not each.done), *self._queue, *self._unposted]
        if rest:
            log.error("ledger stopped with unposted operations", count=len(rest))
        self._refuse([each for each in rest if isinstance(each.operation, ReserveOrder)], LedgerUnavailable("the ledger has stopped"))
        self._deliver([each for each in rest if isinstance(each.operation, ClosingRow)])

    def _note_failure(self, event: str, error: BaseException) -> None:
        """Logs without values and drops the connection: whatever state it is in, the next one is sound."""
        cause = error.__cause__
        log.warning(event, error=type(error).__name__, cause=type(cause).__name__ if cause else None)
        connection.close()


def _wake(batch: Sequence[Pending]) -> None:
    """Runs in the callers' event loop."""
    for pending in batch:
        future = pending.future
        if future is None or future.done():
            continue
        if pending.refusal is None:
            future.set_result(None)
        else:
            future.set_exception(pending.refusal)
