"""Rate limits, one contract for both places where they are counted: a real Redis and this process."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.servers import PrivateRedis
from tests.usage.limits.world import MINUTE_MS, Counting, limit
from usage.limits import memory as limit_memory
from usage.limits.limiter import asks_for, exceeded, tightest
from usage.limits.types import SLOTS, Ask, Limit, Mode


@pytest.fixture(scope="module")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateRedis]:
    server = PrivateRedis(Path(tmp_path_factory.mktemp("redis")))
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module", params=["memory", "redis"])
def counting(request: pytest.FixtureRequest) -> Iterator[Counting]:
    url = request.getfixturevalue("redis_server").url if request.param == "redis" else None
    counting = Counting(url)
    yield counting
    counting.close()


def test_R501_a_sliding_window_admits_its_limit_and_says_exactly_when_the_next_fits(counting: Counting) -> None:
    ten = limit(10)
    assert [counting.takes(ten) for _ in range(11)] == [True] * 10 + [False]
    [state] = counting.take(ten).states
    assert (state.remaining, state.wait_ms) == (0, MINUTE_MS + MINUTE_MS // SLOTS)
    counting.now_ms += state.wait_ms - 1
    assert not counting.takes(ten)
    counting.now_ms += 1
    assert counting.takes(ten)


def test_R501_a_token_bucket_takes_a_burst_and_refills_evenly(counting: Counting) -> None:
    bucket = limit(60, burst=5)
    assert [counting.takes(bucket) for _ in range(6)] == [True] * 5 + [False]
    [state] = counting.take(bucket).states
    assert (state.remaining, state.wait_ms, state.reset_ms) == (0, 1000, 5000)
    counting.now_ms += 999
    assert not counting.takes(bucket)
    counting.now_ms += 1
    assert counting.takes(bucket)
    assert not counting.takes(bucket)


def test_all_limits_of_a_call_are_decided_together_and_a_refused_call_consumes_nothing(counting: Counting) -> None:
    wide, narrow, bucket = limit(10), limit(1), limit(10, burst=10)
    asks = tuple(Ask(each, 1) for each in (wide, narrow, bucket))
    assert counting.apply(Mode.TAKE, *asks).admitted
    refused = counting.apply(Mode.TAKE, *asks)
    assert [(state.remaining, state.wait_ms == 0) for state in refused.states] == [(9, True), (0, False), (9, True)]
    assert exceeded(refused.states).limit == narrow
    assert [state.remaining for state in counting.apply(Mode.TAKE, *(replace(ask, amount=0) for ask in asks)).states] == [9, 0, 9]


@pytest.mark.parametrize("burst", [None, 5])
def test_a_limit_of_0_blocks_and_waiting_never_helps(counting: Counting, burst: int | None) -> None:
    [state] = counting.take(limit(0, burst=burst)).states
    assert (state.remaining, state.wait_ms, state.reset_ms) == (0, None, 0)
    assert exceeded([state]).wait_ms is None


@pytest.mark.parametrize("burst", [None, 100])
def test_tokens_are_booked_at_what_was_really_used(counting: Counting, burst: int | None) -> None:
    tokens = limit(100, burst=burst, measure="tokens")
    taken = counting.take(tokens, 80)
    assert counting.correct(taken, -50).states[0].remaining == 70
    dear = counting.take(tokens, 60)
    assert counting.correct(dear, 40).states[0].remaining == 0, "more was used than reserved"
    assert not counting.takes(tokens, 1)


@pytest.mark.parametrize("burst", [None, 100])
def test_what_has_left_the_window_cannot_be_given_back(counting: Counting, burst: int | None) -> None:
    tokens = limit(100, burst=burst, measure="tokens")
    old = counting.take(tokens, 100)
    counting.now_ms += 2 * MINUTE_MS + 1000
    counting.take(tokens, 90)
    assert counting.correct(old, -100).states[0].remaining == 10


def test_what_left_the_window_just_now_is_not_given_back_twice(counting: Counting) -> None:
    tokens = limit(100, measure="tokens")
    old = counting.take(tokens, 60)
    counting.now_ms += 30_000
    young = counting.take(tokens, 30)
    assert counting.correct(old, -1).states[0].reset_ms == young.states[0].reset_ms >= MINUTE_MS, "the youngest leaves last"
    counting.now_ms += 31_000
    assert counting.correct(old, -60).states[0].remaining == 70
    assert counting.correct(young, -30).states[0].remaining == 100
    assert counting.correct(young, -30).states[0].remaining == 100


@pytest.mark.parametrize("counting", ["redis"], indirect=True)
@pytest.mark.parametrize("burst", [None, 10])
def test_I16_a_clock_that_jumps_neither_blocks_nor_frees_more_than_one_window(counting: Counting, burst: int | None) -> None:
    """Redis's clock; that of the twin never jumps."""
    ten = limit(10, burst=burst)
    assert [counting.takes(ten) for _ in range(10)] == [True] * 10
    counting.now_ms -= 3_600_000
    assert not counting.takes(ten), "a step back frees nothing"
    counting.now_ms += MINUTE_MS + 1000
    assert [counting.takes(ten) for _ in range(11)] == [True] * 10 + [False], "and holds nothing up: time goes on from where it was"
    counting.now_ms += 3_600_000
    assert [counting.takes(ten) for _ in range(11)] == [True] * 10 + [False], "a step forward ends one window early"


