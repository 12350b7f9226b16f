"""Clocks that jump, tremble or stand still: waits go by a clock that cannot jump, and no budget gives way (I16)."""

from __future__ import annotations

import ast
import asyncio
import random
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
import time_machine

from providers.upstream.breaker import Breakers
from providers.upstream.errors import CircuitOpen, ServerFailed
from providers.upstream.transport import Deadline
from providers.upstream.types import RoutingSettings
from tests.architecture import source
from tests.usage.limit_world import limit
from tests.usage.world import assert_balanced, gateway_budget, reserve_order, settlement
from usage.ledger import BudgetExceeded, Ledger
from usage.limit_types import Ask
from usage.limits import RateLimiter
from usage.models import BudgetPeriod, Period

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
JUMPS = [timedelta(hours=-1), timedelta(hours=1), timedelta(seconds=-1), timedelta(seconds=1), timedelta(days=-400), timedelta(days=400)]
INSTANTS = {
    "aigateway/alerts.py",  # a signature carries its time
    "aigateway/dialects/base.py",  # an answer says when it was made
    "providers/client.py",  # a provider's headers may hold dates
    "providers/upstream/transport/client.py",  # the same
    "usage/webhooks.py",  # a signature must be fresh
}
"""Where the wall clock is asked because somebody else's clock is compared with it. Nothing waits by it."""


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
    """Days begin and end by the clock of who dispatches; a call keeps its day although it is settled in another one."""
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
        await ledger.settle(settlement(order))

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
