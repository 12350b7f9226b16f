"""Stands before the posting transaction: notes what each one is given, holds it up, or fails it as a database would."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress

from django.db import OperationalError

from usage.ledger import posting
from usage.ledger.posting import Outcome, PeriodIds, Work
from usage.ledger.sql.rows import ClosingRow
from usage.ledger.types import LedgerError, ReserveOrder
from usage.ledger.writer import LedgerWriter, Pending


class Transactions:
    """Takes the place of ``apply_batch`` in the writer. The real one runs unless a failure is due."""

    def __init__(self) -> None:
        self.works: list[Work] = []
        self.failures: deque[BaseException] = deque()
        """Of the next transactions, one each."""
        self.is_away = False
        self.hook: Callable[[Work], None] = lambda _: None
        self.entered = threading.Event()
        self.closing = threading.Event()
        """A batch with a closing was written."""
        self.gate = threading.Event()
        """While it is not set, transactions wait."""
        self.gate.set()

    def __call__(self, work: Work, known: PeriodIds) -> Outcome:
        self.works.append(work)
        self.entered.set()
        assert self.gate.wait(20)
        self.hook(work)
        if self.failures:
            raise self.failures.popleft()
        if self.is_away:
            raise OperationalError("the database is away")
        outcome = posting.apply_batch(work, known)
        if work.closings:
            self.closing.set()
        return outcome

    @property
    def sizes(self) -> list[int]:
        return [len(work.orders) + len(work.closings) for work in self.works]

    @property
    def closings(self) -> list[ClosingRow]:
        return [row for work in self.works for row in work.closings]

    def queue_behind_one(self, writer: LedgerWriter, first: ReserveOrder | ClosingRow, rest: Iterable[ReserveOrder | ClosingRow]) -> None:
        """``first`` is a transaction; ``rest`` waits for the next, which begins when this returns."""
        self.entered.clear()
        self.gate.clear()
        assert writer.submit(Pending(first))
        assert self.entered.wait(10)
        for each in rest:
            assert writer.submit(Pending(each))
        self.gate.set()


def answered(writer: LedgerWriter, operation: ReserveOrder | ClosingRow) -> Pending:
    """The operation once its caller had the answer, which is then in ``refusal``."""

    async def ask() -> Pending:
        loop = asyncio.get_running_loop()
        pending = Pending(operation, loop, loop.create_future())
        assert writer.submit(pending)
        assert pending.future is not None
        async with asyncio.timeout(20):
            with suppress(LedgerError):
                await pending.future
        return pending

    return asyncio.run(ask())
