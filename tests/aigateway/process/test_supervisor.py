"""The supervisor with stand-ins for its children: small programs that fail, hang on, or die."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from aigateway.process import children, probe, starting, supervisor
from tests.architecture.source import ROOT

pytestmark = pytest.mark.both_databases

ALWAYS_READY = """
import os, signal, socket, sys
listener = socket.socket(fileno=int(sys.argv[1]))
print("serving", flush=True)
while True:
    connection, _ = listener.accept()
    connection.recv(65536)
    connection.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\nConnection: close\\r\\n\\r\\nok")
    connection.close()
"""
SAYS_SO = """
import os, sys
print("pid", os.getpid(), flush=True)
os.write(int(os.environ["AIGATEWAY_READY_FD"]), b"1")
"""
NEVER_READY = "import time; print('the reason', flush=True); time.sleep(600)"
BUSY = "print('busy', flush=True)\nwhile True: pass"

PROGRAM = """
import sys
from django.conf import settings
from aigateway.process import children, starting, supervisor, web
starting.FIRST_LINE_S, starting.STALLED_S, supervisor.STOP_GRACE_S = {first_line_s}, {stalled_s}, {stop_grace_s}
log = settings.VAR_DIR / "log"
log.mkdir(parents=True)
listener = web.bind("127.0.0.1", 0)
port = listener.getsockname()[1]
front = [children.Child("web-1", ["-c", {web!r}, str(listener.fileno())], log, port, listener.fileno())]
back = [children.Child("worker", ["-c", {worker!r}], log, port)]
running = supervisor.Supervisor(front, back, listener)
try:
    running.start()
    print("ready", flush=True)
    running.watch()
except starting.StartFailed as error:
    sys.exit(str(error))
finally:
    running.stop()
