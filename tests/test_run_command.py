"""``manage.py run``: the whole gateway as a person starts it, in a state folder of its own."""

from __future__ import annotations

import http.client
import json
import os
import re
import secrets
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from tests.servers import free_port

ROOT = Path(__file__).resolve().parent.parent
START_S = 120.0
pytestmark = [pytest.mark.timeout(240), pytest.mark.both_databases]


class ForeignState:
    """Where the gateways of one test keep their state: files, or a database of their own on the run's private servers."""

    def __init__(self, folder: Path) -> None:
        self.var = folder / "var"
        self.env: dict[str, str] = {}
        server = os.environ.get("DATABASE_URL")
        if server:
            name = f"run_{secrets.token_hex(6)}"
            with psycopg.connect(server.replace("postgres://", "postgresql://"), autocommit=True) as connection:
                connection.execute(f"CREATE DATABASE {name}")  # type: ignore[arg-type]
            worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")
            redis_url = os.environ["REDIS_URL"].rpartition("/")[0]
            self.env = {"DATABASE_URL": f"{server.rpartition('/')[0]}/{name}", "REDIS_URL": f"{redis_url}/{int(worker) + 8}"}


class Gateway:
    """A running ``manage.py run``; its processes are those of its session."""

    def __init__(self, state: ForeignState, *, command: tuple[str, ...] = (sys.executable, "manage.py", "run"), **env: str) -> None:
        kept = {name: value for name, value in os.environ.items() if name not in ("MAKELEVEL", "MAKEFLAGS")} | state.env
        self.var = state.var
        self.env = state.env
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
        until(lambda: "Ctrl-C ends everything" in self.said() or self.process.poll() is not None, START_S, self.said)
        assert self.process.poll() is None, self.said()
        return self.said()

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
        return self.process.wait(30)

    def kill_all(self) -> None:
        for pid in self.processes():
            os.kill(pid, signal.SIGKILL)
        self.process.wait(10)


def until(true: Callable[[], object], timeout_s: float, explain: Callable[[], object] = str) -> None:
    deadline = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < deadline, explain()
        time.sleep(0.05)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Gateway]]:
    started: list[Gateway] = []
    state = ForeignState(tmp_path)

    def start(**options) -> Gateway:
        started.append(Gateway(state, **options))
        return started[-1]

    yield start
    for gateway in started:
        gateway.kill_all()


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


def test_a_first_start_serves_survives_a_killed_web_process_and_leaves_nothing_behind(start, tmp_path: Path) -> None:
    gateway = start()
    said = gateway.wait_until_ready()
    assert re.search(r"Username\s+admin", said)
    assert re.search(r"Password\s+\S{20}\s", said)
    status, body = run_curl(curl_line(said))
    assert (status, body.get("object")) == (200, "chat.completion"), body

    web = gateway.pid_of("aigateway.web")
    os.kill(web, signal.SIGKILL)
    status, body = run_curl(curl_line(said))  # waits in the backlog for the successor
    assert status == 200, body
    assert gateway.pid_of("aigateway.web") not in (None, web)

    assert gateway.stop(signal.SIGTERM) == 0
    assert gateway.processes() == {}
    assert oct((tmp_path / "var").stat().st_mode)[-3:] == "700"


def test_a_second_start_works_on_the_data_and_repeats_no_secret(start) -> None:
    first = start()
    key = re.search(r"gw_\S+", first.wait_until_ready()).group()
    first.stop()
    second = start()
    said = second.wait_until_ready()
    assert key not in said
    assert "as you set it" in said
    assert run_curl(curl_line(said).replace("$AIGATEWAY_KEY", key))[0] == 200
    assert second.stop(signal.SIGINT) == 0
    assert second.processes() == {}


def test_web_processes_run_alone_on_a_database_that_is_ready(start) -> None:
    first = start()
    key = re.search(r"gw_\S+", first.wait_until_ready()).group()
    line = curl_line(first.said())
    simulator_log = (first.var / "log" / "simulator.log").read_text()
    first.stop()
    port = str(free_port())
    web = start(command=(sys.executable, "manage.py", "run", "--web-only"), PORT=port, AIGATEWAY_WEB_PROCESSES="2")
    probe = (sys.executable, "-m", "aigateway.probe")
    until(lambda: subprocess.run(probe, cwd=ROOT, env={**os.environ, "PORT": port}, capture_output=True).returncode == 0, START_S, web.said)
    assert sum("aigateway.web" in command for command in web.processes().values()) == 2
    assert not any("celery" in command or "simulator" in command for command in web.processes().values())
    with socket.socket() as nobody:  # holds the simulator's port, lest a stranger answers in its place
        nobody.bind(("127.0.0.1", int(re.search(r"127\.0\.0\.1:(\d+)/v1", simulator_log)[1])))
        status, body = run_curl(re.sub(r"127\.0\.0\.1:\d+", f"127.0.0.1:{port}", line))
    assert (status, body["error"]["code"]) == (502, "upstream_connect_failed")  # it knows the key and asks the simulator
    assert key not in web.said()
    assert web.stop() == 0
    assert web.processes() == {}


