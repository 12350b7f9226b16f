"""Deadlines, connection pools and bounded decompression."""

from __future__ import annotations

import asyncio
import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from providers.upstream.egress import DNS_TIMEOUT_S
from providers.upstream.errors import (
    AttemptTimeout,
    BodyTooLarge,
    ConnectTimeout,
    DeadlineExceeded,
    FirstByteTimeout,
    IdleTimeout,
    InvalidBody,
    PoolExhausted,
    UpstreamError,
)
from providers.upstream.types import Timeouts

POOL_WAIT_S = 0.2
TLS_TIMEOUT_S = 3.0
_INFLATED_CHUNK_BYTES = 256 * 1024
_INFLATE_RATIO_MAX = 100
_INFLATE_FREE_BYTES = 1024 * 1024


class Deadline:
    """The one deadline of a request, created at ingress; it only shrinks. ``clock`` is monotonic seconds."""

    __slots__ = ("_clock", "_expires_at")

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._expires_at = clock() + seconds

    def remaining_s(self) -> float:
        return self._expires_at - self._clock()

    def shrink_to(self, seconds: float) -> None:
        self._expires_at = min(self._expires_at, self._clock() + seconds)


class Limits:
    """The deadlines of one call. Whichever is nearest binds; ``error`` is the class of the one that passed.

    The phases follow each other: connect, first byte, idle. Times are those of the event loop.
    """

    __slots__ = ("_attempt_at", "_error", "_loop", "_phase_at", "_request_at", "_timeouts")

    def __init__(self, timeouts: Timeouts, deadline: Deadline) -> None:
        self._loop = asyncio.get_running_loop()
        self._timeouts = timeouts
        now = self._loop.time()
        self._attempt_at = now + timeouts.total_s
        self._request_at = now + deadline.remaining_s()
        self._error: type[UpstreamError] = ConnectTimeout
        self._phase_at = now + DNS_TIMEOUT_S + timeouts.connect_s + TLS_TIMEOUT_S

    @property
    def connect_s(self) -> float:
        return self._timeouts.connect_s

    @property
    def hard_at(self) -> float:
        """The limit that holds even while nobody reads."""
        return min(self._attempt_at, self._request_at)

    @property
    def at(self) -> float:
        return min(self._phase_at, self._attempt_at, self._request_at)

    def connected(self) -> None:
        self._error = FirstByteTimeout
        self._phase_at = self._loop.time() + self._timeouts.first_byte_s

    def progressed(self) -> None:
        self._error = IdleTimeout
        self._phase_at = self._loop.time() + self._timeouts.idle_s

    def paused(self, seconds: float) -> None:
        """Time in which we did not read is not the provider's idleness."""
        self._phase_at += seconds

    def error(self) -> UpstreamError:
        """Without a connection nothing was sent, whichever limit passed."""
        now = self._loop.time()
        if self._error is ConnectTimeout:
            return ConnectTimeout("no connection in time")
        if now >= self._request_at:
            return DeadlineExceeded("the deadline of the request passed")
        if now >= self._attempt_at:
            return AttemptTimeout(f"one attempt took more than {self._timeouts.total_s:g} s")
        return self._error(f"nothing happened in time ({self._error.code})")


@dataclass(frozen=True, slots=True)
class PoolState:
    """The connections to one provider: calls under way and waiting for their turn now; since the start of the process,
    connections opened, calls that found an open one, and calls refused after waiting in vain."""

    provider_id: int
    in_use: int
    waiting: int
    opened: int
    reused: int
    refused: int


class Pool:
    """At most ``max_connections`` calls to one provider at once; the others wait shortly, then go elsewhere."""

    __slots__ = ("_in_use", "_waiting", "opened", "refused", "reused")

    def __init__(self) -> None:
        self._in_use = 0
        self._waiting: list[asyncio.Future[None]] = []
        self.opened = 0
        self.reused = 0
        self.refused = 0

    def state(self, provider_id: int) -> PoolState:
        return PoolState(provider_id, self._in_use, len(self._waiting), self.opened, self.reused, self.refused)

    async def take(self, max_connections: int) -> None:
        """Raises ``PoolExhausted`` after 200 ms."""
        if self._in_use < max_connections:
            self._in_use += 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            async with asyncio.timeout(POOL_WAIT_S):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():
                self.free()
            elif turn in self._waiting:
                self._waiting.remove(turn)
            if isinstance(error, TimeoutError):
                self.refused += 1
                raise PoolExhausted(f"all {max_connections} connections are busy") from None
            raise

    def free(self) -> None:
        while self._waiting:
            turn = self._waiting.pop(0)
            if not turn.done():
                turn.set_result(None)  # the slot changes hands
                return
        self._in_use -= 1


class Inflater:
    """Bounded decompression for servers that compress although identity was asked for (decompression bombs)."""

    __slots__ = ("_inflated", "_read", "_stream")

    _WINDOW_BITS = {"gzip": 31, "deflate": 15}

    def __init__(self, encoding: str) -> None:
        if encoding not in self._WINDOW_BITS:
            raise InvalidBody(f"an answer in content encoding {encoding[:20]!r} although identity was asked for")
        self._stream = zlib.decompressobj(self._WINDOW_BITS[encoding])
        self._read = 0
        self._inflated = 0

    def feed(self, chunk: bytes) -> list[bytes]:
        """Pieces of at most 256 KiB. Raises ``BodyTooLarge`` at a ratio above 100 and ``InvalidBody`` for garbage."""
        self._read += len(chunk)
        pieces = []
        pending = chunk
        while pending:
            try:
                piece = self._stream.decompress(pending, _INFLATED_CHUNK_BYTES)
            except zlib.error as error:
                raise InvalidBody(f"a broken compressed answer: {error}") from error
            self._inflated += len(piece)
            if self._inflated > max(self._read * _INFLATE_RATIO_MAX, _INFLATE_FREE_BYTES):
                raise BodyTooLarge("the answer inflates beyond every measure")
            if piece:
                pieces.append(piece)
            pending = self._stream.unconsumed_tail
        return pieces


def inflater_for(headers: Mapping[str, str]) -> Inflater | None:
    encoding = headers.get("content-encoding", "identity").strip().lower()
    return None if encoding in ("", "identity") else Inflater(encoding)
