"""A process of its own that hammers two limits: ``python -m tests.usage.limit_hammer <redis url> <threads> <calls each>``.

Prints how many calls a sliding window and a token bucket of 100 admitted.
"""

from __future__ import annotations

import asyncio
import sys
from concurrent.futures import ThreadPoolExecutor

import django

django.setup()

from usage.limits.limiter import RedisBuckets  # noqa: E402
from usage.limits.redis_connection import RedisConnection  # noqa: E402
from usage.limits.types import Ask, Limit, Mode  # noqa: E402 - Django first

PATIENCE_S = 30.0


async def hammer(url: str, limit: Limit, calls: int) -> int:
    connection = RedisConnection(url, connect_s=PATIENCE_S, command_s=PATIENCE_S)
    await connection.connect()
    buckets = RedisBuckets(connection)
    verdicts = await asyncio.gather(*(buckets.apply(Mode.TAKE, (Ask(limit, 1),)) for _ in range(calls)))
    await connection.close()
    return sum(verdict.admitted for verdict in verdicts)


def main() -> None:
    url, threads, calls = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    for burst in (None, 100):
        limit = Limit("hammered", "gateway", "requests", "day", 100, burst)
        with ThreadPoolExecutor(threads) as pool:
            admitted = list(pool.map(lambda _, limit=limit: asyncio.run(hammer(url, limit, calls)), range(threads)))
        sys.stdout.write(f"{sum(admitted)}\n")


if __name__ == "__main__":
    main()
