"""Rate limits of several processes, and a Redis that goes away, forgets or remembers what is long past."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import redis

from tests.servers import PrivateRedis, free_port
from tests.usage.limits.world import limit
from usage.limits import limiter as limits
from usage.limits.limiter import RateLimiter
from usage.limits.redis_connection import RedisAway, RedisConnection, RedisRefused
from usage.limits.types import Ask, Limit, Verdict

PROCESSES = 4
PATIENCE_S = 30.0


@pytest.fixture
def server(tmp_path: Path) -> Iterator[PrivateRedis]:
    server = PrivateRedis(tmp_path)
    server.start()
    yield server
    server.stop()


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine is no failure here."""
    monkeypatch.setattr(limits, "RedisConnection", partial(RedisConnection, connect_s=PATIENCE_S, command_s=PATIENCE_S))
    monkeypatch.setattr(limits, "CONNECT_S", PATIENCE_S)
    monkeypatch.setattr(limits, "COMMAND_S", PATIENCE_S)


async def started(url: str | None, processes: int = 1) -> RateLimiter:
    limiter = RateLimiter(url, processes)
    await limiter.start()
    return limiter


async def take(limiter: RateLimiter, limit: Limit) -> Verdict:
    return await limiter.take((Ask(limit, 1),))


async def admitted(limiter: RateLimiter, limit: Limit, calls: int) -> int:
    return sum([(await take(limiter, limit)).admitted for _ in range(calls)])


def test_R501_processes_and_threads_together_admit_exactly_the_limit(server: PrivateRedis) -> None:
    words = [sys.executable, "-m", "tests.usage.limits.hammer", server.url, "4", "50"]
    env = {**os.environ, "DJANGO_SETTINGS_MODULE": "aigateway.settings"}
    hammers = [subprocess.Popen(words, env=env, stdout=subprocess.PIPE, text=True) for _ in range(PROCESSES)]
    counts = [[int(count) for count in hammer.communicate(timeout=100)[0].split()] for hammer in hammers]
    assert [sum(of_limit) for of_limit in zip(*counts, strict=True)] == [100, 100], f"of {PROCESSES * 4 * 50} calls each: {counts}"


async def test_I01_without_redis_each_process_counts_alone_and_looks_for_it_in_the_background(server: PrivateRedis) -> None:
    five = limit(5, window="hour")
    limiter = await started(server.url)
    assert await admitted(limiter, five, 3) == 3
    server.stop()
    assert await admitted(limiter, five, 7) == 5, "a count of its own"
    assert limiter.is_degraded
    server.start()
    connection = limiter._connection
    assert connection is not None
    await connection.connect()
    assert (await take(limiter, five)).is_shared
    assert not limiter.is_degraded
    await limiter.stop()


async def test_a_gateway_starts_without_redis(tmp_path: Path) -> None:
    limiter = await started(f"redis://127.0.0.1:{free_port()}/0")
    assert not (await take(limiter, limit(1))).is_shared
    await limiter.stop()


async def test_a_redis_that_does_not_answer_holds_up_one_call_for_its_deadline_and_no_other(
    server: PrivateRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "RedisConnection", RedisConnection)
    limiter = await started(server.url)
    with redis.Redis.from_url(server.url) as admin:
        admin.execute_command("CLIENT", "PAUSE", 5000, "ALL")
    assert not (await take(limiter, limit(1))).is_shared
    assert limiter._connection is not None
    assert not limiter._connection.is_connected
    await limiter.stop()


async def test_I03_a_flushed_redis_begins_anew_and_blocks_nobody(server: PrivateRedis) -> None:
    five = limit(5, window="hour")
    limiter = await started(server.url)
    assert await admitted(limiter, five, 6) == 5
    with redis.Redis.from_url(server.url) as admin:
        admin.flushall()
        admin.script_flush()
    assert await admitted(limiter, five, 6) == 5
    await limiter.stop()


@pytest.mark.parametrize("burst", [None, 5])
async def test_I04_counters_restored_from_long_ago_or_corrupted_block_nobody_for_longer_than_a_window(
    server: PrivateRedis, burst: int | None
) -> None:
    five = limit(5, burst=burst)
    limiter = await started(server.url)
    assert await admitted(limiter, five, 6) == 5
    with redis.Redis.from_url(server.url) as admin:
        [name] = admin.keys("*")
        shape = admin.hgetall(name)
        old = int(shape[b"at"]) - 10 * 3_600_000
        admin.hset(name, "at", old)
        if burst is None:
            slot = old // 500
            admin.hset(name, mapping={"first": slot, "last": slot, str(slot): 5, "used": 5})
        assert await admitted(limiter, five, 6) == 5
        admin.delete(name)
        admin.set(name, "no hash at all")
        assert not (await take(limiter, five)).is_shared, "this process decides alone meanwhile"
    await limiter.stop()


async def test_counters_leave_redis_when_nothing_counts_any_more(server: PrivateRedis) -> None:
    limiter = await started(server.url)
    await take(limiter, limit(5))
    await take(limiter, limit(60, burst=600))
    with redis.Redis.from_url(server.url) as admin:
        assert all(0 < admin.pttl(name) <= 121_000 for name in admin.keys("*"))
    await limiter.stop()


async def test_processes_without_redis_share_a_limit_evenly() -> None:
    limiter = await started(None, processes=4)
    assert await admitted(limiter, limit(100), 100) == 25
    taken = await limiter.take((Ask(limit(100, measure="tokens"), 80),))
    assert taken.admitted, "what is asked at once is no more than the share"
    assert (await limiter.book(taken, 10)).states[0].remaining == 15


async def test_pages_see_what_redis_counts_and_this_process_while_it_is_away(server: PrivateRedis) -> None:
    five = limit(5, window="hour")
    limiter = await started(server.url)
    await take(limiter, five)
    assert [state.remaining for state in limiter.look_now([five])] == [4]
    assert limiter.look_now([]) == ()
    server.stop()
    assert await admitted(limiter, five, 3) == 3
    assert [state.remaining for state in limiter.look_now([five])] == [2]
    assert await limiter.book(Verdict(True, (), (), is_shared=True), 5) is None
    await limiter.stop()


def test_a_process_without_a_data_plane_sees_limits_too(monkeypatch: pytest.MonkeyPatch, settings: object) -> None:
    settings.REDIS_URL = None
    monkeypatch.setattr(limits, "_serving", [])
    assert [state.remaining for state in limits.states_now([limit(5)])] == [5]


# --------------------------------------------------------------------------- the connection


async def test_a_password_and_a_database_are_used_and_a_wrong_password_is_no_connection(server: PrivateRedis) -> None:
    with redis.Redis.from_url(server.url) as admin:
        admin.config_set("requirepass", "canary")
    connection = RedisConnection(f"redis://:canary@127.0.0.1:{server.port}/3")
    await connection.connect()
    assert await connection.execute("SET", "name", "value") == b"OK"
    with pytest.raises(RedisRefused, match="unknown command"):
        await connection.execute("NONSENSE")
    await connection.close()
    with pytest.raises(RedisAway):
        await connection.execute("GET", "name")
    wrong = RedisConnection(f"redis://:wrong@127.0.0.1:{server.port}/3")
    with pytest.raises(RedisRefused, match="WRONGPASS"):
        await wrong.connect()
    await wrong.close()
    with redis.Redis(port=server.port, password="canary", db=3) as admin:
        assert admin.get("name") == b"value"
