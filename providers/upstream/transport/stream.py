"""An open answer of a provider."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable

import aiohttp

from providers.upstream.errors import BodyTooLarge, UpstreamError
from providers.upstream.transport.failures import as_upstream_error
from providers.upstream.transport.limits import Inflater, Limits, inflater_for
from providers.upstream.types import HttpResponse

MAX_BODY_BYTES = 32 * 1024 * 1024
READ_BYTES_MAX = 16 * 1024
"""What is parsed, translated and sent in one go: this many bytes and their events are in memory for a client that does not read."""
# How long a finished stream may take to close properly so that its connection can be used again.
_TRAILER_WAIT_S = 0.25


class UpstreamStream:
    """An open answer. ``status`` and ``headers`` are there; chunks come as the network delivers them.

    ``progress()`` is called for every parsed event: idleness is measured in events, not bytes.
    """

    def __init__(
        self, response: aiohttp.ClientResponse, limits: Limits, release: Callable[[], None], wall_clock: Callable[[], float]
    ) -> None:
        self.status = response.status
        self.headers = _plain_headers(response)
        self._response = response
        self._wall_clock = wall_clock
        self._inflater: Inflater | None = None
        self._pieces: deque[bytes] = deque()
        self._is_read = False
        self._limits = limits
        self._release: Callable[[], None] | None = release
        self._loop = asyncio.get_running_loop()
        limits.progressed()
        self._left_at: float | None = self._loop.time()
        """When the last read returned; ``None`` while one is waiting."""
        self._has_progressed = True
        """Since the last read began: the idle time starts anew with the next one."""
        self._timed_out: UpstreamError | None = None
        self._timer = self._loop.call_at(limits.at, self._on_timer)
        self._timer_is_late = False
        """It was set while nobody read, for the limits that hold even then."""

    def progress(self) -> None:
        self._has_progressed = True

    @property
    def at_eof(self) -> bool:
        return self._response.content.at_eof()

    async def next_chunk(self) -> bytes:
        """What the network delivered, empty at the end; inflated within limits where the server insists on compressing.

        Raises the classes of ``errors``.
        """
        if not self._is_read:
            self._is_read = True
            self._inflater = inflater_for(self.headers)
        if self._inflater is None:
            return await self._read()
        while not self._pieces:
            chunk = await self._read()
            if not chunk:
                return b""
            self._pieces.extend(self._inflater.feed(chunk))
        return self._pieces.popleft()

    async def iter_chunks(self) -> AsyncIterator[bytes]:
        while chunk := await self.next_chunk():
            yield chunk

    async def read_response(self, bytes_max: int = MAX_BODY_BYTES) -> HttpResponse:
        """The whole answer, for those that are no stream. Raises ``BodyTooLarge`` above ``bytes_max``."""
        parts: list[bytes] = []
        size = 0
        while chunk := await self.next_chunk():
            self.progress()
            size += len(chunk)
            if size > bytes_max:
                raise BodyTooLarge(f"the answer exceeds {bytes_max} bytes")
            parts.append(chunk)
        return HttpResponse(self.status, self.headers, parts[0] if len(parts) == 1 else b"".join(parts), self._wall_clock())

    async def finish(self) -> None:
        """Ends a stream that has said its last word: reads to the end of the body, briefly, and closes."""
        try:
            async with asyncio.timeout(_TRAILER_WAIT_S):
                while await self._response.content.readany():
                    pass
        except (TimeoutError, aiohttp.ClientError, OSError):
            self._response.close()
        await self.aclose()

    async def aclose(self) -> None:
        """Closes the TCP connection unless the answer was read to its end, so that the provider stops generating."""
        self._timer.cancel()
        release, self._release = self._release, None
        if release is not None:
            self._response.close()
            release()

    async def _read(self) -> bytes:
        """Time in which nobody reads is not the provider's idleness."""
        if self._has_progressed:
            self._has_progressed = False
            self._limits.progressed()
        elif self._left_at is not None:
            self._limits.paused(self._loop.time() - self._left_at)
        self._left_at = None
        if self._timer_is_late:
            self._set_timer(self._limits.at)
        try:
            return await self._response.content.read(READ_BYTES_MAX)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise self._timed_out or as_upstream_error(error) from error
        finally:
            self._left_at = self._loop.time()

    def _set_timer(self, due: float) -> None:
        self._timer.cancel()
        self._timer = self._loop.call_at(due, self._on_timer)
        self._timer_is_late = self._left_at is not None

    def _on_timer(self) -> None:
        """One timer per stream: it looks whether there was progress, instead of being moved at every event."""
        due = self._limits.at if self._left_at is None else self._limits.hard_at
        if self._loop.time() < due:
            self._set_timer(due)
            return
        self._timed_out = self._limits.error()
        self._response.content.set_exception(aiohttp.ServerTimeoutError())
        self._response.close()


def _plain_headers(response: aiohttp.ClientResponse) -> dict[str, str]:
    """Lower-case names; of a repeated header the first one counts."""
    headers: dict[str, str] = {}
    for name, value in response.headers.items():
        headers.setdefault(name.lower(), value)
    return headers
