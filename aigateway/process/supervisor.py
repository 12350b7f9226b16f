"""Keeps the processes of a gateway alive: starts them, restarts what ended, and ends them in their order.

Knows nothing of what they do, nor of Django's apps and database.
"""

from __future__ import annotations

import select
import signal
import socket
import sys
import time
from collections.abc import Sequence

from django.conf import settings

from aigateway.process import children, probe
from aigateway.process.starting import Asker, HasFileno, await_ready

TICK_S = 0.5
STOP_GRACE_S = 5.0
LOG_CHECK_S = 30.0


class Signals:
    """Counts requests to stop. ``wait`` sleeps until the next signal (a child's end is one) or the timeout."""

    def __init__(self) -> None:
        self.stops = 0
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)

    def install(self) -> None:
        signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        # A shell starts background jobs with SIGINT ignored; whoever sends it still means it. An ignored SIGHUP is nohup.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._stop)
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            signal.signal(signal.SIGHUP, self._stop)

    def wait(self, timeout_s: float, others: Sequence[HasFileno] = ()) -> None:
        """Also returns when something can be read from one of ``others``."""
        if self._reader in select.select([self._reader, *others], [], [], timeout_s)[0]:
            self._reader.recv(4096)

    def _stop(self, *_: object) -> None:
        self.stops += 1


class Supervisor:
    """Keeps ``front`` (web processes, beat) and ``back`` (simulator, worker) alive until a stop is asked for.

    The front is stopped first: requests that still run need what is behind it.
    """

    def __init__(self, front: list[children.Child], back: list[children.Child], listener: socket.socket) -> None:
        self.signals = Signals()
        self._front = front
        self._back = back
        self._listener = listener
        self._port: int = listener.getsockname()[1]
        self._logs_checked_at = time.monotonic()

    @property
    def address(self) -> str:
        """Where to reach the gateway from this machine."""
        host = probe.local_address(settings.HOST)
        return f"http://{f'[{host}]' if ':' in host else host}:{self._port}"

    def start(self) -> None:
        """Returns when the gateway is ready or a stop was asked for. Raises ``StartFailed``."""
        self.signals.install()
        for child in (*self._back, *self._front):
            child.start()
        asker = Asker(settings.HOST, self._port)
        try:
            served = [child for child in self._front if child.serves]
            await_ready((*self._front, *self._back), served, asker, self._wait, _tell)
        finally:
            asker.close()

    def watch(self) -> None:
        """Returns when a stop is asked for. Restarts what ended and says so on standard error."""
        while not self.signals.stops:
            now = time.monotonic()
            for child in (*self._front, *self._back):
                said = child.restart_if_ended(now)
                if said:
                    _tell(said)
            if now - self._logs_checked_at > LOG_CHECK_S:
                self._logs_checked_at = now
                for child in (*self._front, *self._back):
                    child.bound_log()
            self._wait(TICK_S)

    def stop(self) -> None:
        """Ends every child: asked first; killed after the drain time or on a second signal."""
        _tell(f"Stopping. Running requests have {settings.DRAIN_S} s; Ctrl-C again ends them at once.")
        self._listener.close()
        self._end(self._front, settings.STOP_DELAY_S + settings.DRAIN_S + STOP_GRACE_S)
        self._end(self._back, STOP_GRACE_S)

    def _end(self, group: list[children.Child], patience_s: float) -> None:
        for child in group:
            child.terminate()
        deadline = time.monotonic() + patience_s
        while time.monotonic() < deadline and self.signals.stops < 2 and any(child.exit_code() is None for child in group):
            self._wait(0.1)
        for child in group:
            child.kill()

    def _wait(self, timeout_s: float, others: Sequence[HasFileno] = ()) -> bool:
        """Returns whether a stop was asked for."""
        self.signals.wait(timeout_s, others)
        if not self.signals.stops and children.make_was_interrupted():
            self.signals.stops = 1
        return self.signals.stops > 0


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
