"""What only Redis can meet: a clock that steps, and counters that were tampered with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tests.servers import PrivateRedis
from tests.usage.limits.world import MINUTE_MS, NOON_MS, Counting, limit
from usage.limits.redis_connection import RedisRefused
from usage.limits.types import SLOTS, Limit

WIDTH_MS = MINUTE_MS // SLOTS
HOUR_MS = 3_600_000


@pytest.fixture(scope="module")
def admin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[redis.Redis]:
    server = PrivateRedis(Path(tmp_path_factory.mktemp("redis")))
    server.start()
    with redis.Redis.from_url(server.url, decode_responses=True) as admin:
        yield admin
    server.stop()


@pytest.fixture
def counting(admin: redis.Redis) -> Iterator[Counting]:
    port = admin.connection_pool.connection_kwargs["port"]
    counting = Counting(f"redis://127.0.0.1:{port}/0")
    yield counting
    counting.close()


def name_of(admin: redis.Redis, of: Limit) -> str:
    [name] = admin.keys(f"*:{of.key}:*")
    return str(name)


@pytest.mark.parametrize("burst", [None, 100])
def test_I16_time_goes_on_from_where_it_was_after_every_step_back(counting: Counting, burst: int | None) -> None:
    """A counter's own clock, by which it forgets: not a millisecond is gained or lost."""
    wide, expected_ms = limit(100, burst=burst), NOON_MS
    counting.take(wide, 10)
    for taken, step_ms in enumerate((HOUR_MS, 1, 10 * HOUR_MS), start=1):
        counting.now_ms -= step_ms
        assert counting.take(wide, 0).states[0].at_ms == expected_ms
        counting.now_ms += 6_000
        expected_ms += 6_000
        [state] = counting.take(wide, 1).states
        assert (state.at_ms, state.remaining) == (expected_ms, 90 - taken if burst is None else 99)


def test_I16_a_step_back_outlives_every_write(counting: Counting) -> None:
    ten = limit(10)
    counting.take(ten, 4)
    counting.now_ms -= HOUR_MS
    counting.take(ten, 3)
    counting.now_ms += 1000
    [state] = counting.take(ten, 0).states
    assert (state.at_ms, state.remaining, state.reset_ms) == (NOON_MS + 1000, 3, WIDTH_MS + MINUTE_MS - 1000)


def test_I04_a_counter_whose_sum_says_more_than_its_slots_waits_for_its_end(counting: Counting, admin: redis.Redis) -> None:
    five = limit(5)
    counting.take(five, 2)
    name = name_of(admin, five)
    before = admin.pttl(name)
    admin.hset(name, "used", 5)
    [state] = counting.take(five, 5).states
    assert (state.remaining, state.wait_ms) == (0, None)
    assert admin.pttl(name) <= before, "asking does not put it off"


def test_I04_a_counter_of_slots_that_are_gone_is_an_error_and_no_decision(counting: Counting, admin: redis.Redis) -> None:
    five = limit(5)
    counting.take(five, 5)
    admin.hset(name_of(admin, five), mapping={"used": 50})
    counting.now_ms += 5 * MINUTE_MS
    with pytest.raises(RedisRefused):
        counting.take(five, 1)


def test_slots_that_have_left_the_window_leave_redis_at_the_next_call(counting: Counting, admin: redis.Redis) -> None:
    ten = limit(10)
    for _ in range(3):
        counting.take(ten)
        counting.now_ms += WIDTH_MS
    first = NOON_MS // WIDTH_MS
    counting.now_ms = NOON_MS + MINUTE_MS + 2 * WIDTH_MS
    counting.take(ten, 0)
    name = name_of(admin, ten)
    fields = {"at", "skew", "used", "first", "last"}
    assert set(admin.hkeys(name)) - fields == {str(first + number) for number in range(3)}, "a look writes nothing"
    counting.take(ten)
    assert set(admin.hkeys(name)) - fields == {str(first + 2), str(first + SLOTS + 2)}
    shape = admin.hgetall(name)
    assert [int(shape[each]) for each in ("used", "first", "last", "at", "skew")] == [2, first + 2, first + SLOTS + 2, counting.now_ms, 0]


@pytest.mark.parametrize(("burst", "reset_ms"), [(None, WIDTH_MS + MINUTE_MS), (10, 18_000)])
def test_a_counter_stays_until_nothing_counts_and_one_window_more(
    counting: Counting, admin: redis.Redis, burst: int | None, reset_ms: int
) -> None:
    ten = limit(10, burst=burst)
    counting.take(ten, 3)
    assert reset_ms + MINUTE_MS - 5_000 < admin.pttl(name_of(admin, ten)) <= reset_ms + MINUTE_MS


@pytest.mark.parametrize("burst", [None, 10])
def test_I03_what_a_flushed_redis_forgot_cannot_be_given_back(counting: Counting, admin: redis.Redis, burst: int | None) -> None:
    ten = limit(10, burst=burst)
    taken = counting.take(ten, 4)
    admin.flushall()
    assert counting.correct(taken, -1).states[0].remaining == 10
    assert counting.takes(ten, 10)
    assert not counting.takes(ten, 1)
