"""``manage.py run``: the whole gateway as a person starts it.

A start costs many seconds of processor time, so tests share one where they can: first those that leave it running, then the
one that ends it, then those that start on what it left behind, with web processes only where nothing else is asked for.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import secrets
import shlex
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psycopg
import pytest

from aigateway.process import probe
from tests.servers import free_port

ROOT = Path(__file__).resolve().parent.parent
PATIENCE_S = 600.0
"""Longer than a test may take: what is waited for ends in its own time, or the test in the limit of every test."""
pytestmark = [pytest.mark.timeout(300), pytest.mark.both_databases]
MANAGE = (sys.executable, "manage.py")
GIVEN_KEY = f"gw_{'a1' * 6}_{'s' * 43}"
GIVEN_PASSWORD = "a long pass phrase"


class ForeignState:
    """Where gateways keep their state, one after the other: files, or a database of their own on the run's private servers.

    ``embedded``: files, wherever the run's own tests keep theirs.
    """

    def __init__(self, folder: Path, *, embedded: bool = False) -> None:
        self.var = folder / "var"
        self.env: dict[str, str] = dict.fromkeys(("DATABASE_URL", "REDIS_URL"), "") if embedded else {}
        server = os.environ.get("DATABASE_URL")
        if server and not embedded:
            name = f"run_{secrets.token_hex(6)}"
            with psycopg.connect(server.replace("postgres://", "postgresql://"), autocommit=True) as connection:
                connection.execute(f"CREATE DATABASE {name}")  # type: ignore[arg-type]
            worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")
            redis_url = os.environ["REDIS_URL"].rpartition("/")[0]
            self.env = {"DATABASE_URL": f"{server.rpartition('/')[0]}/{name}", "REDIS_URL": f"{redis_url}/{int(worker) + 8}"}

    def execute(self, statement: str) -> None:
        """Runs one SQL statement; no gateway may be running."""
        url = self.env.get("DATABASE_URL", "").replace("postgres://", "postgresql://")
        connection = psycopg.connect(url) if url else sqlite3.connect(self.var / "aigateway.sqlite3")
        with closing(connection), connection:
            connection.execute(statement)


class Gateway:
    """A running ``manage.py run``; its processes are those of its session."""

    def __init__(self, state: ForeignState, *, command: tuple[str, ...] = (*MANAGE, "run"), **env: str) -> None:
        kept = {name: value for name, value in os.environ.items() if name not in ("MAKELEVEL", "MAKEFLAGS")} | state.env
        self.state = state
        self.output = state.var.parent / f"output-{secrets.token_hex(4)}.txt"
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                command,
                cwd=ROOT,
                env={**kept, "AIGATEWAY_VAR": str(state.var), "PORT": "0", "AIGATEWAY_DRAIN_S": "5", **env},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def said(self) -> str:
        return self.output.read_text()

    def wait_until_ready(self) -> str:
        """The whole output, once it ends with the curl line."""
        until(lambda: "Ctrl-C ends everything" in self.said() or self.process.poll() is not None, PATIENCE_S, self.said)
        assert self.process.poll() is None, self.said()
        return self.said()

    def wait_until_started(self) -> None:
        """Until its supervisor knows that everything runs: a process that ends before that ends the start."""
        until(lambda: "AI gateway is ready at" in self.said() or self.process.poll() is not None, PATIENCE_S, self.said)
        assert self.process.poll() is None, self.said()

    def wait_until_it_serves(self, port: int) -> None:
        """Also by processes that took the place of others."""
        until(lambda: probe.readiness("127.0.0.1", port)[0] or self.process.poll() is not None, PATIENCE_S, self.said)
        assert self.process.poll() is None, self.said()

    def processes(self) -> dict[int, str]:
        """Living processes of the session: pid and command line."""
        found = {}
        for folder in Path("/proc").iterdir():
            if folder.name.isdigit():
                try:
                    after_name = (folder / "stat").read_text().rpartition(")")[2].split()
                    words = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                except OSError:
                    continue
                if int(after_name[3]) == self.process.pid and after_name[0] != "Z":
                    found[int(folder.name)] = words
        return found

    def pid_of(self, words: str) -> int | None:
        return next((pid for pid, command in self.processes().items() if words in command), None)

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_S)

    def kill_all(self) -> None:
        for pid in self.processes():
            os.kill(pid, signal.SIGKILL)
        self.process.wait(PATIENCE_S)


def until(true: Callable[[], object], timeout_s: float, explain: Callable[[], object] = str) -> None:
    deadline = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < deadline, explain()
        time.sleep(0.05)


@contextmanager
def starting(state: ForeignState) -> Iterator[Callable[..., Gateway]]:
    started: list[Gateway] = []

    def start(**options) -> Gateway:
        started.append(Gateway(state, **options))
        return started[-1]

    try:
        yield start
    finally:
        for gateway in started:
            gateway.kill_all()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Gateway]]:
    """Starts on nothing."""
    with starting(ForeignState(tmp_path)) as start:
        yield start


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """The first start on nothing, which goes on until a test ends it."""
    with starting(ForeignState(tmp_path_factory.mktemp("first"))) as start:
        gateway = start()
        gateway.wait_until_ready()
        yield gateway


@pytest.fixture
def start_again(first: Gateway) -> Iterator[Callable[..., Gateway]]:
    """Starts on what the first start left behind."""
    if first.process.poll() is None:
        first.stop()
    with starting(first.state) as start:
        yield start


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """The first start of somebody who brought key, name and password; it goes on until a test ends it."""
    with starting(ForeignState(tmp_path_factory.mktemp("given"))) as start:
        gateway = start(AIGATEWAY_BOOTSTRAP_KEY=GIVEN_KEY, AIGATEWAY_ADMIN_USERNAME="olga", AIGATEWAY_ADMIN_PASSWORD=GIVEN_PASSWORD)
        gateway.wait_until_ready()
        yield gateway


def run_curl(line: str) -> tuple[int, dict[str, object]]:
    """Sends what the printed curl line says; the line is understood, not run: curl need not be there."""
    words = shlex.split(line)
    url = next(word for word in words if word.startswith("http://"))
    headers = dict(words[at + 1].split(": ", 1) for at, word in enumerate(words) if word == "-H")
    host, _, path = url.removeprefix("http://").partition("/")
    connection = http.client.HTTPConnection(host, timeout=20)
    try:
        connection.request("POST", f"/{path}", words[words.index("-d") + 1], headers)
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def curl_line(said: str) -> str:
    return next(line.strip() for line in said.splitlines() if line.strip().startswith("curl "))


def key_of(first: Gateway) -> str:
    """The key that only a first start shows."""
    return re.search(r"gw_\S+", first.said()).group()


def run_curl_again(said: str, first: Gateway) -> tuple[int, dict[str, object]]:
    """What a second start prints, by somebody who kept the key."""
    return run_curl(curl_line(said).replace("$AIGATEWAY_KEY", key_of(first)))


def test_a_first_start_serves_and_survives_a_killed_web_process(first: Gateway) -> None:
    said = first.said()
    assert re.search(r"Preparing the database: \d+ migrations\.", said)
    assert re.search(r"Username\s+admin", said)
    assert re.search(r"Password\s+\S{20}\s", said)
    status, body = run_curl(curl_line(said))
    assert (status, body.get("object")) == (200, "chat.completion"), body

    web = first.pid_of("aigateway.process.web")
    os.kill(web, signal.SIGKILL)
    status, body = run_curl(curl_line(said))  # waits in the backlog for the successor
    assert status == 200, body
    assert first.pid_of("aigateway.process.web") not in (None, web)


def test_a_second_gateway_on_the_same_state_folder_is_refused(first: Gateway) -> None:
    with starting(first.state) as start:
        second = start(PORT=str(free_port()))
        assert second.process.wait(PATIENCE_S) == 1
    assert "another gateway" in second.said()


def test_beat_ends_though_the_signal_meets_it_amid_a_query(first: Gateway) -> None:
    url = first.state.env.get("DATABASE_URL", "").replace("postgres://", "postgresql://")
    if not url:
        pytest.skip("SQLite holds up writers only, for seconds at most")
    with psycopg.connect(url, autocommit=True) as watcher, psycopg.connect(url) as holder:
        watcher.execute("UPDATE django_celery_beat_periodictask SET last_run_at = NULL")  # everything is due and has to be saved
        holder.execute("LOCK TABLE django_celery_beat_periodictask IN SHARE MODE")
        os.kill(first.pid_of("celery --app aigateway beat"), signal.SIGKILL)
        killed_at = watcher.execute("SELECT clock_timestamp()").fetchone()  # the killed beat's backend may still wait for the lock
        saving = (
            "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            " AND query LIKE '%%celery_beat_periodictask%%' AND backend_start > %s"
        )
        until(lambda: watcher.execute(saving, killed_at).fetchone(), PATIENCE_S, first.said)
        beat = first.pid_of("celery --app aigateway beat")
        os.kill(beat, signal.SIGTERM)
        until(lambda: "SigPnd:\t0000000000000000" in Path(f"/proc/{beat}/status").read_text(), PATIENCE_S)
    until(lambda: beat not in first.processes(), PATIENCE_S, first.processes)


def test_a_stop_leaves_nothing_behind(first: Gateway) -> None:
    assert first.stop(signal.SIGTERM) == 0
    assert first.processes() == {}
    assert oct(first.state.var.stat().st_mode)[-3:] == "700"


def test_a_second_start_works_on_the_data_and_repeats_no_secret(first: Gateway, start_again) -> None:
    second = start_again()
    said = second.wait_until_ready()
    assert key_of(first) not in said
    assert "as you set it" in said
    assert "Preparing the database" not in said
    assert run_curl_again(said, first)[0] == 200
    assert second.stop(signal.SIGINT) == 0
    assert second.processes() == {}


def test_web_processes_run_alone_on_a_database_that_is_ready(first: Gateway, start_again) -> None:
    port = free_port()
    with socket.socket() as nobody:  # bound and not listening: it refuses, and no stranger can answer in its place
        nobody.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{nobody.getsockname()[1]}/v1"
        first.state.execute(f"UPDATE providers_provider SET base_url = '{address}' WHERE slug = 'simulator'")
        web = start_again(command=(*MANAGE, "run", "--web-only"), PORT=str(port), AIGATEWAY_WEB_PROCESSES="2")
        web.wait_until_started()
        status, body = run_curl_again(re.sub(r"127\.0\.0\.1:\d+", f"127.0.0.1:{port}", first.said()), first)
    assert (status, body["error"]["code"]) == (502, "upstream_connect_failed")  # it knows the key and asks the simulator
    assert probe_of(port) == 0
    assert sum("aigateway.process.web" in command for command in web.processes().values()) == 2
    assert not any("celery" in command or "simulator" in command for command in web.processes().values())
    assert key_of(first) not in web.said()
    assert web.stop() == 0
    assert web.processes() == {}
    assert probe_of(port) == 1


def probe_of(port: int) -> int:
    """What a container's health check comes to."""
    words = (sys.executable, "-m", "aigateway.process.probe")
    return subprocess.run(words, cwd=ROOT, env={**os.environ, "PORT": str(port)}, capture_output=True).returncode


