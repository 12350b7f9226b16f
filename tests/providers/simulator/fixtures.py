"""Simulators for tests, always spoken to over real HTTP.

``simulator`` runs in a thread of the test process (ready in milliseconds); ``new_simulator`` makes more of them;
``simulator_process`` is a process of its own. All yield a ``SimulatorHandle``.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from providers.simulator.running import running_simulator

ROOT = Path(__file__).resolve().parents[3]
PATIENCE_S = 10


class SimulatorHandle:
    """A running simulator. ``base_url`` ends in ``/v1``, as provider rows and SDKs want it."""

    def __init__(self, origin: str, end: Callable[[], None]) -> None:
        self.origin = origin
        self.base_url = f"{origin}/v1"
        self._end = end
        self._running = True

    def bill(self, lines: int = 0, since: float = 0.0) -> list[dict[str, Any]]:
        """Bill lines, oldest first; waits until there are at least ``lines``."""
        found = self.ask("GET", f"/_sim/bill?lines={lines}&since={since}&wait_s={PATIENCE_S}")["lines"]
        assert len(found) >= lines, f"{len(found)} bill lines after {PATIENCE_S} s, {lines} expected"
        return found

    def journal(self, finished: int = 0) -> list[dict[str, Any]]:
        """One entry per inference request; waits until at least ``finished`` of them have ended."""
        found = self.ask("GET", f"/_sim/journal?finished={finished}&wait_s={PATIENCE_S}")["entries"]
        assert sum(entry["finished_s"] is not None for entry in found) >= finished
        return found

    def settings(self, **settings: Any) -> None:
        """Replaces all settings: what is not named gets its default."""
        self.ask("PUT", "/_sim/settings", settings)

    def clear(self) -> None:
        """Empty bill and journal, default settings."""
        self.ask("DELETE", "/_sim/bill")
        self.ask("DELETE", "/_sim/journal")
        self.settings()

    def stop(self) -> None:
        """Ends it at once; afterwards connections are refused."""
        if self._running:
            self._running = False
            self._end()

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        address = urlsplit(self.origin)
        connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=PATIENCE_S * 2)
        try:
            connection.request(method, path, None if body is None else json.dumps(body))
            answer = connection.getresponse()
            text = answer.read()
        finally:
            connection.close()
        assert answer.status < 300, text
        return json.loads(text) if text else None


def start_in_thread(bill: Path | None = None, require_key: str | None = None, port: int = 0) -> SimulatorHandle:
    ready: Future[tuple[str, Callable[[], None]]] = Future()

    async def serve() -> None:
        stopped = asyncio.Event()
        loop = asyncio.get_running_loop()
        async with running_simulator(port=port, bill_path=bill, require_key=require_key) as running:
            ready.set_result((running.origin, lambda: loop.call_soon_threadsafe(stopped.set) and None))
            await stopped.wait()

    def run() -> None:
        try:
            asyncio.run(serve())
        except OSError as error:
            ready.set_exception(error)

    thread = threading.Thread(target=run, name="simulator", daemon=True)
    thread.start()
    origin, stop = ready.result(PATIENCE_S)

    def end() -> None:
        stop()
        thread.join(PATIENCE_S)

    return SimulatorHandle(origin, end)


def start_process(*arguments: str, port: int = 0) -> SimulatorHandle:
    """``python -m providers.simulator``; ``stop()`` kills it with SIGKILL."""
    command = [sys.executable, "-m", "providers.simulator", "--port", str(port), *arguments]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONUNBUFFERED": "1"})
    assert process.stdout is not None
    line = process.stdout.readline()
    assert "http://" in line, f"the simulator said {line!r}"

    def end() -> None:
        process.send_signal(signal.SIGKILL)
        process.wait(PATIENCE_S)
        assert process.stdout is not None
        process.stdout.close()

    return SimulatorHandle(line.split()[-1].removesuffix("/v1"), end)


@pytest.fixture
def new_simulator() -> Iterator[Callable[..., SimulatorHandle]]:
    """Makes simulators (arguments: ``bill``, ``require_key``, ``port``), all stopped at the end of the test."""
    started: list[SimulatorHandle] = []

    def new(bill: Path | None = None, require_key: str | None = None, port: int = 0) -> SimulatorHandle:
        started.append(start_in_thread(bill, require_key, port))
        return started[-1]

    yield new
    for each in started:
        each.stop()


@pytest.fixture
def simulator(new_simulator: Callable[..., SimulatorHandle]) -> SimulatorHandle:
    return new_simulator()


@pytest.fixture
def simulator_process() -> Iterator[SimulatorHandle]:
    handle = start_process()
    yield handle
    handle.stop()
