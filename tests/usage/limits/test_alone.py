"""The limiter of one process: where it counts, what it says of that, and what it puts right afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.servers import PrivateRedis, free_port
from tests.usage.limits.world import limit
from usage.limits import limiter as limits
from usage.limits.limiter import RateLimiter, parsed_reply, script_words
from usage.limits.redis_connection import RedisConnection, RedisRefused
from usage.limits.types import Ask, Limit, Mode, State, Verdict

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


def test_processes_take_equal_shares_and_what_blocks_one_blocks_all() -> None:
    assert RateLimiter(None).look_now([]) == ()
    both = (limit(10), limit(0))
    assert [state.remaining for state in RateLimiter(None).look_now(both)] == [10, 0]
    halves = RateLimiter(None, processes=2)
    assert [state.remaining for state in halves.look_now(both)] == [5, 0]


async def test_what_is_blocked_is_blocked_for_every_share() -> None:
    verdict = await RateLimiter(None, processes=2).take((Ask(limit(0), 1),))
    assert (verdict.admitted, verdict.states[0].wait_ms) == (False, None)


async def test_who_only_looks_never_waits_even_where_more_was_used_than_allowed(said: Said, server: PrivateRedis) -> None:
    limiter = RateLimiter(server.url)
    await limiter.start()
    overdrawn = limit(60, burst=5, measure="tokens")
    await limiter.book(await limiter.take((Ask(overdrawn, 5),)), 50)
    [state] = limiter.look_now([overdrawn])
    assert (state.remaining, state.wait_ms) == (0, 0)
    await limiter.stop()
    assert limiter._connection is not None
    assert not limiter._connection.is_connected, "what is stopped lets go"


async def test_an_error_of_redis_is_no_reason_to_send_the_script_again(said: Said, server: PrivateRedis) -> None:
    limiter = RateLimiter(server.url)
    await limiter.start()
    with redis.Redis.from_url(server.url) as admin:
        await limiter.take((Ask(limit(5), 1),))
        [name] = admin.keys("*")
        admin.delete(name)
        admin.set(name, "no hash at all")
        five = Limit(name.decode().split(":")[-3], "user", "requests", "minute", 5)
        before = admin.info("commandstats")["cmdstat_eval"]["calls"]
        assert not (await limiter.take((Ask(five, 1),))).is_shared
        assert admin.info("commandstats")["cmdstat_eval"]["calls"] == before
    await limiter.stop()
    [(event, words)] = said.lines
    assert (event, words["error"]) == ("rate_limits_counted_alone", "RedisRefused")
    assert words["reason"].startswith("WRONGTYPE")


def test_a_long_complaint_of_redis_is_cut(said: Said) -> None:
    RateLimiter(None)._count_alone(RedisRefused("x" * 200))
    assert said.lines == [("rate_limits_counted_alone", {"error": "RedisRefused", "reason": "x" * 100})]


def test_what_is_said_to_the_script() -> None:
    window = Ask(Limit("7", "user", "requests", "hour", 10), 2)
    bucket = Ask(Limit("8:3", "tier", "tokens", "minute", 100, burst=5), -4, taken_at_ms=99)
    keys = ["p:7:hour:window", "p:8:3:minute:bucket"]
    figures = ["window", 3_600_000, 10, 10, 2, 0, "bucket", 60_000, 100, 5, -4, 99]
    assert script_words("p", Mode.TAKE, [window, bucket]) == [2, *keys, "", "take", *figures]
    assert script_words("p", Mode.CORRECT, [window, bucket], 0)[3:5] == [0, "correct"]


def test_what_the_script_says() -> None:
    asks = (Ask(limit(10), 2), Ask(limit(100), 1))
    verdict = parsed_reply([0, 8, 60_000, 0, 5, 0, 70_000, 1, 6], asks)
    assert (verdict.admitted, verdict.asks, verdict.is_shared) == (False, asks, True)
    assert verdict.states == (State(asks[0].limit, 8, 60_000, 0, 5), State(asks[1].limit, 0, 70_000, 1, 6))
    assert parsed_reply([1, 0, 0, -1, 5], asks[:1]) == Verdict(True, asks[:1], (State(asks[0].limit, 0, 0, None, 5),), is_shared=True)
