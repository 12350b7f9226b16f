"""The two places where rate limits are counted, behind one clock that a test turns."""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import dataclass, field

from usage.limits.limiter import RedisBuckets
from usage.limits.memory import MemoryBuckets
from usage.limits.redis_connection import RedisConnection
from usage.limits.types import Ask, Limit, Mode, Verdict

MINUTE_MS = 60_000
NOON_MS = 1_795_262_400_000


def limit(count: int, *, window: str = "minute", burst: int | None = None, measure: str = "requests", **changes: object) -> Limit:
    """A limit with a counter nobody used yet."""
    return Limit(key=uuid.uuid4().hex, scope="user", measure=measure, window=window, limit=count, burst=burst, **changes)  # type: ignore[arg-type]


@dataclass
class Counting:
    """Either place. ``now_ms`` is its clock; with ``url`` it is Redis's."""

    url: str | None = None
    now_ms: int = NOON_MS
    _loop: asyncio.Runner = field(default_factory=asyncio.Runner)

    def __post_init__(self) -> None:
        self._memory = MemoryBuckets(lambda: self.now_ms)
        if self.url is not None:
            self._connection = RedisConnection(self.url, connect_s=30, command_s=30)  # a busy machine is no failure here
            self._redis = RedisBuckets(self._connection)
            self._loop.run(self._connection.connect())

    def close(self) -> None:
        if self.url is not None:
            self._loop.run(self._connection.close())
        self._loop.close()

    def apply(self, mode: Mode, *asks: Ask) -> Verdict:
        if self.url is None:
            return self._memory.apply(mode, asks)
        self._redis.now_ms = self.now_ms
        return self._loop.run(self._redis.apply(mode, asks))

    def take(self, limit: Limit, amount: int = 1) -> Verdict:
        return self.apply(Mode.TAKE, Ask(limit, amount))

    def takes(self, limit: Limit, amount: int = 1) -> bool:
        return self.take(limit, amount).admitted

    def correct(self, taken: Verdict, change: int) -> Verdict:
        return self.apply(Mode.CORRECT, Ask(taken.asks[0].limit, change, taken.states[0].at_ms))
