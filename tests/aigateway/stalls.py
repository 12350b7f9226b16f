"""How long one thing kept an event loop from everything else, judged by processor time: a busy machine does not change it.

Between two beats of the loop's heart lie the processor time of the loop's own callbacks and that of the threads it hands work to,
which keep the interpreter's lock while they are inside one C function. A thread that lets others in every few milliseconds, as
the interpreter makes it, adds no more than that.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Iterator

import uvloop

from tests.aigateway.conftest import ServerThread

BEAT_S = 0.001
WORKERS = ("reading", "asyncio", "idempotency")
"""Names of the threads that work for the loop begin so."""


class Heart:
    """Beats on a running loop. ``longest_s`` is the most processor time between two beats since ``forget``."""

    def __init__(self) -> None:
        self.longest_s = 0.0
        self.beats = 0
        self._loop_s = 0.0
        self._workers_s: dict[int, float] = {}

    def start(self) -> None:
        self._look()
        self.longest_s = 0.0
        self._loop = asyncio.get_running_loop()
        self._loop.call_later(BEAT_S, self._beat)

    def forget(self) -> None:
        self.longest_s, self.beats = 0.0, 0

    def _beat(self) -> None:
        self._look()
        self.beats += 1
        self._loop.call_later(BEAT_S, self._beat)

    def _look(self) -> None:
        loop_s, workers_s = time.thread_time(), _workers_s()
        worked_s = max((now_s - self._workers_s.get(ident, 0.0) for ident, now_s in workers_s.items()), default=0.0)
        self.longest_s = max(self.longest_s, loop_s - self._loop_s + worked_s)
        self._loop_s, self._workers_s = loop_s, workers_s


def _workers_s() -> dict[int, float]:
    used: dict[int, float] = {}
    for thread in threading.enumerate():
        if thread.name.startswith(WORKERS) and thread.ident is not None:
            with contextlib.suppress(OSError):  # it ended meanwhile
                used[thread.ident] = time.clock_gettime(time.pthread_getcpuclockid(thread.ident))
    return used


class WatchedServer(ServerThread):
    """The product's server with a heart."""

    def __init__(self) -> None:
        super().__init__()
        self.heart = Heart()

    def _run(self) -> None:
        uvloop.run(self._serve())

    async def _serve(self) -> None:
        self.heart.start()
        await self._server.serve(sockets=[self._listener])


@contextlib.contextmanager
def watched_server() -> Iterator[WatchedServer]:
    server = WatchedServer()
    server.start()
    try:
        yield server
    finally:
        server.stop()
