"""Runs the gateway on one machine: prepares the state folder, owns the listening socket, starts the processes, restarts and ends them.

The supervisor serves nothing itself. It holds the listening socket, so a web process that dies loses only its own
requests: new connections wait in the backlog for its successor. Children die with it (Linux: by the kernel's hand, too).
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from django.conf import settings
from django.core.management import call_command
from django.db import connection

from aigateway.process import bootstrap, children, probe, web

READY_TIMEOUT_S = 60.0
TICK_S = 0.5
STOP_GRACE_S = 5.0
LOG_CHECK_S = 30.0
SIMULATOR_PORT = 8001
INTERRUPTED = 130


class StartFailed(Exception):
    """The gateway could not start. The message is for the person at the terminal."""


def run(out: TextIO, *, web_only: bool = False) -> int:
    """Runs until SIGINT or SIGTERM; returns the exit code. ``web_only`` starts web processes on a database that is ready."""
    try:
        _end_with_make()
        prepare_state_folder(settings.VAR_DIR)
        if web_only:
            return _run_web()
        with _only_one(settings.VAR_DIR), web.bind(settings.HOST, settings.PORT) as listener:
            return _run_all(listener, out)
    except (StartFailed, bootstrap.SeedRefused, web.AddressUnavailable) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED


def _run_all(listener: socket.socket, out: TextIO) -> int:
    with _simulator_listener() as simulator:
        call_command("migrate", verbosity=0, interactive=False)
        seeded = bootstrap.seed(f"http://127.0.0.1:{_port_of(simulator)}")
        _close_database()
        front = [*_web_processes(listener), _beat(listener)]
        return _supervise(Supervisor(front, [_simulator(listener, simulator), _worker(listener)], listener), seeded, out)


def _supervise(supervisor: Supervisor, seeded: bootstrap.Seeded, out: TextIO) -> int:
    try:
        supervisor.start()
    except StartFailed:
        _print_secrets_made(seeded, out)
        raise
    else:
        if not supervisor.signals.stops:
            print(welcome(seeded, supervisor.address), file=out, flush=True)
        supervisor.watch()
    finally:
        supervisor.stop()
    return 0


def _run_web() -> int:
    with web.bind(settings.HOST, settings.PORT) as listener:
        supervisor = Supervisor(_web_processes(listener), [], listener)
        try:
            supervisor.start()
            supervisor.watch()
        finally:
            supervisor.stop()
    return 0


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

    def wait(self, timeout_s: float) -> None:
        if select.select([self._reader], [], [], timeout_s)[0]:
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
        self._logs_checked_at = time.monotonic()

    @property
    def address(self) -> str:
        """Where to reach the gateway from this machine."""
        host = probe.local_address(settings.HOST)
        return f"http://{f'[{host}]' if ':' in host else host}:{_port_of(self._listener)}"

    def start(self) -> None:
        """Returns when the gateway is ready or a stop was asked for. Raises ``StartFailed``."""
        self.signals.install()
        for child in (*self._back, *self._front):
            child.start()
        deadline = time.monotonic() + READY_TIMEOUT_S
        while not self.signals.stops:
            for child in (*self._front, *self._back):
                if child.exit_code() is not None:
                    raise StartFailed(f"{child.name} ended with {child.exit_code()} while starting.\n{child.last_lines()}")
            ready, said = probe.readiness(settings.HOST, _port_of(self._listener))
            if ready:
                return
            if time.monotonic() > deadline:
                raise StartFailed(f"not ready after {READY_TIMEOUT_S:.0f} s: {said}\n{self._front[0].last_lines()}")
            self._wait(0.1)

    def watch(self) -> None:
        """Returns when a stop is asked for. Restarts what ended and says so on standard error."""
        while not self.signals.stops:
            now = time.monotonic()
            for child in (*self._front, *self._back):
                said = child.restart_if_ended(now)
                if said:
                    print(said, file=sys.stderr, flush=True)
            if now - self._logs_checked_at > LOG_CHECK_S:
                self._logs_checked_at = now
                for child in (*self._front, *self._back):
                    child.bound_log()
            self._wait(TICK_S)

    def stop(self) -> None:
        """Ends every child: asked first; killed after the drain time or on a second signal."""
        print(f"Stopping. Running requests have {settings.DRAIN_S} s; Ctrl-C again ends them at once.", file=sys.stderr, flush=True)
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

    def _wait(self, timeout_s: float) -> None:
        self.signals.wait(timeout_s)
        if not self.signals.stops and children.make_was_interrupted():
            self.signals.stops = 1


def prepare_state_folder(folder: Path) -> None:
    """Makes the folder and everything made later in it readable by its owner only."""
    os.umask(0o077)
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    for name in ("log", "celery/queue", "celery/control"):
        (folder / name).mkdir(parents=True, exist_ok=True)


def welcome(seeded: bootstrap.Seeded, address: str) -> str:
    """What a person needs to begin. Secrets are in it only on the start that made them."""
    if seeded.password:
        password = f"{seeded.password}  (shown once)"
    else:
        password = "from AIGATEWAY_ADMIN_PASSWORD" if seeded.password_from_environment else "as you set it"
    if seeded.api_key:
        key, shown = seeded.api_key, f"{seeded.api_key}  (shown once)"
    elif seeded.key_from_environment:
        key, shown = "$AIGATEWAY_BOOTSTRAP_KEY", "from AIGATEWAY_BOOTSTRAP_KEY"
    else:
        key, shown = "$AIGATEWAY_KEY", "as shown at the first start (more in the admin)"
    body = f'{{"model":"{seeded.model}","messages":[{{"role":"user","content":"Hello"}}]}}'
    return f"""
