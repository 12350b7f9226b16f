"""Rate limits of one process: counted in Redis for all processes together, in this process alone while Redis is away.

Nothing here is about money and nothing here waits for a dead server: a Redis that is away, was flushed or came back with old
counters changes how many requests get in for at most one window, and no budget (I03, I04).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, Final

import redis
import structlog
from django.conf import settings
from django.utils.crypto import salted_hmac

from providers.upstream.redaction import redact
from usage.limits.memory import MemoryBuckets
from usage.limits.redis_connection import COMMAND_S, CONNECT_S, RedisAway, RedisConnection, RedisRefused, Word
from usage.limits.scripts import DECIDE, DECIDE_SHA1
from usage.limits.types import TOKENS, Ask, Limit, Mode, RateLimitExceeded, State, Verdict

_NUMBERS_PER_STATE: Final = 4
log = structlog.get_logger("usage.limits")


@lru_cache(maxsize=1)
def _prefix() -> str:
    """Tells installations that share a Redis apart. The braces keep all counters of a call on one node of a cluster."""
    return f"{{aigateway:limit:{salted_hmac('usage.limits', 'counters').hexdigest()[:12]}}}"


class RedisBuckets:
    """``now_ms`` is given by tests only; the product goes by Redis's own clock."""

    def __init__(self, connection: RedisConnection) -> None:
        self._connection = connection
        self._prefix = _prefix()
        self.now_ms: int | None = None

    async def apply(self, mode: Mode, asks: tuple[Ask, ...]) -> Verdict:
        """Raises ``RedisAway`` and ``RedisRefused``."""
        words = script_words(self._prefix, mode, asks, self.now_ms)
        try:
            reply = await self._connection.execute("EVALSHA", DECIDE_SHA1, *words)
        except RedisRefused as error:
            if not str(error).startswith("NOSCRIPT"):
                raise
            reply = await self._connection.execute("EVAL", DECIDE, *words)
        return parsed_reply(reply, asks)


class RateLimiter:
    """What the data plane asks. ``processes`` share a limit evenly where each counts alone."""

    def __init__(self, redis_url: str | None, processes: int = 1) -> None:
        self._connection = None if redis_url is None else RedisConnection(redis_url)
        self._shared = None if self._connection is None else RedisBuckets(self._connection)
        self._redis_url = redis_url
        self._processes = processes
        self._own = MemoryBuckets()
        self._is_alone = False

    @property
    def is_degraded(self) -> bool:
        """Redis is configured and away, so this process counts alone."""
        return self._is_alone

    async def start(self) -> None:
        if self._connection is not None:
            try:
                await self._connection.connect()
            except (RedisAway, RedisRefused) as error:
                self._count_alone(error)

    async def stop(self) -> None:
        if self._connection is not None:
            await self._connection.close()

    async def take(self, asks: tuple[Ask, ...]) -> Verdict:
        """All of it or nothing. Never fails and never waits longer than one command may take."""
        verdict = await self._together(Mode.TAKE, asks)
        return self._own.apply(Mode.TAKE, self._shares(asks)) if verdict is None else verdict

    async def book(self, taken: Verdict, tokens: int) -> Verdict | None:
        """Puts what was really used in place of the tokens taken; ``None`` where whoever counted them is away."""
        return await self._correct(taken, lambda ask: tokens - ask.amount if ask.limit.measure == TOKENS else 0)

    async def give_back(self, taken: Verdict) -> Verdict | None:
        """Undoes what was taken for a call that never left."""
        return await self._correct(taken, lambda ask: -ask.amount)

    def look_now(self, limits: Iterable[Limit]) -> tuple[State, ...]:
        """How limits stand, for code on threads."""
        asks = tuple(Ask(limit, 0) for limit in limits)
        if not asks:
            return ()
        if self._redis_url is not None:
            words = script_words(_prefix(), Mode.TAKE, asks)
            try:
                reply = _client(self._redis_url).eval(DECIDE, len(asks), *map(str, words[1:]))
            except (redis.RedisError, OSError):
                pass  # what this process counted meanwhile is the better answer
            else:
                return parsed_reply(reply, asks).states
        return self._own.apply(Mode.TAKE, self._shares(asks)).states

    async def _correct(self, taken: Verdict, change: Callable[[Ask], int]) -> Verdict | None:
        pairs = zip(taken.asks, taken.states, strict=True)
        asks = tuple(replace(ask, amount=change(ask), taken_at_ms=state.at_ms) for ask, state in pairs)
        if taken.is_shared:
            return await self._together(Mode.CORRECT, asks)
        return self._own.apply(Mode.CORRECT, asks)

    async def _together(self, mode: Mode, asks: tuple[Ask, ...]) -> Verdict | None:
        """Decided in Redis; ``None`` where there is none or it is away."""
        if self._shared is None:
            return None
        try:
            verdict = await self._shared.apply(mode, asks)
        except (RedisAway, RedisRefused) as error:
            self._count_alone(error)
            return None
        if self._is_alone:
            self._is_alone = False
            log.info("rate_limits_shared_again")
        return verdict

    def _shares(self, asks: tuple[Ask, ...]) -> tuple[Ask, ...]:
        """Each process enforces its share; what is asked at once never exceeds it, or nobody could ask."""
        shares = [(ask, ask.limit.share(self._processes)) for ask in asks]
        return tuple(replace(ask, limit=share, amount=min(ask.amount, share.capacity or ask.amount)) for ask, share in shares)

    def _count_alone(self, error: Exception) -> None:
        if not self._is_alone:
            self._is_alone = True
            log.warning("rate_limits_counted_alone", error=type(error).__name__, reason=redact(str(error), limit=100))


