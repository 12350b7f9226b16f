"""Nothing billable lives in memory only, and nothing to pay always fits."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from tests.usage.world import assert_balanced, gateway_budget, reserve_order, settlement
from usage.ledger.front import BudgetExceeded, Ledger
from usage.models import Attempt, Budget, LedgerEntry

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("made_up_costs"), pytest.mark.both_databases]


@pytest.fixture
def ledger(transactional_db: None) -> Iterator[Ledger]:
    running = Ledger()
    running.start()
    yield running
    assert running.stop(10)


def test_M04_a_call_is_on_the_ledger_before_it_may_leave(ledger: Ledger) -> None:
    order = reserve_order(7)
    asyncio.run(ledger.reserve(order))
    assert Attempt.objects.get().status == Attempt.Status.DISPATCHED


def test_M04_settlements_of_callers_that_are_cancelled_at_the_end_of_the_process_are_posted(ledger: Ledger) -> None:
    orders = [reserve_order(7) for _ in range(50)]

    async def reserve_all() -> None:
        await asyncio.gather(*map(ledger.reserve, orders))

    async def settle_and_go() -> None:
        settling = [asyncio.ensure_future(ledger.settle(settlement(order, 5))) for order in orders]
        await asyncio.sleep(0)  # each has begun
        for task in settling:
            task.cancel()
        await asyncio.gather(*settling, return_exceptions=True)

    asyncio.run(reserve_all())
    asyncio.run(settle_and_go())
    assert ledger.stop(10)
    assert [line.cost_nano for line in LedgerEntry.objects.all()] == [5] * 50
    assert not Attempt.objects.filter(status=Attempt.Status.DISPATCHED).exists()
    assert_balanced()


def test_M08_what_costs_nothing_fits_a_budget_that_is_spent_beyond_its_cap(ledger: Ledger) -> None:
    budget = gateway_budget(10)
    order = reserve_order(10, [budget])
    asyncio.run(ledger.reserve(order))
    asyncio.run(ledger.settle(settlement(order, 10)))
    Budget.objects.update(cap_nano=4)
    asyncio.run(ledger.reserve(reserve_order(0, [budget])))
    with pytest.raises(BudgetExceeded):
        asyncio.run(ledger.reserve(reserve_order(1, [budget])))
