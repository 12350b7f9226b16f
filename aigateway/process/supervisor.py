"""Keeps the processes of a gateway alive: starts them, restarts what ended, and ends them in their order.

Knows nothing of what they do, nor of Django's apps and database.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
import time
from collections.abc import Sequence

from django.conf import settings

from aigateway.process import children, probe
from aigateway.process.starting import Asker, HasFileno, Patience, await_ready

TICK_S = 0.5
READY_TICK_S = 0.1
STOP_GRACE_S = 5.0
LOG_CHECK_S = 30.0


class Signals:
    """Counts requests to stop and to reload. ``wait`` sleeps until the next signal (a child's end is one) or the timeout."""

    def __init__(self) -> None:
        self.stops = 0
        self.reloads = 0
        self._had_terminal = False
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
            self._had_terminal = _has_terminal()
            signal.signal(signal.SIGHUP, self._hang_up)

    def wait(self, timeout_s: float, others: Sequence[HasFileno] = ()) -> None:
        """Also returns when something can be read from one of ``others``."""
        if self._reader in select.select([self._reader, *others], [], [], timeout_s)[0]:
            self._reader.recv(4096)

    def _stop(self, *_: object) -> None:
        self.stops += 1

    def _hang_up(self, *_: object) -> None:
        """Sent by a person it means: reload. Sent because the terminal was closed it means what it always meant."""
        if self._had_terminal and not _has_terminal():
            self.stops += 1
        else:
            self.reloads += 1


def _has_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True


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
        self._leaving: list[children.Child] = []
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
        """Returns when a stop is asked for. Restarts what ended and says so on standard error; reloads when asked to."""
        reloads = 0
        while not self.signals.stops:
            self._tend()
            if self.signals.reloads > reloads:
                reloads = self.signals.reloads
                self._reload()
            self._wait(TICK_S)

    def _tend(self) -> None:
        now = time.monotonic()
        everybody = [child for child in (*self._front, *self._back) if child not in self._leaving]
        for child in everybody:
            said = child.restart_if_ended(now)
            if said:
                _tell(said)
        if now - self._logs_checked_at > LOG_CHECK_S:
            self._logs_checked_at = now
            for child in everybody:
                child.bound_log()

    def _reload(self) -> None:
        """Replaces web processes one after the other, each once its successor serves; then restarts what serves nobody (C13)."""
        _tell("Reloading.")
        for place, old in enumerate(self._front):
            if old.serves and not (self.signals.stops or self._replace(place, old)):
                return
        for child in (*self._front, *self._back):
            if not child.serves and not self.signals.stops:
                child.terminate()
                self._await_end(child)
                child.start()
        if not self.signals.stops:
            _tell("Reloaded.")

    def _replace(self, place: int, old: children.Child) -> bool:
        """Whether the successor serves. If it does not, the old process goes on."""
        new = old.successor()
        new.start()
        patience = Patience(time.monotonic())
        while not new.is_ready():
            if new.exit_code() is not None or patience.is_over or self.signals.stops:
                _tell(f"Not reloaded: the new {new.name} does not serve, the old one goes on.\n{new.last_lines()}")
                new.kill()
                return False
            self._tend()
            self._wait(READY_TICK_S)
            patience.look(time.monotonic(), new.movement())
        self._front[place] = new
        old.retire()
        self._await_end(old)
        return True

    def _await_end(self, child: children.Child) -> None:
        """Waits until ``child`` has ended what it began; kills it when its time is over. All others are kept alive meanwhile."""
        self._leaving.append(child)
        deadline = time.monotonic() + settings.DRAIN_S + STOP_GRACE_S
        while child.exit_code() is None and time.monotonic() < deadline and not self.signals.stops:
            self._tend()
            self._wait(READY_TICK_S)
        if not self.signals.stops:
            child.kill()
            self._leaving.remove(child)

    def stop(self) -> None:
        """Ends every child: asked first; killed after the drain time or on a second signal."""
        _tell(f"Stopping. Running requests have {settings.DRAIN_S} s; Ctrl-C again ends them at once.")
        self._listener.close()
        self._end(
            [*self._front, *(child for child in self._leaving if child not in self._back)],
            settings.STOP_DELAY_S + settings.DRAIN_S + STOP_GRACE_S,
        )
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
