"""Closed, open, half-open: with a clock that moves only when told."""

from __future__ import annotations

import pytest

from providers.upstream.breaker import Breakers, BreakerState
from providers.upstream.errors import AuthRejected, CallerFault, CircuitOpen, RateLimited, ServerFailed
from providers.upstream.types import RoutingSettings


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breakers(clock) -> Breakers:
    return Breakers(RoutingSettings, clock)


def fail(breakers: Breakers, times: int, target_id: int = 1) -> None:
    for _ in range(times):
        breakers.admit(target_id)
        breakers.record(target_id, ServerFailed("down"))


def test_R306_five_failures_in_a_row_open_the_circuit_for_sixty_seconds(breakers, clock) -> None:
    fail(breakers, 4)
    assert breakers.admit(1) is False
    fail(breakers, 1)
    with pytest.raises(CircuitOpen) as refused:
        breakers.admit(1)
    assert refused.value.retry_after_s == 60
    assert breakers.open_for_s(1) == 60
    assert breakers.state(1) is BreakerState.OPEN
    clock.now += 59.9
    with pytest.raises(CircuitOpen):
        breakers.admit(1)


def test_a_success_in_between_starts_the_count_anew(breakers) -> None:
    fail(breakers, 4)
    breakers.record(1, None)
    fail(breakers, 4)
    assert breakers.state(1) is BreakerState.CLOSED


def test_targets_do_not_share_a_circuit(breakers) -> None:
    fail(breakers, 5)
    assert breakers.admit(2) is False


@pytest.mark.parametrize("error", [AuthRejected(), RateLimited(), CallerFault()])
def test_errors_that_say_nothing_about_health_do_not_count(breakers, error) -> None:
    for _ in range(20):
        breakers.record(1, error)
    assert breakers.state(1) is BreakerState.CLOSED


def test_L08_half_open_lets_exactly_one_probe_through(breakers, clock) -> None:
    fail(breakers, 5)
    clock.now += 60
    assert breakers.open_for_s(1) is None
    assert breakers.state(1) is BreakerState.HALF_OPEN
    assert breakers.admit(1) is True
    for _ in range(200):
        with pytest.raises(CircuitOpen):
            breakers.admit(1)


def test_a_probe_that_succeeds_closes_the_circuit(breakers, clock) -> None:
    fail(breakers, 5)
    clock.now += 60
    breakers.admit(1)
    breakers.record(1, None)
    assert breakers.state(1) is BreakerState.CLOSED
    assert breakers.snapshot() == {}


def test_a_probe_that_fails_opens_it_again_at_once(breakers, clock) -> None:
    fail(breakers, 5)
    clock.now += 60
    fail(breakers, 1)
    assert breakers.open_for_s(1) == 60


@pytest.mark.parametrize("verdict", ["release", "neutral"])
def test_a_probe_without_a_verdict_makes_room_for_the_next_one(breakers, clock, verdict) -> None:
    fail(breakers, 5)
    clock.now += 60
    breakers.admit(1)
    if verdict == "release":
        breakers.release(1)
    else:
        breakers.record(1, RateLimited())
    assert breakers.admit(1) is True


def test_a_probe_that_is_never_answered_does_not_stick(breakers, clock) -> None:
    fail(breakers, 5)
    clock.now += 60
    breakers.admit(1)
    clock.now += 60
    assert breakers.admit(1) is True


def test_limits_follow_the_settings_of_the_moment(clock) -> None:
    settings = RoutingSettings(breaker_failures=1, breaker_open_s=5)
    breakers = Breakers(lambda: settings, clock)
    fail(breakers, 1)
    assert breakers.open_for_s(1) == 5
    settings = RoutingSettings(breaker_open_s=30)
    assert breakers.open_for_s(1) == 30


def test_a_reset_by_hand_closes_it(breakers) -> None:
    fail(breakers, 5)
    breakers.reset(1)
    assert breakers.admit(1) is False


def test_the_snapshot_shows_state_failures_and_the_wait(breakers, clock) -> None:
    fail(breakers, 5)
    clock.now += 15
    view = breakers.snapshot()[1]
    assert (view.state, view.failures, view.last_error, view.probe_in_s) == (BreakerState.OPEN, 5, "upstream_server_error", 45)
