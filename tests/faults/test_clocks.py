"""Clocks that jump, tremble or stand still: waits go by a clock that cannot jump, and no budget gives way (I16)."""

from __future__ import annotations

import ast
import asyncio
import random
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
import time_machine

from providers.clock import database_now
from providers.upstream.breaker import Breakers
from providers.upstream.errors import CircuitOpen, ServerFailed
from providers.upstream.transport import Deadline
from providers.upstream.types import RoutingSettings
from tests.architecture import source
from tests.usage.limits.world import limit
from tests.usage.world import assert_balanced, gateway_budget, reserve_order, settlement
from usage.budgets.quotas import states_of
from usage.ledger.front import BudgetExceeded, Ledger
from usage.limits.limiter import RateLimiter
from usage.limits.types import Ask
from usage.models import Attempt, BudgetPeriod, LedgerEntry, Period
from usage.tasks import sweep_orphans

pytestmark = pytest.mark.both_databases

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
JUMPS = [timedelta(hours=-1), timedelta(hours=1), timedelta(seconds=-1), timedelta(seconds=1), timedelta(days=-400), timedelta(days=400)]
INSTANTS = {
    "aigateway/alerts.py",  # a signature carries its time
    "aigateway/dialects/base.py",  # an answer says when it was made
    "providers/client.py",  # a provider's headers may hold dates
    "providers/upstream/transport/client.py",  # the same
    "usage/subscriptions/webhooks.py",  # a signature must be fresh
    *("aigateway/signin/own_tokens.py", "aigateway/signin/session_store.py", "aigateway/signin/tokens.py"),
}
"""Where the wall clock is asked because somebody else's clock is compared with it. Nothing waits by it."""
MONEY = (
    "usage/",
    "aigateway/gateway.py",
    "aigateway/runtime.py",
    "aigateway/trials/metered_calls.py",
    "providers/registry.py",
    "providers/prices/actions.py",
)
STAMPS = {
    "usage/keys/actions.py",  # when somebody revoked a key
    "usage/keys/admin.py",  # whether a key has expired
    "usage/exports/jobs.py",  # when a file was asked for and made
    "usage/limits/serializers.py",  # adds the seconds a limit still needs
    "usage/models/ledger.py",  # what a row has unless it is told
    "usage/reports/questions.py",  # which statistics the planner should have
    "usage/statements/actions.py",  # when a file was uploaded
}
"""Where this machine's clock only notes when a person did something. No call, price, period or seal goes by it."""
CLOSE = timedelta(seconds=30)


@pytest.mark.parametrize("jump", JUMPS)
def test_I16_a_circuit_and_a_deadline_do_not_see_the_wall_clock_jump(jump: timedelta) -> None:
    with time_machine.travel(NOON, tick=False) as wall:
        breakers, deadline = Breakers(RoutingSettings), Deadline(600)
        for _ in range(5):
            breakers.record(1, ServerFailed("down"))
        wall.shift(jump)
        with pytest.raises(CircuitOpen) as refused:
            breakers.admit(1)
        assert 50 < (refused.value.retry_after_s or 0) <= 60
        assert 590 < deadline.remaining_s() <= 600


@pytest.mark.parametrize("jump", JUMPS)
async def test_I16_a_rate_limit_counted_in_this_process_does_not_see_it_either(jump: timedelta) -> None:
    limiter, five = RateLimiter(None, 1), limit(5, window="hour")
    await limiter.start()
    with time_machine.travel(NOON, tick=False) as wall:
        before = [(await limiter.take((Ask(five, 1),))).admitted for _ in range(3)]
        wall.shift(jump)
        after = [(await limiter.take((Ask(five, 1),))).admitted for _ in range(3)]
    assert before + after == [True] * 5 + [False]
    await limiter.stop()


def test_I16_nothing_waits_by_the_wall_clock() -> None:
    asked = {
        source.name(path)
        for path in source.app_files()
        for node in ast.walk(source.tree(path))
        if isinstance(node, ast.Attribute) and node.attr == "time" and isinstance(node.value, ast.Name) and node.value.id == "time"
    }
    assert {name for name in asked if not name.startswith("providers/simulator/")} == INSTANTS


@pytest.mark.django_db(transaction=True)
def test_I16_each_day_admits_its_cap_and_no_more_however_the_clock_jumps_between_calls() -> None:
    """Whatever a call says it was dispatched at: it keeps its day although it is settled in another one."""
    budget, dice = gateway_budget(10, Period.DAY), random.Random(16)
    ledger, admitted = Ledger(), Counter[str]()
    ledger.start()

    async def call(at: datetime) -> None:
        order = reserve_order(1, [budget], dispatched_at=at)
        try:
            await ledger.reserve(order)
        except BudgetExceeded:
            admitted["refused"] += 1
            return
        admitted[f"{at:%Y-%m-%d}"] += 1
        await ledger.settle(settlement(order, basis="estimated"))

    async def run() -> None:
        for _ in range(60):
            at = NOON + timedelta(hours=dice.choice([-1, 0, 1, 24, -24]), seconds=dice.choice([-1, 0, 1]))
            await call(at)

    asyncio.run(run())
    assert ledger.stop(10)
    refused = admitted.pop("refused")
    assert refused > 0
    assert dict(admitted) == {row.key: row.posted_nano for row in BudgetPeriod.objects.all()}
    assert max(admitted.values()) == 10
    assert_balanced()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("jump", JUMPS)
def test_I16_calls_are_dispatched_by_the_databases_clock_whatever_this_machines_says(jump: timedelta, on_postgresql: bool) -> None:
    if not on_postgresql:
        pytest.skip("SQLite has no clock of its own")
    true_day = f"{database_now():%Y-%m-%d}"
    budget, ledger = gateway_budget(10, Period.DAY), Ledger()
    with time_machine.travel(datetime.now(UTC) + jump):
        ledger.read_clock()
        ledger.start()
        order = reserve_order(1, [budget], dispatched_at=ledger.now())
        asyncio.run(ledger.reserve(order))
        asyncio.run(ledger.settle(settlement(order, basis="estimated")))
        assert ledger.stop(10)
        assert [abs(at - database_now()) < CLOSE for at in LedgerEntry.objects.values_list("dispatched_at", "posted_at").get()] == [
            True,
            True,
        ]
        assert states_of([budget], database_now())[0].key == BudgetPeriod.objects.get().key
    assert BudgetPeriod.objects.get().key in (true_day, f"{database_now():%Y-%m-%d}")


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("jump", JUMPS)
def test_I16_a_sweeper_whose_clock_is_ahead_leaves_living_processes_alone(jump: timedelta, on_postgresql: bool) -> None:
    if not on_postgresql:
        pytest.skip("SQLite has no clock of its own")
    ledger = Ledger()
    ledger.start()
    asyncio.run(ledger.reserve(reserve_order(1)))
    with time_machine.travel(datetime.now(UTC) + jump):
        sweep_orphans()
    assert Attempt.objects.get().status == Attempt.Status.DISPATCHED
    assert ledger.stop(10)


def test_I16_nothing_that_counts_money_asks_this_machines_clock() -> None:
    asked = {
        source.name(path)
        for path in source.app_files()
        for node in ast.walk(source.tree(path))
        if isinstance(node, ast.Attribute) and node.attr in ("now", "today") and ast.unparse(node.value) in ("timezone", "datetime")
    }
    assert {name for name in asked if name.startswith(MONEY)} == STAMPS
