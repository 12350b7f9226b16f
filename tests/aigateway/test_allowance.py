"""What one request asks of its rate limits, attempt by attempt, and what its headers say. Counted in this process."""

from __future__ import annotations

from dataclasses import replace

import pytest

from aigateway.rate_limits import Allowance, tokens_expected
from providers.upstream.errors import GatewayLimited
from providers.upstream.types import ChatRequest, Message, Role
from tests.usage.limits.world import NOON_MS, limit
from tests.usage.world import PROVIDER, TARGET
from usage.limits.limiter import RateLimiter
from usage.limits.memory import MemoryBuckets
from usage.limits.types import Limit, RateLimitExceeded

OTHER_PROVIDER = replace(PROVIDER, id=PROVIDER.id + 1)


def allowance(*limits: Limit) -> Allowance:
    limiter = RateLimiter(None)
    limiter._own = MemoryBuckets(lambda: NOON_MS)  # nothing drains while a test runs
    return Allowance(limiter, limits)


def left(asked: Allowance) -> list[int]:
    """What is left of each limit, provider's included."""
    return [state.remaining for state in asked.limiter.look_now(asked.limits)]


async def test_a_request_counts_once_for_its_caller_and_each_attempt_for_its_provider() -> None:
    asked = allowance(limit(10), limit(10, provider_id=PROVIDER.id), limit(10, provider_id=OTHER_PROVIDER.id))
    for _ in range(2):
        assert await asked.take(PROVIDER, 0) is not None
    await asked.take(OTHER_PROVIDER, 0)
    assert left(asked) == [9, 8, 9]
    assert [state.limit for state in asked.states] == [asked.limits[0]], "a provider's limit is nobody's business"


async def test_nothing_is_asked_where_nothing_limits_an_attempt() -> None:
    asked = allowance(limit(10, provider_id=OTHER_PROVIDER.id))
    assert await asked.take(PROVIDER, 5) is None
    assert (asked.states, left(asked)) == ((), [10])


async def test_tokens_are_taken_for_every_attempt_and_booked_as_used() -> None:
    asked = allowance(limit(100, measure="tokens"), limit(10), limit(100, measure="tokens", provider_id=PROVIDER.id))
    taken = await asked.take(PROVIDER, 40)
    assert taken is not None
    assert left(asked) == [60, 9, 60]
    await asked.book(taken, 15)
    assert left(asked) == [85, 9, 85]
    assert [state.remaining for state in asked.states] == [85, 9]
    await asked.book(taken, None)
    assert left(asked) == [85, 9, 85], "nobody knows, so the estimate stands"


async def test_nothing_is_booked_where_no_tokens_are_limited() -> None:
    asked = allowance(limit(10))
    taken = await asked.take(PROVIDER, 40)
    before = asked.states
    assert taken is not None
    await asked.book(taken, 15)
    assert asked.states is before


async def test_what_redis_counted_and_took_with_it_changes_nothing_that_is_known() -> None:
    asked = allowance(limit(100, measure="tokens"))
    taken = await asked.take(PROVIDER, 40)
    assert taken is not None
    before = asked.states
    await asked.book(replace(taken, is_shared=True), 15)
    assert (asked.states, left(asked)) == (before, [60])


async def test_a_request_whose_attempt_was_not_made_counts_at_its_next_one() -> None:
    asked = allowance(limit(10), limit(10, provider_id=PROVIDER.id))
    first = await asked.take(PROVIDER, 0)
    assert first is not None
    await asked.give_back(first)
    assert (asked.is_counted, left(asked)) == (False, [10, 10])
    assert [state.remaining for state in asked.states] == [10]
    made = await asked.take(PROVIDER, 0)
    again = await asked.take(PROVIDER, 0)
    assert made is not None
    assert again is not None
    await asked.give_back(again)
    assert (asked.is_counted, left(asked)) == (True, [9, 9]), "another attempt of it was made"


async def test_giving_back_tokens_or_what_a_provider_counted_leaves_the_request_counted() -> None:
    asked = allowance(limit(100, measure="tokens"), limit(10, provider_id=PROVIDER.id))
    taken = await asked.take(PROVIDER, 40)
    assert taken is not None
    await asked.give_back(taken)
    assert (asked.is_counted, left(asked)) == (True, [100, 10])


async def test_a_caller_over_its_limit_is_refused_by_the_one_to_wait_longest_for() -> None:
    asked = allowance(limit(1), limit(1, window="hour"), limit(5), limit(9, provider_id=PROVIDER.id))
    await asked.take(PROVIDER, 0)
    another = replace(asked, is_counted=False, states=())
    with pytest.raises(RateLimitExceeded) as refused:
        await another.take(PROVIDER, 0)
    assert refused.value.limit == asked.limits[1]
    assert (another.is_counted, left(asked)) == (False, [0, 0, 4, 8]), "a refused request uses nothing"
    assert [state.remaining for state in another.states] == [0, 0, 4]