def test_given_credentials_work_and_are_not_printed(start) -> None:
    key = f"gw_{'a1' * 6}_{'s' * 43}"
    gateway = start(AIGATEWAY_BOOTSTRAP_KEY=key, AIGATEWAY_ADMIN_USERNAME="olga", AIGATEWAY_ADMIN_PASSWORD="a long pass phrase")
    said = gateway.wait_until_ready()
    assert "olga" in said
    assert key not in said
    assert "a long pass phrase" not in said
    assert run_curl(curl_line(said).replace("$AIGATEWAY_BOOTSTRAP_KEY", key))[0] == 200


def test_children_do_not_outlive_a_killed_supervisor(start) -> None:
    gateway = start()
    gateway.wait_until_ready()
    os.kill(gateway.process.pid, signal.SIGKILL)
    gateway.process.wait()
    until(lambda: not gateway.processes(), 20, gateway.processes)


def test_beat_ends_though_the_signal_meets_it_amid_a_query(start) -> None:
    gateway = start()
    gateway.wait_until_ready()
    url = gateway.env.get("DATABASE_URL", "").replace("postgres://", "postgresql://")
    if not url:
        pytest.skip("SQLite holds up writers only, for seconds at most")
    with psycopg.connect(url, autocommit=True) as watcher, psycopg.connect(url) as holder:
        watcher.execute("UPDATE django_celery_beat_periodictask SET last_run_at = NULL")  # everything is due and has to be saved
        holder.execute("LOCK TABLE django_celery_beat_periodictask IN SHARE MODE")
        os.kill(gateway.pid_of("celery --app aigateway beat"), signal.SIGKILL)
        killed_at = watcher.execute("SELECT clock_timestamp()").fetchone()  # the killed beat's backend may still wait for the lock
        saving = (
            "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            " AND query LIKE '%%celery_beat_periodictask%%' AND backend_start > %s"
        )
        until(lambda: watcher.execute(saving, killed_at).fetchone(), 30, gateway.said)
        beat = gateway.pid_of("celery --app aigateway beat")
        os.kill(beat, signal.SIGTERM)
        until(lambda: "SigPnd:\t0000000000000000" in Path(f"/proc/{beat}/status").read_text(), 5)
    until(lambda: beat not in gateway.processes(), 10, gateway.processes)


def test_a_busy_port_is_named(start) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        gateway = start(PORT=str(port))
        assert gateway.process.wait(START_S) == 1
    assert f"PORT={port}" in gateway.said()
    assert "Traceback" not in gateway.said()


def test_a_second_gateway_on_the_same_state_folder_is_refused(start) -> None:
    first = start()
    first.wait_until_ready()
    second = start(PORT=str(free_port()))
    assert second.process.wait(START_S) == 1
    assert "another gateway" in second.said()


def test_make_ends_everything_on_an_interrupt_it_does_not_pass_on(start, tmp_path: Path) -> None:
    """``kill -INT`` of make alone: make waits for its recipe without telling it."""
    makefile = tmp_path / "Makefile"
    makefile.write_text(f"run:\n\t@exec {shlex.quote(sys.executable)} manage.py run\n")
    gateway = start(command=("env", "--default-signal=INT", "make", "-f", str(makefile)))  # whoever runs the tests may ignore it
    gateway.wait_until_ready()
    gateway.process.send_signal(signal.SIGINT)
    gateway.process.wait(30)
    until(lambda: not gateway.processes(), 10, gateway.processes)


def test_a_background_job_of_a_script_goes_on_serving(start, tmp_path: Path) -> None:
    """Shells start background jobs with SIGINT ignored; that is no interrupt of make."""
    makefile = tmp_path / "Makefile"
    makefile.write_text(f"run:\n\t@exec {shlex.quote(sys.executable)} manage.py run\n")
    gateway = start(command=("sh", "-c", f"trap '' INT; exec make -f {shlex.quote(str(makefile))}"))
    said = gateway.wait_until_ready()
    os.kill(gateway.pid_of("aigateway.web"), signal.SIGKILL)  # replaced only by a supervisor that still watches
    assert run_curl(curl_line(said))[0] == 200
    gateway.process.send_signal(signal.SIGTERM)
    gateway.process.wait(30)
    until(lambda: not gateway.processes(), 10, gateway.processes)
