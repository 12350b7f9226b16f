"""Money is never decided from Redis: emptied, put back to an old state or filled with nonsense, it changes no admission (I03, I04)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import redis
from django.contrib.auth.models import User

from providers.models import Price
from tests.aigateway.conftest import LiveGateway, deployment, register_simulator
from tests.providers.simulator.fixtures import SimulatorHandle
from tests.servers import PrivateRedis
from usage.budgets import actions
from usage.ledger.verification import verify_ledger
from usage.limits.actions import set_rate_limit
from usage.models import Budget, BudgetPeriod, Period

pytestmark = pytest.mark.django_db(transaction=True)

CALLS, FIT, NANO = 60, 20, 1_000_000


@pytest.fixture
def server(tmp_path: Path) -> Iterator[PrivateRedis]:
    server = PrivateRedis(tmp_path)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def capped(
    start_gateway: Callable[[], LiveGateway], simulator: SimulatorHandle, user: User, server: PrivateRedis, settings: object
) -> LiveGateway:
    """A gateway on a Redis of its own, a budget worth twenty calls, and a rate limit so that Redis has something to forget."""
    settings.REDIS_URL = server.url
    register_simulator(simulator)
    flat = {"input_nano_per_mtok": 0, "output_nano_per_mtok": 0, "request_nano": NANO}  # what is held is what it costs
    Price.objects.create(deployment=deployment("sim-small"), source="test", **flat)
    set_rate_limit("user", user, "requests", "hour", 10_000)
    actions.set_budget(Budget.Scope.USER, user, Period.TOTAL, actions.Limits(NANO * (FIT + 1)))
    gateway = start_gateway()
    assert gateway.chat().status_code == 200
    return gateway


def flush(server: redis.Redis, first: dict[bytes, bytes]) -> None:
    server.flushall()


def restore(server: redis.Redis, first: dict[bytes, bytes]) -> None:
    for name, state in first.items():
        server.restore(name, 0, state, replace=True)


def corrupt(server: redis.Redis, first: dict[bytes, bytes]) -> None:
    for name in server.keys("*"):
        server.delete(name)
        server.set(name, "no counter at all")


@pytest.mark.parametrize("harm", [flush, restore, corrupt])
def test_I03_I04_a_budget_admits_exactly_its_worth_whatever_happens_to_redis(
    capped: LiveGateway, server: PrivateRedis, simulator: SimulatorHandle, harm: Callable[[redis.Redis, dict[bytes, bytes]], None]
) -> None:
    over = threading.Event()
    with redis.Redis.from_url(server.url) as admin:
        first = {name: admin.dump(name) for name in admin.keys("*")}
        assert first, "nothing to harm"

        def go_on_harming() -> int:
            times = 0
            while not over.wait(0.01):
                harm(admin, first)
                times += 1
            return times

        with ThreadPoolExecutor(13) as pool:
            harming = pool.submit(go_on_harming)
            statuses = list(pool.map(lambda _: capped.chat().status_code, range(CALLS)))
            over.set()
            assert harming.result() > 3
    assert sorted(set(statuses)) == [200, 402]
    assert statuses.count(200) == FIT
    assert len(simulator.journal()) == FIT + 1
    period = BudgetPeriod.objects.get(budget__scope=Budget.Scope.USER)
    assert (period.posted_nano, period.held_nano) == (NANO * (FIT + 1), 0)
    assert list(verify_ledger()) == []
