"""The limiter of one process: where it counts, what it says of that, and what it puts right afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.servers import PrivateRedis, free_port
from tests.usage.limit_world import limit
from usage import limits
from usage.limit_types import Ask
from usage.limits import RateLimiter
from usage.redis_connection import RedisConnection

PATIENCE_S = 30.0


class Said:
    """A logger that remembers."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, dict[str, str]]] = []

    def warning(self, event: str, **words: str) -> None:
        self.lines.append((event, words))

    info = warning


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> Said:
    """A busy machine is no failure here."""
    monkeypatch.setattr(limits, "RedisConnection", partial(RedisConnection, connect_s=PATIENCE_S, command_s=PATIENCE_S))
    said = Said()
    monkeypatch.setattr(limits, "log", said)
    return said


@pytest.fixture
def server(tmp_path: Path) -> Iterator[PrivateRedis]:
    server = PrivateRedis(tmp_path)
    server.start()
    yield server
    server.stop()


async def test_I01_it_says_once_that_it_counts_alone_and_once_that_it_no_longer_does(said: Said, server: PrivateRedis) -> None:
    five = limit(5, window="hour")
    limiter = RateLimiter(server.url)
    await limiter.start()
    assert not limiter.is_degraded
    server.stop()
    for _ in range(3):
        await limiter.take((Ask(five, 1),))
    assert [(event, words["error"]) for event, words in said.lines] == [("rate_limits_counted_alone", "RedisAway")]
    server.start()
    assert limiter._connection is not None
    await limiter._connection.connect()
    for _ in range(2):
        assert (await limiter.take((Ask(five, 1),))).is_shared
    assert said.lines[1:] == [("rate_limits_shared_again", {})]
    await limiter.stop()


async def test_I01_a_start_without_redis_says_so_before_the_first_call(said: Said) -> None:
    limiter = RateLimiter(f"redis://127.0.0.1:{free_port()}/0")
    await limiter.start()
    assert limiter.is_degraded
    [(event, words)] = said.lines
    assert (event, words["error"]) == ("rate_limits_counted_alone", "RedisAway")
    await limiter.stop()


async def test_without_a_redis_to_be_had_it_is_not_degraded() -> None:
    limiter = RateLimiter(None)
    await limiter.start()
    assert not (await limiter.take((Ask(limit(1), 1),))).is_shared
    assert not limiter.is_degraded
    await limiter.stop()


@pytest.mark.parametrize("is_shared", [False, True])
async def test_only_tokens_are_booked_and_all_of_it_is_given_back(said: Said, server: PrivateRedis, is_shared: bool) -> None:
    limiter = RateLimiter(server.url if is_shared else None)
    await limiter.start()
    asks = (Ask(limit(10), 1), Ask(limit(100, measure="tokens"), 60))
    taken = await limiter.take(asks)
    assert (taken.is_shared, [state.remaining for state in taken.states]) == (is_shared, [9, 40])
    booked = await limiter.book(taken, 25)
    assert booked is not None
    assert [state.remaining for state in booked.states] == [9, 75]
    again = await limiter.take(asks)
    back = await limiter.give_back(again)
    assert back is not None
    assert [state.remaining for state in back.states] == [9, 75]
    assert [state.remaining for state in limiter.look_now(ask.limit for ask in asks)] == [9, 75]
    assert [state.remaining for state in limiter.look_now(ask.limit for ask in asks)] == [9, 75], "looking uses nothing"
    await limiter.stop()


async def test_counters_of_installations_that_share_a_redis_are_apart(said: Said, server: PrivateRedis, settings: Any) -> None:
    five = limit(5)
    names = set()
    for secret in ("one " * 10, "two " * 10):
        settings.SECRET_KEY = secret
        limits._prefix.cache_clear()
        limiter = RateLimiter(server.url)
        await limiter.start()
        assert (await limiter.take((Ask(five, 1),))).states[0].remaining == 4
        await limiter.stop()
    limits._prefix.cache_clear()
    with redis.Redis.from_url(server.url) as admin:
        names = {name.decode() for name in admin.keys("*")}
    assert len(names) == 2
    assert all(name.startswith("{aigateway:limit:") and name.endswith(f"}}:{five.key}:minute:window") for name in names)


async def test_redis_goes_by_its_own_clock_and_forgets_after_one_window_more(said: Said, server: PrivateRedis) -> None:
    window, bucket = limit(5), limit(60, burst=600)
    limiter = RateLimiter(server.url)
    await limiter.start()
    with redis.Redis.from_url(server.url) as admin:
        before = admin.time()
        taken = await limiter.take((Ask(window, 1), Ask(bucket, 3)))
        stays_ms = {name.decode().rpartition(":")[2]: admin.pttl(name) for name in admin.keys("*")}
        after = admin.time()
    earliest, latest = (seconds * 1000 + micros // 1000 for seconds, micros in (before, after))
    for state in taken.states:
        assert earliest <= state.at_ms <= latest
    for kind, state in zip(("window", "bucket"), taken.states, strict=True):
        assert 0 <= state.reset_ms + 60_000 - stays_ms[kind] <= latest - earliest + 1
    await limiter.stop()


def test_pages_read_the_limiter_that_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "_serving", [])
    five = limit(5)
    serving = RateLimiter(None)
    limits.serve(RateLimiter(None))
    limits.serve(serving)
    serving._own.apply(limits.Mode.TAKE, (Ask(five, 2),))
    assert [state.remaining for state in limits.states_now([five])] == [3]


def test_two_processes_take_half_each() -> None:
    halves = RateLimiter(None, processes=2)
    assert [state.remaining for state in halves.look_now([limit(10)])] == [5]
