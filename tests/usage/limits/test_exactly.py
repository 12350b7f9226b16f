"""What a limit says of itself, to the millisecond and to the last token, wherever it is counted."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import redis

from tests.servers import PrivateRedis
from tests.usage.limits.world import MINUTE_MS, NOON_MS, Counting, limit
from usage.limits.limiter import exceeded, tightest
from usage.limits.memory import MemoryBuckets, monotonic_ms
from usage.limits.types import SLOTS, Ask, Limit, Mode, RateLimitExceeded, State, Verdict

WIDTH_MS = MINUTE_MS // SLOTS


@pytest.fixture(scope="module")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateRedis]:
    server = PrivateRedis(Path(tmp_path_factory.mktemp("redis")))
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module", params=["memory", "redis"])
def places(request: pytest.FixtureRequest) -> Iterator[Counting]:
    url = request.getfixturevalue("redis_server").url if request.param == "redis" else None
    counting = Counting(url)
    yield counting
    counting.close()


@pytest.fixture
def counting(places: Counting) -> Counting:
    places.now_ms = NOON_MS
    return places


def said(verdict: Verdict) -> tuple[int, int, int | None]:
    """Remaining, reset and wait of the only limit."""
    [state] = verdict.states
    return state.remaining, state.reset_ms, state.wait_ms


def test_a_limit_nobody_used_is_all_there(counting: Counting) -> None:
    for fresh in (limit(10), limit(10, burst=10)):
        assert said(counting.take(fresh, 0)) == (10, 0, 0)
    assert counting.take(limit(10), 0).is_shared == (counting.url is not None)


@pytest.mark.parametrize(("window", "width_ms", "window_ms"), [
    ("minute", 500, 60_000), ("hour", 30_000, 3_600_000), ("day", 720_000, 86_400_000)
])  # fmt: skip
def test_a_slot_is_free_one_window_after_its_end(counting: Counting, window: str, width_ms: int, window_ms: int) -> None:
    ten = limit(10, window=window)
    assert said(counting.take(ten, 3)) == (7, width_ms + window_ms, 0)
    counting.now_ms += width_ms + 200
    assert said(counting.take(ten, 1)) == (6, width_ms - 200 + window_ms, 0)
    counting.now_ms = NOON_MS + width_ms + window_ms - 1
    assert said(counting.take(ten, 0)) == (6, width_ms + 1, 0)
    counting.now_ms += 1
    assert said(counting.take(ten, 0)) == (9, width_ms, 0)
    counting.now_ms += width_ms
    assert said(counting.take(ten, 0)) == (10, 0, 0)


def test_the_wait_lasts_until_the_last_slot_that_is_in_the_way_has_left(counting: Counting) -> None:
    three = limit(3)
    for _ in range(3):
        counting.take(three)
        counting.now_ms += 1000
    since_noon_ms = 3000
    for amount in (1, 2, 3):
        leaves_ms = (amount - 1) * 1000 + WIDTH_MS + MINUTE_MS
        assert said(counting.take(three, amount)) == (0, 2000 + WIDTH_MS + MINUTE_MS - since_noon_ms, leaves_ms - since_noon_ms)
    assert said(counting.take(three, 4))[2] is None, "more than ever fits"


def test_two_calls_in_one_slot_leave_together(counting: Counting) -> None:
    five = limit(5)
    counting.take(five, 2)
    counting.take(five, 2)
    assert said(counting.take(five, 2)) == (1, WIDTH_MS + MINUTE_MS, WIDTH_MS + MINUTE_MS)
    counting.now_ms += WIDTH_MS + MINUTE_MS
    assert said(counting.take(five, 5)) == (0, WIDTH_MS + MINUTE_MS, 0)


@pytest.mark.parametrize("burst", [None, 10])
def test_a_look_never_waits_and_asks_for_nothing(counting: Counting, burst: int | None) -> None:
    ten = limit(10, burst=burst)
    taken = counting.take(ten, 10)
    assert counting.correct(taken, 5).states[0].remaining == 0
    look = counting.take(ten, 0)
    assert (look.admitted, said(look)[0], said(look)[2]) == (True, 0, 0)
    assert said(counting.take(ten, 10))[2] == (WIDTH_MS + MINUTE_MS if burst is None else 15 * MINUTE_MS // 10)


@pytest.mark.parametrize("burst", [None, 10])
def test_what_is_given_back_is_there_again_once(counting: Counting, burst: int | None) -> None:
    ten = limit(10, burst=burst)
    taken = counting.take(ten, 4)
    assert said(counting.correct(taken, -1))[0] == 7
    assert said(counting.correct(taken, -3)) == (10, 0, 0)
    assert said(counting.correct(taken, -1)) == (10, 0, 0)
    assert said(counting.take(ten, 11))[2] is None
    assert said(counting.take(ten, 10))[0] == 0
    assert not counting.takes(ten, 1)


@pytest.mark.parametrize("given_back", [1, 4])
def test_a_slot_that_has_left_gives_nothing_back(counting: Counting, given_back: int) -> None:
    ten = limit(10)
    old = counting.take(ten, 4)
    counting.now_ms += MINUTE_MS + WIDTH_MS
    young = counting.take(ten, 5)
    assert said(counting.correct(old, -given_back)) == (5, WIDTH_MS + MINUTE_MS, 0)
    assert said(counting.correct(young, -given_back)) == (5 + given_back, WIDTH_MS + MINUTE_MS, 0)


def test_the_oldest_slot_that_still_counts_gives_back(counting: Counting) -> None:
    ten = limit(10)
    old = counting.take(ten, 4)
    counting.now_ms += MINUTE_MS + WIDTH_MS - 1
    assert said(counting.correct(old, -3)) == (9, 1, 0)


def test_a_bucket_drains_by_the_millisecond(counting: Counting) -> None:
    bucket = limit(60, burst=5)
    assert said(counting.take(bucket, 2)) == (3, 2000, 0)
    counting.now_ms += 500
    assert said(counting.take(bucket, 0)) == (3, 1500, 0)
    assert said(counting.take(bucket, 5)) == (3, 1500, 1500)
    assert said(counting.take(bucket, 4)) == (3, 1500, 500)
    assert said(counting.take(bucket, 6))[2] is None
    counting.now_ms += 1499
    assert said(counting.take(bucket, 0)) == (4, 1, 0)
    counting.now_ms += 1
    assert said(counting.take(bucket, 0)) == (5, 0, 0)


def test_what_a_bucket_took_before_it_ran_dry_has_drained_and_cannot_be_given_back(counting: Counting) -> None:
    bucket = limit(60, burst=10)
    old = counting.take(bucket, 2)
    assert said(counting.correct(old, -1))[0] == 9, "taken in the very moment it was empty"
    counting.now_ms += 1000
    young = counting.take(bucket, 5)
    assert said(counting.correct(old, -1))[0] == 5
    assert said(counting.correct(young, -2))[0] == 7
    counting.now_ms += 1000
    assert said(counting.correct(young, -1))[0] == 9, "2 are left of 5 - 2 after a second"


def test_a_correction_goes_beyond_a_limit_and_drains_like_the_rest(counting: Counting) -> None:
    bucket = limit(60, burst=5)
    taken = counting.take(bucket, 5)
    assert said(counting.correct(taken, 10)) == (0, 15_000, 0)
    assert said(counting.take(bucket, 1)) == (0, 15_000, 11_000)


def test_a_limit_lowered_to_0_blocks_and_forgets_nothing(counting: Counting) -> None:
    for burst, reset_ms in ((None, WIDTH_MS + MINUTE_MS), (5, 0)):
        used = limit(5, burst=burst)
        counting.take(used, 3)
        blocked = replace(used, limit=0)
        assert said(counting.take(blocked, 1)) == (0, reset_ms, None)
        assert said(counting.take(used, 0))[0] == 2


@pytest.mark.parametrize("burst", [None, 5])
def test_a_limit_may_be_lowered_below_what_was_used(counting: Counting, burst: int | None) -> None:
    used = limit(50, burst=None if burst is None else 50)
    counting.take(used, 30)
    lowered = replace(used, limit=5, burst=burst)
    remaining, _, wait_ms = said(counting.take(lowered, 1))
    assert (remaining, wait_ms) == (0, WIDTH_MS + MINUTE_MS if burst is None else 26 * MINUTE_MS // 5)


@pytest.mark.parametrize("burst", [None, 5])
def test_time_stands_still_when_the_clock_goes_back(counting: Counting, burst: int | None) -> None:
    five = limit(5, burst=burst)
    before = counting.take(five, 2)
    counting.now_ms -= 1
    after = counting.take(five, 0)
    assert (after.states[0].at_ms, said(after)[1]) == (NOON_MS, said(before)[1])


def test_the_largest_limit_is_counted_to_the_last_token(counting: Counting) -> None:
    for burst in (None, 100_000_000):
        wide = limit(100_000_000, burst=burst, measure="tokens", window="day")
        taken = counting.take(wide, 99_999_999)
        assert said(taken)[0] == 1
        assert said(counting.correct(taken, -99_999_998))[0] == 99_999_999


@pytest.mark.parametrize("burst", [None, 1])
def test_a_refused_call_changes_no_counter(counting: Counting, burst: int | None) -> None:
    wide, narrow = limit(10), limit(1, burst=burst)
    asks = (Ask(wide, 4), Ask(narrow, 1))
    assert counting.apply(Mode.TAKE, *asks).admitted
    refused = counting.apply(Mode.TAKE, *asks)
    assert (refused.admitted, [state.remaining for state in refused.states]) == (False, [6, 0])
    corrected = counting.apply(Mode.CORRECT, *asks)
    assert (corrected.admitted, [state.remaining for state in corrected.states]) == (True, [2, 0])
    assert [state.wait_ms for state in corrected.states] == [0, 0]


def test_a_counter_is_no_larger_for_being_used_longer(counting: Counting, redis_server: PrivateRedis) -> None:
    busy = limit(1000)
    for _ in range(3 * SLOTS):
        counting.take(busy)
        counting.now_ms += WIDTH_MS
    if counting.url is None:
        [(counter, _)] = [found for name, found in counting._memory._counters.items() if name[0] == busy.key]
        assert len(counter.slots) == SLOTS + 1
        return
    with redis.Redis.from_url(redis_server.url) as admin:
        [name] = admin.keys(f"*{busy.key}*")
        assert admin.hlen(name) == SLOTS + 1 + len(("at", "skew", "used", "first", "last"))


# --------------------------------------------------------------------------- this process


def test_the_clock_of_this_process_is_in_milliseconds() -> None:
    before = time.monotonic()
    assert int(before * 1000) <= monotonic_ms() <= int(time.monotonic() * 1000)


def test_counters_are_told_apart_by_limit_window_and_kind() -> None:
    memory = MemoryBuckets(lambda: NOON_MS)
    one = limit(5)
    others = [replace(one, window="hour"), replace(one, burst=5), replace(one, key="other")]
    memory.apply(Mode.TAKE, (Ask(one, 3),))
    assert [memory.apply(Mode.TAKE, (Ask(other, 0),)).states[0].remaining for other in others] == [5, 5, 5]


# --------------------------------------------------------------------------- what is said about a limit


def test_a_limit_has_a_name_for_people() -> None:
    plain = Limit("k", "user", "requests", "minute", 100)
    assert plain.name == "100 requests per minute of the user"
    assert replace(plain, scope="gateway", burst=5).name == "100 requests per minute (at most 5 at once) of the whole gateway"
    refusal = RateLimitExceeded(plain, 1500)
    assert (str(refusal), refusal.limit, refusal.wait_ms) == (plain.name, plain, 1500)


def test_what_fits_at_once_is_the_burst_or_all_of_it() -> None:
    plain = Limit("k", "user", "requests", "minute", 100)
    assert [each.capacity for each in (plain, replace(plain, burst=5), replace(plain, limit=0), replace(plain, limit=0, burst=5))] == [
        100, 5, 0, 0
    ]  # fmt: skip


def test_a_share_is_at_least_one_of_what_is_not_blocked() -> None:
    shared = Limit("k", "user", "requests", "minute", 100, burst=8)
    assert [(share.limit, share.burst) for share in map(shared.share, (1, 2, 8, 1000))] == [(100, 8), (50, 4), (12, 1), (1, 1)]
    assert replace(shared, burst=None).share(2).burst is None
    blocked = replace(shared, limit=0, burst=None)
    assert blocked.share(4) == blocked


def state(of: Limit, remaining: int, reset_ms: int = 0, wait_ms: int | None = 0) -> State:
    return State(of, remaining, reset_ms, wait_ms, NOON_MS)


def test_the_refusal_names_the_longest_wait_and_first_of_all_the_endless_one() -> None:
    free, short, long, endless = (limit(count) for count in (1, 2, 3, 4))
    waiting = [state(free, 1), state(short, 0, wait_ms=10), state(long, 0, wait_ms=20)]
    assert (exceeded(waiting).limit, exceeded(waiting).wait_ms) == (long, 20)
    assert exceeded([state(free, 1), state(short, 0, wait_ms=1)]).limit == short
    refusal = exceeded([*waiting, state(endless, 0, wait_ms=None)])
    assert (refusal.limit, refusal.wait_ms) == (endless, None)


def test_of_equally_tight_limits_the_one_that_lasts_longest_is_told() -> None:
    minute, hour, tokens = limit(5), limit(6, window="hour"), limit(1, measure="tokens")
    states = [state(minute, 3, 60_000), state(hour, 3, 3_600_000), state(tokens, 0, 9)]
    found = tightest(states, "requests")
    assert found is not None
    assert found.limit == hour
    assert tightest([state(minute, 2, 1), states[1]], "requests") == state(minute, 2, 1)
