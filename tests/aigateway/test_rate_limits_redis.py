"""Rate limits through the running gateway while Redis is killed, forgets, or comes back with old counters: every answer is a 200 or
the limit's own 429, and once Redis is back it counts again without anybody's help."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from django.contrib.auth.models import User

from aigateway.process import health
from tests.aigateway.conftest import LiveGateway, register_simulator
from tests.load.redis_faults import FaultyRedis
from tests.providers.simulator.fixtures import SimulatorHandle
from usage.limits import limiter
from usage.limits.actions import set_rate_limit
from usage.limits.redis_connection import RedisConnection
from usage.models import LedgerEntry

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]

LIMIT = 5
PATIENCE_S = 10.0


@pytest.fixture
def server(tmp_path: Path) -> Iterator[FaultyRedis]:
    server = FaultyRedis(tmp_path)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def limited(
    server: FaultyRedis,
    start_gateway: Callable[[], LiveGateway],
    simulator: SimulatorHandle,
    user: User,
    settings: object,
    monkeypatch: pytest.MonkeyPatch,
) -> LiveGateway:
    """A gateway that counts in ``server``; its user may ask so many times an hour. A busy machine is no Redis that is away."""
    monkeypatch.setattr(limiter, "RedisConnection", partial(RedisConnection, connect_s=PATIENCE_S, command_s=PATIENCE_S))
    monkeypatch.setattr(health, "COMMAND_S", PATIENCE_S)
    settings.REDIS_URL = server.url
    register_simulator(simulator)
    set_rate_limit("user", user, "requests", "hour", LIMIT)
    return start_gateway()


def statuses(gateway: LiveGateway, calls: int) -> list[int]:
    return [gateway.chat().status_code for _ in range(calls)]


def left(gateway: LiveGateway) -> int:
    """What the gateway says is left. Asking consumes nothing."""
    answer = gateway.client.get("/v1/models")
    assert answer.status_code == 200
    return int(answer.headers["X-RateLimit-Remaining-Requests"])


def until(condition: Callable[[], bool], reason: str) -> None:
    pause = threading.Event()
    for _ in range(500):
        if condition():
            return
        pause.wait(0.02)
    raise AssertionError(reason)


def readiness(gateway: LiveGateway) -> str:
    answer = gateway.client.get("/readyz")
    assert answer.status_code == 200
    return str(answer.json()["checks"]["redis"])


def test_I03_a_flushed_redis_gives_one_window_more_and_nothing_else(limited: LiveGateway, server: FaultyRedis) -> None:
    assert statuses(limited, LIMIT + 1) == [200] * LIMIT + [429]
    server.flush()
    assert statuses(limited, LIMIT + 1) == [200] * LIMIT + [429]
    assert readiness(limited) == "ok"
    assert LedgerEntry.objects.count() == 2 * LIMIT


def test_I03_I04_a_redis_restored_from_an_old_snapshot_goes_on_from_there(limited: LiveGateway, server: FaultyRedis) -> None:
    assert statuses(limited, 2) == [200, 200]
    server.remember()
    assert statuses(limited, LIMIT - 1) == [200] * (LIMIT - 2) + [429]
    server.kill()
    server.start_from_old_snapshot()
    until(lambda: left(limited) == LIMIT - 2, "the old counters are not seen")
    again = [limited.chat() for _ in range(LIMIT - 1)]
    assert [answer.status_code for answer in again] == [200] * (LIMIT - 2) + [429]
    assert not [answer for answer in again if "X-Gateway-Degraded" in answer.headers]


def test_I01_a_killed_redis_is_counted_without_and_found_again_when_it_is_back(limited: LiveGateway, server: FaultyRedis) -> None:
    assert statuses(limited, 1) == [200]
    server.kill()
    assert readiness(limited) == "unreachable"
    alone = [limited.chat() for _ in range(LIMIT + 1)]
    assert [answer.status_code for answer in alone] == [200] * LIMIT + [429]
    assert all("rate limits" in answer.headers["X-Gateway-Degraded"] for answer in alone[:LIMIT])
    server.start_empty()
    until(lambda: left(limited) == LIMIT, "Redis was not found again")
    back = limited.chat()
    assert (back.status_code, "X-Gateway-Degraded" in back.headers) == (200, False)
    assert left(limited) == LIMIT - 1
    with server.client() as admin:
        assert len(admin.keys("*limit*")) == 1