# --------------------------------------------------------------------------- against a brute-force model

WAITS = st.sampled_from([0, 1, 499, 500, 777, 5_000, 30_000, 59_999, 60_000, 60_500, 200_000])
STEPS = st.lists(st.tuples(WAITS, st.integers(1, 7), st.sampled_from([None, None, -3, 2])), max_size=30)


@given(steps=STEPS, most=st.integers(1, 12))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_sliding_window_equals_a_log_of_every_call(counting: Counting, steps: list[tuple[int, int, int | None]], most: int) -> None:
    """The model keeps every call and sums those whose slot reaches into the window."""
    width, window = MINUTE_MS // SLOTS, limit(most)
    log: list[list[int]] = []

    def used(now_ms: int) -> int:
        return sum(amount for at_ms, amount in log if (at_ms // width + 1) * width > now_ms - MINUTE_MS)

    for pause_ms, amount, change in steps:
        counting.now_ms += pause_ms
        now = counting.now_ms
        verdict = counting.take(window, amount)
        assert verdict.admitted == (used(now) + amount <= most)
        if verdict.admitted:
            log.append([now, amount])
            if change is not None and amount + change >= 0:
                counting.correct(verdict, change)
                log[-1][1] += change
        assert counting.take(window, 0).states[0].remaining == max(0, most - used(now))
        if verdict.states[0].wait_ms:
            later = now + verdict.states[0].wait_ms
            assert used(later) + amount <= most < used(later - 1) + amount, "the wait is exact to the millisecond"
        exactly = sum(amount for at_ms, amount in log if at_ms > now - MINUTE_MS)
        assert exactly <= used(now)


@given(steps=STEPS, most=st.integers(1, 100), burst=st.integers(7, 20))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_token_bucket_equals_one_replayed_from_its_history(
    counting: Counting, steps: list[tuple[int, int, int | None]], most: int, burst: int
) -> None:
    """The model replays what was really used from the beginning, in exact fractions."""
    bucket = limit(most, burst=burst)
    log: list[list[int]] = []

    def scaled(now_ms: int) -> int:
        level, at_ms = 0, now_ms
        for when, amount in [*log, [now_ms, 0]]:
            level = max(0, level - max(0, when - at_ms) * most) + amount * MINUTE_MS
            at_ms = when
        return level

    for pause_ms, amount, change in steps:
        counting.now_ms += pause_ms
        now = counting.now_ms
        verdict = counting.take(bucket, amount)
        room = burst * MINUTE_MS - scaled(now)
        assert verdict.admitted == (amount * MINUTE_MS <= room)
        if verdict.admitted:
            log.append([now, amount])
            if change is not None and amount + change >= 0:
                counting.correct(verdict, change)
                log[-1][1] += change
        elif verdict.states[0].wait_ms is not None:
            wait = verdict.states[0].wait_ms
            assert wait * most >= amount * MINUTE_MS - room > (wait - 1) * most


# --------------------------------------------------------------------------- what a call asks


def test_a_call_larger_than_a_limit_asks_for_all_of_it_and_no_more() -> None:
    small, wide, requests = limit(100, measure="tokens"), limit(10_000, measure="tokens"), limit(5)
    assert [ask.amount for ask in asks_for([small, wide, requests], 1, 3_000)] == [100, 3_000, 1]


def test_the_tightest_limit_of_a_measure_is_the_one_with_the_least_left(counting: Counting) -> None:
    minute, day = limit(10), limit(11, window="day")
    asks = [Ask(each, 1) for each in (minute, day)]
    for _ in range(9):
        states = counting.apply(Mode.TAKE, *asks).states
    assert tightest(states, "requests").limit == minute
    assert tightest(states, "tokens") is None


def test_processes_that_count_alone_share_a_limit() -> None:
    shared = Limit("k", "user", "requests", "minute", 100, burst=3).share(4)
    assert (shared.limit, shared.burst) == (25, 1)
    assert Limit("k", "user", "requests", "minute", 0).share(4).limit == 0


def test_counters_nobody_uses_any_more_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limit_memory, "COUNTERS_MAX", 3)
    memory = Counting()
    busy = limit(5, window="hour")
    memory.take(busy)
    for _ in range(2):
        memory.take(limit(5, burst=5))
    memory.now_ms += 5 * MINUTE_MS
    memory.take(busy)
    assert len(memory._memory._counters) == 3, "so many are no burden"
    memory.take(limit(5))
    assert len(memory._memory._counters) == 2
    assert memory.take(busy, 0).states[0].remaining == 3
    memory.close()


def test_counters_in_use_are_looked_at_again_only_when_they_have_doubled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limit_memory, "COUNTERS_MAX", 3)
    memory, left = Counting(), []
    for _ in range(4):
        memory.take(limit(5))
    memory.now_ms += 5 * MINUTE_MS
    for _ in range(5):
        memory.take(limit(5))
        left.append(len(memory._memory._counters))
    assert left == [5, 6, 7, 8, 5]
    memory.close()