def script_words(prefix: str, mode: Mode, asks: Sequence[Ask], now_ms: int | None = None) -> list[Word]:
    """How many keys, the keys and the arguments of ``DECIDE``."""
    keys: list[Word] = []
    figures: list[Word] = []
    for ask in asks:
        limit = ask.limit
        kind = "window" if limit.burst is None else "bucket"
        keys.append(f"{prefix}:{limit.key}:{limit.window}:{kind}")
        figures += (kind, limit.window_ms, limit.limit, limit.capacity, ask.amount, ask.taken_at_ms)
    return [len(asks), *keys, "" if now_ms is None else now_ms, mode.value, *figures]


def parsed_reply(reply: Any, asks: Sequence[Ask]) -> Verdict:
    states = []
    for position, ask in enumerate(asks):
        remaining, reset_ms, wait_ms, at_ms = reply[1 + position * _NUMBERS_PER_STATE :][:_NUMBERS_PER_STATE]
        states.append(State(ask.limit, remaining, reset_ms, None if wait_ms < 0 else wait_ms, at_ms))
    return Verdict(reply[0] == 1, tuple(asks), tuple(states), is_shared=True)


def exceeded(states: Iterable[State]) -> RateLimitExceeded:
    """The refusal that names the limit to wait longest for; one that never heals comes first. Some state must wait."""
    worst = max(states, key=lambda state: math.inf if state.wait_ms is None else state.wait_ms)
    return RateLimitExceeded(worst.limit, worst.wait_ms)


def tightest(states: Iterable[State], measure: str) -> State | None:
    """The state a client should know of: the least left, and of equals the one that lasts longest."""
    of_measure = [state for state in states if state.limit.measure == measure]
    return min(of_measure, key=lambda state: (state.remaining, -state.reset_ms), default=None)


def asks_for(limits: Iterable[Limit], requests: int, tokens: int) -> tuple[Ask, ...]:
    """A call as amounts. More tokens than a limit ever has room for ask for all of it: such a call waits for an empty
    window instead of for ever, and the correction adds what it really used."""
    return tuple(Ask(limit, min(tokens, limit.capacity or tokens) if limit.measure == TOKENS else requests) for limit in limits)


@lru_cache(maxsize=2)
def _client(url: str) -> redis.Redis:
    return redis.Redis.from_url(url, socket_connect_timeout=CONNECT_S, socket_timeout=COMMAND_S, retry=None)


_serving: list[RateLimiter] = []


def serve(limiter: RateLimiter) -> None:
    """Makes the data plane's limiter the one this process's pages read."""
    _serving[:] = [limiter]


def states_now(limits: Iterable[Limit]) -> tuple[State, ...]:
    """How limits stand, for code on threads: as the data plane of this process sees them, or as Redis does."""
    limiter = _serving[0] if _serving else RateLimiter(settings.REDIS_URL)
    return limiter.look_now(limits)