AI gateway is ready at {address}

  Admin     {address}/admin/
  Username  {seeded.username}
  Password  {password}
  API key   {shown}

  curl -sS {address}/v1/chat/completions -H "Authorization: Bearer {key}" -H "Content-Type: application/json" -d '{body}'

Logs are in {settings.VAR_DIR / "log"}. Ctrl-C ends everything.
""" + "".join(f"{notice}\n" for notice in seeded.notices)


def _print_secrets_made(seeded: bootstrap.Seeded, out: TextIO) -> None:
    """They exist now, whether or not the rest came up, and will not be shown again."""
    if seeded.password:
        print(f"Admin username {seeded.username}, password {seeded.password}", file=out, flush=True)
    if seeded.api_key:
        print(f"API key {seeded.api_key}", file=out, flush=True)


def _web_processes(listener: socket.socket) -> list[children.Child]:
    fd = listener.fileno()
    words = ["-m", "aigateway.process.web", "--fd", str(fd)]
    return [_child(f"web-{n}", words, listener, fd) for n in range(1, settings.WEB_PROCESSES + 1)]


def _beat(listener: socket.socket) -> children.Child:
    return _child("beat", ["-m", "celery", "--app", "aigateway", "beat", "--pidfile=", "--loglevel", settings.LOG_LEVEL], listener)


def _worker(listener: socket.socket) -> children.Child:
    pool = ["--pool", "threads", "--concurrency", "4", "--without-gossip", "--without-mingle", "--without-heartbeat"]
    return _child("worker", ["-m", "celery", "--app", "aigateway", "worker", *pool, "--loglevel", settings.LOG_LEVEL], listener)


def _simulator(listener: socket.socket, its_listener: socket.socket) -> children.Child:
    fd = its_listener.fileno()
    return _child("simulator", ["manage.py", "simulator", "--fd", str(fd)], listener, fd)


def _child(name: str, words: list[str], listener: socket.socket, fd: int | None = None) -> children.Child:
    return children.Child(name, words, settings.VAR_DIR / "log", _port_of(listener), fd)


def _simulator_listener() -> socket.socket:
    """On the usual port when it is free, else on any free one."""
    try:
        return web.bind("127.0.0.1", SIMULATOR_PORT)
    except web.AddressUnavailable:
        return web.bind("127.0.0.1", 0)


@contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    """Holds the state folder's lock. Raises ``StartFailed`` when another gateway has it."""
    with (folder / "run.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StartFailed(f"another gateway runs on {folder}. Stop it, or set AIGATEWAY_VAR to another folder.") from None
        yield


def _end_with_make() -> None:
    if "MAKELEVEL" in os.environ:
        children.end_with_parent(signal.SIGTERM)


def _close_database() -> None:
    """No connection and no pool thread may be open when processes are forked."""
    connection.close()
    if connection.vendor == "postgresql":
        connection.close_pool()  # type: ignore[attr-defined]


def _port_of(listener: socket.socket) -> int:
    port: int = listener.getsockname()[1]
    return port