def test_given_credentials_work_and_are_not_printed(given: Gateway) -> None:
    said = given.said()
    assert "olga" in said
    assert GIVEN_KEY not in said
    assert GIVEN_PASSWORD not in said
    assert run_curl(curl_line(said).replace("$AIGATEWAY_BOOTSTRAP_KEY", GIVEN_KEY))[0] == 200


def test_children_do_not_outlive_a_killed_supervisor(given: Gateway) -> None:
    assert len(given.processes()) == 5
    os.kill(given.process.pid, signal.SIGKILL)
    given.process.wait()
    until(lambda: not given.processes(), PATIENCE_S, given.processes)


def test_a_busy_port_is_named(start) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        gateway = start(PORT=str(port))
        assert gateway.process.wait(PATIENCE_S) == 1
    assert f"PORT={port}" in gateway.said()
    assert "Traceback" not in gateway.said()


@pytest.fixture
def make(tmp_path: Path) -> tuple[str, ...]:
    """Runs web processes as the Makefile runs the whole gateway."""
    makefile = tmp_path / "Makefile"
    makefile.write_text(f"run:\n\t@exec {shlex.quote(sys.executable)} manage.py run --web-only\n")
    return ("make", "-f", str(makefile))


def test_make_ends_everything_on_an_interrupt_it_does_not_pass_on(start_again, make: tuple[str, ...]) -> None:
    """``kill -INT`` of make alone: make waits for its recipe without telling it."""
    port = free_port()
    gateway = start_again(command=("env", "--default-signal=INT", *make), PORT=str(port))  # whoever runs the tests may ignore it
    gateway.wait_until_started()
    assert gateway.pid_of("aigateway.process.web") is not None
    gateway.stop(signal.SIGINT)
    until(lambda: not gateway.processes(), PATIENCE_S, gateway.processes)


def test_a_background_job_of_a_script_goes_on_serving(start_again, make: tuple[str, ...]) -> None:
    """Shells start background jobs with SIGINT ignored; that is no interrupt of make."""
    port = free_port()
    gateway = start_again(command=("sh", "-c", f"trap '' INT; exec {shlex.join(make)}"), PORT=str(port))
    gateway.wait_until_started()
    os.kill(gateway.pid_of("aigateway.process.web"), signal.SIGKILL)  # replaced only by a supervisor that still watches
    gateway.wait_until_it_serves(port)
    gateway.stop(signal.SIGTERM)
    until(lambda: not gateway.processes(), PATIENCE_S, gateway.processes)
