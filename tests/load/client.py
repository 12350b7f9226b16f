"""The load: a fixed number of requests at a fixed concurrency, every answer checked to its end."""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import aiohttp

MODEL = "sim-small"
TRANSLATED_MODEL = "sim-claude"
"""Behind the gateway an Anthropic upstream answers to this name."""


@dataclass(frozen=True, slots=True)
class Load:
    """``tokens`` is the length of an answer; in a stream each is a chunk of its own, ``chunk_ms`` after the one before."""

    concurrency: int
    requests: int
    stream: bool
    tokens: int
    chunk_ms: int = 0
    model: str = MODEL

    @property
    def label(self) -> str:
        if not self.stream:
            return "requests"
        return "stream chunks" if self.model == MODEL else "stream chunks, translated"

    def body(self) -> bytes:
        text = f"Tell me about the sea. [sim tokens={self.tokens} chunk_ms={self.chunk_ms}]"
        return json.dumps({"model": self.model, "stream": self.stream, "messages": [{"role": "user", "content": text}]}).encode()


@dataclass(frozen=True, slots=True)
class Done:
    """``chunks`` counts the events of streams (``data:`` lines)."""

    requests: int
    chunks: int
    seconds: float
    latencies_s: tuple[float, ...]

    @property
    def median_ms(self) -> float:
        return statistics.median(self.latencies_s) * 1000

    @property
    def p99_ms(self) -> float:
        return sorted(self.latencies_s)[int(len(self.latencies_s) * 0.99)] * 1000


class BadAnswer(AssertionError):
    """An answer was not what the load expects, so its cost would mean nothing."""


def drive(load: Load, origin: str, key: str) -> Done:
    return asyncio.run(_drive(load, origin, key))


async def _drive(load: Load, origin: str, key: str) -> Done:
    latencies: list[float] = []
    chunks = 0
    left = load.requests
    body, url = load.body(), f"{origin}/v1/chat/completions"
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    read = _read_stream if load.stream else _read_plain

    async def work(session: aiohttp.ClientSession) -> None:
        nonlocal left, chunks
        while left > 0:
            left -= 1
            started = time.perf_counter()
            async with session.post(url, data=body, headers=headers) as answer:
                counted = await read(answer)
            chunks += counted
            latencies.append(time.perf_counter() - started)

    connector = aiohttp.TCPConnector(limit=load.concurrency)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=300)) as session:
        started = time.perf_counter()
        await _all(load.concurrency, lambda: work(session))
        seconds = time.perf_counter() - started
    return Done(load.requests, chunks, seconds, tuple(latencies))


async def _all(count: int, work: Callable[[], Awaitable[None]]) -> None:
    async with asyncio.TaskGroup() as group:
        for _ in range(count):
            group.create_task(work())  # type: ignore[arg-type]


async def _read_plain(answer: aiohttp.ClientResponse) -> int:
    body = await answer.read()
    if answer.status != 200 or b'"finish_reason":"stop"' not in body:
        raise BadAnswer(f"{answer.status} {body[:500]!r}")
    return 0


async def _read_stream(answer: aiohttp.ClientResponse) -> int:
    chunks, tail = 0, b""
    async for piece in answer.content.iter_any():
        chunks += piece.count(b"data: ")
        tail = (tail + piece)[-64:]
    if answer.status != 200 or not tail.endswith(b"data: [DONE]\n\n"):
        raise BadAnswer(f"{answer.status} {tail!r}")
    return chunks
