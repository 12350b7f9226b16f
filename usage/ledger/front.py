"""The ledger's front door: reserve before a call leaves, settle or void when it is over.

``Ledger`` serves event loops and is what the data plane uses, one per process. The ``*_now`` functions post at once on the
calling thread's own connection, for control-plane code.
"""

from __future__ import annotations

import asyncio
import os
import socket
import uuid
from datetime import datetime, timedelta
from typing import Final

import structlog

from providers import clock
from usage.ledger.posting import Work, apply_batch, closing_row
from usage.ledger.types import (
    AttemptConflict,
    BudgetExceeded,
    BudgetRef,
    LedgerError,
    LedgerUnavailable,
    ReserveOrder,
    Settlement,
    StaleConfiguration,
    UnpricedTarget,
    Void,
)
from usage.ledger.writer import LedgerWriter, Pending
from usage.models import GatewayProcess

RESERVE_WAIT_S: Final = 5.0
"""A reservation that takes longer is given up (and voided, should it be made later)."""
SETTLE_WAIT_S: Final = 2.0
"""A settlement is awaited for this long at most; it stays queued and is posted when the database allows."""
CONTROL_LEASE: Final = timedelta(minutes=10)
"""How long an attempt of the control plane, which sends no heartbeats, may stay open before the sweeper takes it."""

log = structlog.get_logger(__name__)


class Ledger:
    """One per process, shared by its event loops. Start it after forking."""

    def __init__(self) -> None:
        self.process_id = uuid.uuid4()
        self._writer = LedgerWriter(self.process_id)

    @property
    def is_running(self) -> bool:
        """Whether reservations are taken; says nothing of the database."""
        return self._writer.is_open

    def read_clock(self) -> None:
        """Looks at the database's clock; every posting does so, too. Blocks; raises ``django.db.Error``."""
        self._writer.clock.set(clock.read())

    def now(self) -> datetime:
        """The database's time, by which calls are dispatched: no machine's own clock moves a call to another period."""
        return self._writer.clock.now()

    def start(self) -> None:
        """Starts the writer thread, the heartbeat and the periodic sweep."""
        self._writer.start()

    def stop(self, timeout_s: float) -> bool:
        """Posts everything queued and signs the process off; ``False`` if that took longer. Blocks: call it from a thread.

        New reservations are refused from now on; settlements are still taken until the queue is empty.
        """
        return self._writer.stop(timeout_s)

    async def reserve(self, order: ReserveOrder) -> None:
        """Holds ``order.hold_nano`` on every budget of the order and records the attempt, durably, or raises.

        Raises ``BudgetExceeded``, ``StaleConfiguration``, ``UnpricedTarget``, ``AttemptConflict`` or ``LedgerUnavailable``. If
        the awaiting task is cancelled, the hold is returned even when the reservation had been made.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        pending = Pending(order, loop, future)
        if not self._writer.submit(pending):
            raise LedgerUnavailable("the ledger is not running")
        try:
            async with asyncio.timeout(RESERVE_WAIT_S):
                await future
        except TimeoutError as error:
            self._writer.abandon(pending)
            raise LedgerUnavailable("the ledger did not answer in time") from error
        except asyncio.CancelledError:
            self._writer.abandon(pending)
            raise

    async def settle(self, settlement: Settlement) -> None:
        """Posts one line and returns the rest of the hold. Never raises for the database's sake.

        The settlement is queued before the first suspension, so cancelling the caller does not lose it. Settling a settled
        or voided attempt changes nothing; settling one the sweeper estimated posts the difference as a correction.
        """
        await self._close(settlement)

    async def void(self, void: Void) -> None:
        """Returns the whole hold of a call that cost nothing; otherwise as ``settle``."""
        await self._close(void)

    async def _close(self, closing: Settlement | Void) -> None:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        if not self._writer.submit(Pending(closing_row(closing), loop, future)):
            log.error("ledger closing refused, the ledger is not running", attempt_id=closing.attempt_id.hex)
            return
        try:
            async with asyncio.timeout(SETTLE_WAIT_S):
                await future
        except TimeoutError:
            log.warning("ledger closing delayed", attempt_id=closing.attempt_id.hex)


_CONTROL_PROCESS: Final = uuid.uuid4()


def reserve_now(order: ReserveOrder) -> None:
    """``Ledger.reserve`` in one transaction on this thread's connection; raises the same refusals and ``django.db.Error``.

    The attempt must be closed within ``CONTROL_LEASE``, or the sweeper estimates it.
    """
    now = clock.database_now()
    GatewayProcess.objects.update_or_create(
        id=_CONTROL_PROCESS,
        defaults={"heartbeat_at": now + CONTROL_LEASE},
        create_defaults={"host": socket.gethostname()[:100], "pid": os.getpid(), "heartbeat_at": now + CONTROL_LEASE},
    )
    refusal = apply_batch(Work(_CONTROL_PROCESS, now, orders=[order]), {}).refusals.get(order.attempt_id)
    if refusal is not None:
        raise refusal


def settle_now(settlement: Settlement) -> None:
    """``Ledger.settle`` in one transaction on this thread's connection; raises ``django.db.Error``."""
    apply_batch(Work(_CONTROL_PROCESS, clock.database_now(), closings=[closing_row(settlement)]), {})


def void_now(void: Void) -> None:
    """``Ledger.void`` in one transaction on this thread's connection; raises ``django.db.Error``."""
    apply_batch(Work(_CONTROL_PROCESS, clock.database_now(), closings=[closing_row(void)]), {})


__all__ = [
    "AttemptConflict",
    "BudgetExceeded",
    "BudgetRef",
    "Ledger",
    "LedgerError",
    "LedgerUnavailable",
    "ReserveOrder",
    "Settlement",
    "StaleConfiguration",
    "UnpricedTarget",
    "Void",
    "reserve_now",
    "settle_now",
    "void_now",
]