async def test_R307_a_provider_over_its_limit_says_how_long_in_seconds_and_a_blocked_one_does_not() -> None:
    full = allowance(limit(5), limit(1, provider_id=PROVIDER.id, burst=1))
    await full.take(PROVIDER, 0)
    with pytest.raises(GatewayLimited) as refused:
        await full.take(PROVIDER, 0)
    assert refused.value.limit == f"{full.limits[1].name} {PROVIDER.label}"
    assert refused.value.retry_after_s == 60
    assert left(full)[0] == 4
    with pytest.raises(GatewayLimited) as blocked:
        await allowance(limit(0, provider_id=PROVIDER.id)).take(PROVIDER, 0)
    assert blocked.value.retry_after_s is None


async def test_headers_tell_the_tightest_of_the_callers_own_limits_of_each_measure() -> None:
    wide, narrow, tokens = limit(10), limit(9, window="hour"), limit(1000, measure="tokens", burst=500)
    asked = allowance(wide, narrow, tokens, limit(1, provider_id=PROVIDER.id))
    await asked.take(PROVIDER, 125)
    assert await asked.headers(may_look=False) == {
        "X-RateLimit-Limit-Requests": "9",
        "X-RateLimit-Remaining-Requests": "8",
        "X-RateLimit-Reset-Requests": "3630s",
        "X-RateLimit-Limit-Tokens": "1000",
        "X-RateLimit-Remaining-Tokens": "375",
        "X-RateLimit-Reset-Tokens": "7.5s",
    }


async def test_headers_of_a_request_that_asked_for_nothing_look_where_they_may() -> None:
    asked = allowance(limit(10), limit(20, measure="tokens"), limit(1, provider_id=PROVIDER.id))
    assert await asked.headers(may_look=False) == {}
    shown = await asked.headers(may_look=True)
    assert (shown["X-RateLimit-Remaining-Requests"], shown["X-RateLimit-Remaining-Tokens"]) == ("10", "20")
    seen = asked.states
    await asked.headers(may_look=True)
    assert asked.states is seen, "what is known is not asked again"
    assert left(asked) == [10, 20, 1]
    foreign = allowance(limit(1, provider_id=PROVIDER.id))
    assert (await foreign.headers(may_look=True), foreign.states) == ({}, ())


async def test_who_only_looks_never_waits_even_where_more_was_used_than_allowed() -> None:
    requests = limit(5)
    asked = allowance(limit(60, burst=5, measure="tokens"), limit(5, measure="tokens"), requests)
    taken = await asked.take(PROVIDER, 5)
    assert taken is not None
    await asked.book(taken, 50)
    for _ in range(4):
        await Allowance(asked.limiter, (requests,)).take(PROVIDER, 0)
    lowered = Allowance(asked.limiter, (*asked.limits[:2], replace(requests, limit=2)))
    assert [state.wait_ms for state in lowered.limiter.look_now(lowered.limits)] == [0, 0, 0]
    assert (await lowered.headers(may_look=True))["X-RateLimit-Remaining-Requests"] == "0"
    assert [state.wait_ms for state in lowered.states] == [0, 0, 0]


def chat(body_bytes: int, **fields: object) -> ChatRequest:
    return ChatRequest("small", (Message(Role.USER),), body_bytes, **fields)  # type: ignore[arg-type]


def test_an_attempt_reserves_a_third_of_its_bytes_and_what_each_choice_may_answer() -> None:
    wide = replace(TARGET, max_output_tokens=5000)
    assert tokens_expected(chat(10, max_output_tokens=50), wide, 0) == 4 + 50
    assert tokens_expected(chat(10, max_output_tokens=50), wide, 2) == 4 + 50
    assert tokens_expected(chat(10, max_output_tokens=50), wide, 3) == 5 + 50
    assert tokens_expected(chat(9, max_output_tokens=50, choices=3), wide, 0) == 3 + 150
    assert tokens_expected(chat(9, max_output_tokens=9999), wide, 0) == 3 + 5000
    assert tokens_expected(chat(9, max_output_tokens=0), wide, 0) == 3


def test_a_request_that_names_no_output_limit_reserves_1024_tokens_or_what_the_target_can_give() -> None:
    assert tokens_expected(chat(9), replace(TARGET, max_output_tokens=5000), 0) == 3 + 1024
    assert tokens_expected(chat(9), TARGET, 0) == 3 + 100
