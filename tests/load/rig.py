"""The pieces a load run stands on, each a real server on loopback with its state in a scratch folder."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.load.cpu import command_line, descendants
from tests.servers import PrivatePostgres

ROOT = Path(__file__).resolve().parents[2]
READY_S = 300.0
STOP_S = 20.0


class NotReady(RuntimeError):
    """A server did not come up. The message carries the end of its log."""


class DurablePostgres(PrivatePostgres):
    """As in production: commits reach the disk before they are acknowledged."""

    def command(self) -> list[str]:
        durable = ("fsync=on", "full_page_writes=on", "synchronous_commit=on", "shared_buffers=128MB")
        defaults = ("wal_level=replica", "max_wal_size=1GB", "checkpoint_timeout=5min", "jit=on")
        return [*super().command(), *(word for option in (*durable, *defaults) for word in ("-c", option))]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def new_gateway_key() -> str:
    return f"gw_{secrets.token_hex(6)}_{secrets.token_urlsafe(32)}"


@contextmanager
def scratch_folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="aigateway-load-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def durable_postgres(folder: Path) -> Iterator[DurablePostgres]:
    folder.mkdir()
    server = DurablePostgres(folder)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def gateway_environment(folder: Path, port: int, key: str, database_url: str | None) -> dict[str, str]:
    """Variables of a gateway whose state is in ``folder``; none of the caller's own settings get through."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AIGATEWAY_") and not name.endswith("_API_KEY")}
    for name in ("DATABASE_URL", "REDIS_URL", "HOST", "PORT", "DJANGO_SETTINGS_MODULE", "MAKELEVEL"):
        kept.pop(name, None)
    own = {
        "AIGATEWAY_VAR": str(folder),
        "AIGATEWAY_BOOTSTRAP_KEY": key,
        "AIGATEWAY_WEB_PROCESSES": "1",
        "AIGATEWAY_DRAIN_S": "5",
        "HOST": "127.0.0.1",
        "PORT": str(port),
    }
    return kept | own | ({"DATABASE_URL": database_url} if database_url else {})


def manage(environment: dict[str, str], *words: str) -> str:
    """One management command; its standard output. Raises ``NotReady`` when it fails."""
    done = subprocess.run([sys.executable, "manage.py", *words], cwd=ROOT, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise NotReady(f"manage.py {words[0]}:\n{done.stderr[-3000:]}")
    return done.stdout


def in_django(environment: dict[str, str], module: str, *words: str) -> str:
    """Runs ``python -m module words`` in the gateway's environment; its standard output."""
    done = subprocess.run([sys.executable, "-m", module, *words], cwd=ROOT, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise NotReady(f"{module}:\n{done.stderr[-3000:]}")
    return done.stdout


class Running:
    """A process with its output in a log file."""

    def __init__(self, command: list[str], log: Path, environment: dict[str, str] | None = None, fds: tuple[int, ...] = ()) -> None:
        self.log = log
        with log.open("ab") as out:
            self.process = subprocess.Popen(
                command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=out, pass_fds=fds
            )

    @property
    def pid(self) -> int:
        return self.process.pid

    def wait_for_line(self, pattern: str) -> str:
        """The first group of the first match in the log."""
        return str(self.wait_until(lambda: (found := re.search(pattern, self.said())) and found[1]))

    def wait_for_url(self, url: str) -> None:
        self.wait_until(lambda: _answers(url))

    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def child(self, words: str) -> int:
        """The one descendant whose command line contains ``words``."""
        found = [pid for pid in descendants(self.pid) if words in command_line(pid)]
        assert len(found) == 1, f"{len(found)} processes run {words}"
        return found[0]

    def wait_until(self, look: Callable[[], object]) -> object:
        """What ``look`` found, once it is something. Raises ``NotReady`` when the process ends before, or after ``READY_S`` seconds."""
        deadline = time.monotonic() + READY_S
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                break
            found = look()
            if found:
                return found
            time.sleep(0.05)
        raise NotReady(f"{self.process.args}:\n{self.said()[-3000:]}")


@contextmanager
def running(command: list[str], log: Path, environment: dict[str, str] | None = None, fds: tuple[int, ...] = ()) -> Iterator[Running]:
    """``fds`` are handed on to the process."""
    started = Running(command, log, environment, fds)
    try:
        yield started
    finally:
        started.stop()


@contextmanager
def simulator(folder: Path, send_buffer_bytes: int | None = None) -> Iterator[tuple[Running, str]]:
    """A simulator and its origin."""
    with listener(send_buffer_bytes) as made:
        fd = made.fileno()
        command = [sys.executable, "-m", "providers.simulator", "--fd", str(fd), "--bill", str(folder / "bill.jsonl")]
        with running(command, folder / "simulator.log", fds=(fd,)) as process:
            yield process, process.wait_for_line(r"listening on (\S+)/v1\n")


@contextmanager
def listener(send_buffer_bytes: int | None = None) -> Iterator[socket.socket]:
    """A listening socket on any free port, to hand on. ``send_buffer_bytes``: what the kernel keeps for a client who does not
    read, of every connection; without it up to several megabytes."""
    with socket.socket() as made:
        if send_buffer_bytes is not None:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer_bytes)
        made.bind(("127.0.0.1", 0))
        made.listen(1024)
        yield made


def fetch(url: str, key: str | None = None, method: str = "GET") -> bytes:
    headers = {"authorization": f"Bearer {key}"} if key else {}
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers, method=method), timeout=60) as answer:
        body: bytes = answer.read()
        return body


def fetch_json(url: str, key: str | None = None) -> dict[str, object]:
    decoded: dict[str, object] = json.loads(fetch(url, key))
    return decoded


def _answers(url: str) -> bool:
    try:
        fetch(url)
    except urllib.error.HTTPError:
        return False
    except OSError:
        return False
    return True