"""

BOUNDS_S = {"first_line_s": starting.FIRST_LINE_S, "stalled_s": starting.STALLED_S, "stop_grace_s": supervisor.STOP_GRACE_S}


class Supervised:
    """A supervisor in a process of its own, with ``worker`` as the program of its worker."""

    def __init__(self, var: Path, worker: str, drain_s: int, web: str, **bounds_s: float) -> None:
        self.var = var
        program = PROGRAM.format(web=web, worker=textwrap.dedent(worker), **{**BOUNDS_S, **bounds_s})
        self.process = subprocess.Popen(
            ["env", "--default-signal=HUP", sys.executable, "-c", program],  # whoever runs the tests may ignore it
            cwd=ROOT,
            env={
                **os.environ,
                "AIGATEWAY_VAR": str(var),
                "AIGATEWAY_DRAIN_S": str(drain_s),
                "DJANGO_SETTINGS_MODULE": "aigateway.settings",
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def wait_until_ready(self) -> None:
        assert self.process.stdout.readline() == "ready\n"

    def log(self, name: str) -> str:
        path = self.var / "log" / f"{name}.log"
        return path.read_text() if path.exists() else ""

    def end(self) -> tuple[int, str]:
        _, errors = self.process.communicate(timeout=60)
        return self.process.returncode, errors


@pytest.fixture
def supervise(tmp_path: Path) -> Iterator[Callable[..., Supervised]]:
    started: list[Supervised] = []

    def supervise(worker: str, drain_s: int = 1, web: str = ALWAYS_READY, **bounds_s: float) -> Supervised:
        started.append(Supervised(tmp_path / "var", worker, drain_s, web, **bounds_s))
        return started[-1]

    yield supervise
    for supervised in started:
        supervised.process.kill()
        supervised.process.communicate()


def _until(true: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_child_that_cannot_start_is_shown_with_the_end_of_its_log(supervise) -> None:
    supervised = supervise("import sys; print('the reason'); sys.exit(3)", web=NEVER_READY)
    code, errors = supervised.end()
    assert code == 1
    assert "worker ended with 3 while starting" in errors
    assert "the reason" in errors


def test_a_start_in_which_nothing_moves_is_told_and_given_up(supervise) -> None:
    supervised = supervise(BUSY, web=NEVER_READY, first_line_s=0.0, stalled_s=1.0)
    code, errors = supervised.end()
    assert code == 1
    assert errors.startswith("Waiting for web-1 (")
    assert re.search(r"not ready after \d+ s, and nothing moved in the last \d s: web-1 used no processor time", errors)
    assert "the reason" in errors


def test_a_stop_while_a_start_is_waited_for_ends_it_at_once(supervise) -> None:
    supervised = supervise(BUSY, web=NEVER_READY)
    _until(lambda: "busy" in supervised.log("worker"))
    began = time.monotonic()
    supervised.process.terminate()
    assert supervised.end()[0] == 0
    assert time.monotonic() - began < probe.TIMEOUT_S - 2


def test_a_child_that_dies_later_is_started_again_and_that_is_said(supervise) -> None:
    supervised = supervise("import os, time; print('life', os.getpid(), flush=True); time.sleep(600)")
    supervised.wait_until_ready()
    _until(lambda: supervised.log("worker").count("life") == 1)
    os.kill(int(supervised.log("worker").split()[1]), signal.SIGKILL)
    _until(lambda: supervised.log("worker").count("life") == 2)
    supervised.process.terminate()
    code, errors = supervised.end()
    assert code == 0
    assert "worker ended with -9; starting it again at once" in errors


DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(600)"


def test_a_child_that_does_not_listen_is_killed_when_its_time_is_up(supervise) -> None:
    supervised = supervise(DEAF, stop_grace_s=0.5)
    supervised.wait_until_ready()
    _until(lambda: "deaf" in supervised.log("worker"))
    supervised.process.terminate()
    assert supervised.end()[0] == 0


def test_a_second_signal_ends_it_at_once(supervise) -> None:
    supervised = supervise(DEAF, drain_s=600)
    supervised.wait_until_ready()
    _until(lambda: "deaf" in supervised.log("worker"))
    supervised.process.send_signal(signal.SIGINT)
    assert supervised.process.stderr.readline().startswith("Stopping")
    started = time.monotonic()
    supervised.process.send_signal(signal.SIGINT)
    assert supervised.end()[0] == 0
    assert time.monotonic() - started < supervisor.STOP_GRACE_S - 1


def test_restarts_wait_longer_each_time_up_to_a_limit_and_begin_anew_after_a_steady_life(tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    child = children.Child("short", ["-c", ""], tmp_path / "log", 0)
    now = time.monotonic()
    pauses = []
    child.start()
    for _ in range(9):
        _until(lambda: child.exit_code() is not None)
        said = child.restart_if_ended(now)
        pauses.append(float(said.split(" in ")[1].split()[0]) if " in " in said.splitlines()[0] else 0.0)
        if pauses[-1]:
            assert child.restart_if_ended(now + pauses[-1] / 2) is None
            assert child.exit_code() is not None
            child.restart_if_ended(now + pauses[-1])
    assert pauses == [0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
    _until(lambda: child.exit_code() is not None)
    assert "at once" in child.restart_if_ended(time.monotonic() + children.STEADY_S + 1)
    child.kill()


def test_a_full_log_is_moved_aside(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(children, "LOG_MAX_BYTES", 10)
    child = children.Child("talker", [], tmp_path, 0)
    child.log_path.write_text("more than ten bytes\n")
    child.bound_log()
    assert child.log_path.read_text() == ""
    assert (tmp_path / "talker.log.1").read_text() == "more than ten bytes\n"
    assert "talker.log" in child.last_lines()


# --------------------------------------------------------------------------- reload


def test_C13_a_successor_is_given_no_more_of_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIGATEWAY_ADMIN_PASSWORD", "of the first start only")
    first = children.Child("web-1", ["-c", "import os; print(*sorted(os.environ))"], tmp_path, 0, environment={"PATH": os.environ["PATH"]})
    for child in (first, first.successor()):
        child.start()
        _until(lambda child=child: child.exit_code() is not None)
        child.kill()
    given = (tmp_path / "web-1.log").read_text().splitlines()
    assert len(given) == 2
    assert "AIGATEWAY_ADMIN_PASSWORD" not in given[1]
    assert given[0] == given[1]


def pids(supervised: Supervised, name: str) -> list[str]:
    return re.findall(r"pid (\d+)", supervised.log(name))


LIVES = "import os, time; print('pid', os.getpid(), flush=True); time.sleep(600)"


def test_C13_a_hang_up_replaces_the_web_process_and_restarts_the_others(supervise) -> None:
    supervised = supervise(LIVES, web=SAYS_SO + ALWAYS_READY)
    supervised.wait_until_ready()
    _until(lambda: len(pids(supervised, "worker")) == 1)
    supervised.process.send_signal(signal.SIGHUP)
    assert supervised.process.stderr.readline() == "Reloading.\n"
    assert supervised.process.stderr.readline() == "Reloaded.\n"
    _until(lambda: len(pids(supervised, "worker")) == 2)
    first, second = pids(supervised, "web-1")
    assert not Path(f"/proc/{first}").exists()
    assert Path(f"/proc/{second}").exists()
    supervised.process.terminate()
    assert supervised.end()[0] == 0
    assert not Path(f"/proc/{second}").exists()


def test_C13_a_successor_that_cannot_start_leaves_the_old_one_in_its_place(supervise, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    web = f"import os, sys\nif os.path.exists({str(broken)!r}): sys.exit('the new code is bad')\n" + SAYS_SO + ALWAYS_READY
    supervised = supervise(LIVES, web=web)
    supervised.wait_until_ready()
    broken.touch()
    supervised.process.send_signal(signal.SIGHUP)
    assert supervised.process.stderr.readline() == "Reloading.\n"
    assert "the new web-1 does not serve, the old one goes on" in supervised.process.stderr.readline()
    _until(lambda: "the new code is bad" in supervised.process.stderr.readline())
    (pid,) = pids(supervised, "web-1")
    assert Path(f"/proc/{pid}").exists()
    supervised.process.terminate()
    assert supervised.end()[0] == 0


def test_C13_a_terminal_that_is_closed_still_ends_it(tmp_path: Path) -> None:
    """Run as a shell runs it: in a session that has a terminal."""
    program = "import signal, sys; from aigateway.process.supervisor import Signals\n"
    program += "signals = Signals(); signals.install(); print('ready', flush=True)\n"
    program += (
        "while not (signals.stops or signals.reloads): signals.wait(1)\nopen(sys.argv[1], 'w').write(f'{signals.stops} {signals.reloads}')"
    )
    seen = tmp_path / "seen"
    for ends, wanted in ((lambda pid, terminal: os.close(terminal), "1 0"), (lambda pid, _: os.kill(pid, signal.SIGHUP), "0 1")):
        pid, terminal = pty.fork()
        if pid == 0:
            os.chdir(ROOT)
            os.environ["DJANGO_SETTINGS_MODULE"] = "aigateway.settings"
            signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whoever runs the tests may ignore it
            os.execv(sys.executable, [sys.executable, "-c", program, str(seen)])
        said = b""
        while b"\n" not in said:
            said += os.read(terminal, 100)
        ends(pid, terminal)
        assert os.waitpid(pid, 0) == (pid, 0)
        assert seen.read_text() == wanted
