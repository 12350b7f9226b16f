"""A start is waited for as long as something moves: with a clock that is set, and processes whose movement is known."""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from aigateway.process import children, probe, starting
from aigateway.process.web import bind


@dataclass
class Stand:
    """A child with ``works`` seconds of processor time for each second of the clock, until the clock shows ``works_until``."""

    clock: Clock
    name: str = "web-1"
    works: float = 0.5
    works_until: float = float("inf")
    ends_at: float = float("inf")

    def exit_code(self) -> int | None:
        return 3 if self.clock.now >= self.ends_at else None

    def processor_s(self) -> float:
        return self.works * min(self.clock.now, self.works_until)

    def movement(self) -> float:
        return self.processor_s()

    def last_lines(self) -> str:
        return f"The end of {self.name}.log:\n  importing"


@dataclass
class Clock:
    """Goes on by what is waited for. ``stops_at``: when a stop is asked for."""

    now: float = 0.0
    stops_at: float = float("inf")

    def wait(self, timeout_s: float, others: object) -> bool:
        self.now += timeout_s
        return self.now >= self.stops_at


@dataclass
class Answers:
    """``/readyz`` by the clock."""

    clock: Clock
    ready_at: float = float("inf")
    said: str = "/readyz has not answered yet"
    pending: list[object] = field(default_factory=list)

    def is_ready(self, now: float) -> bool:
        return now >= self.ready_at


def start(clock: Clock, answers: Answers, *awaited: Stand, beside: tuple[Stand, ...] = ()) -> list[str]:
    """Waits for a start; returns the lines told meanwhile."""
    told: list[str] = []
    starting.await_ready((*awaited, *beside), awaited, answers, clock.wait, told.append, lambda: clock.now)
    return told


def test_a_start_that_takes_an_hour_is_waited_for_while_it_works() -> None:
    clock = Clock()
    told = start(clock, Answers(clock, ready_at=3600), Stand(clock))
    assert clock.now == 3600
    assert told[0] == "Waiting for web-1 (2.5 s of processor time): /readyz has not answered yet (5 s)."


def test_the_lines_come_at_growing_pauses_and_never_less_than_one_a_minute() -> None:
    clock = Clock()
    told = start(clock, Answers(clock, ready_at=300), Stand(clock), Stand(clock, "web-2"))
    assert [int(line.split("(")[-1].split()[0]) for line in told] == [5, 10, 20, 40, 80, 140, 200, 260]
    assert all(line.startswith("Waiting for web-1 (") and ", web-2 (" in line for line in told)


def test_a_quick_start_says_nothing() -> None:
    clock = Clock()
    assert start(clock, Answers(clock, ready_at=4), Stand(clock)) == []


def test_a_start_in_which_nothing_moves_any_more_fails_and_says_what_was_awaited() -> None:
    clock = Clock()
    with pytest.raises(starting.StartFailed, match=r"(?s)/readyz has not answered yet.*importing") as failed:
        start(clock, Answers(clock), Stand(clock, works_until=100), beside=(Stand(clock, "worker"),))
    assert 100 + starting.STALLED_S < clock.now <= 102 + starting.STALLED_S
    assert "web-1 used no processor time" in str(failed.value)
    assert "worker" not in str(failed.value)


def test_a_single_movement_is_enough_to_go_on_waiting() -> None:
    clock = Clock()
    second = Stand(clock, "web-2", works_until=starting.STALLED_S - 5)
    start(clock, Answers(clock, ready_at=2 * starting.STALLED_S - 10), Stand(clock, works=0), second)
    assert clock.now == 2 * starting.STALLED_S - 10


def test_another_answer_is_a_movement() -> None:
    clock = Clock()
    answers = Answers(clock, ready_at=2 * starting.STALLED_S - 10)

    def wait(timeout_s: float, others: object) -> bool:
        if clock.now == starting.STALLED_S - 5:
            answers.said = "/readyz answered 503: unmigrated"
        return clock.wait(timeout_s, others)

    starting.await_ready([], [Stand(clock, works=0)], answers, wait, lambda line: None, lambda: clock.now)
    assert clock.now == 2 * starting.STALLED_S - 10


def test_a_pause_of_the_whole_machine_is_not_held_against_its_processes() -> None:
    patience = starting.Patience(0.0)
    patience.look(1.0, "the same")
    patience.look(10_000.0, "the same")
    assert not patience.is_over
    assert patience.still_s == starting.BETWEEN_LOOKS_MAX_S


def test_a_process_that_ends_while_starting_ends_the_start_at_once() -> None:
    clock = Clock()
    with pytest.raises(starting.StartFailed, match=r"(?s)worker ended with 3 while starting.*importing"):
        start(clock, Answers(clock), Stand(clock), beside=(Stand(clock, "worker", ends_at=7),))
    assert clock.now == 7


def test_a_stop_ends_the_waiting_at_once() -> None:
    clock = Clock(stops_at=3)
    start(clock, Answers(clock), Stand(clock))
    assert clock.now == 3


# --------------------------------------------------------------------------- asking


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with bind("127.0.0.1", 0) as bound:
        yield bound


@pytest.fixture
def asker(listener: socket.socket) -> Iterator[starting.Asker]:
    with closing(starting.Asker("127.0.0.1", listener.getsockname()[1])) as asking:
        yield asking


def answer(listener: socket.socket, status: bytes) -> None:
    """As the first web process does that gets so far."""
    connection, _ = listener.accept()
    with connection:
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 " + status + b"\r\nContent-Length: 3\r\n\r\nsay")


def is_ready_once_readable(asker: starting.Asker) -> bool:
    select.select(asker.pending, [], [])
    return asker.is_ready(0.0)


def test_asking_waits_for_nobody(asker: starting.Asker) -> None:
    """While nobody accepts, a stop or a process that ended would go unnoticed for as long as asking takes."""
    began = time.monotonic()
    assert not asker.is_ready(0.0)
    assert not asker.is_ready(starting.ASK_AGAIN_S)
    assert time.monotonic() - began < probe.TIMEOUT_S - 1


def test_an_answer_wakes_who_waits_for_it_and_is_kept_in_words(asker: starting.Asker, listener: socket.socket) -> None:
    assert not asker.is_ready(0.0)
    assert select.select(asker.pending, [], [], 0)[0] == []
    answer(listener, b"503 Service Unavailable")
    assert not is_ready_once_readable(asker)
    assert asker.said == "/readyz answered 503: say"
    assert not asker.is_ready(0.0)
    answer(listener, b"200 OK")
    assert is_ready_once_readable(asker)


def test_who_died_with_the_question_is_asked_again(asker: starting.Asker, listener: socket.socket) -> None:
    assert not asker.is_ready(0.0)
    listener.accept()[0].close()
    assert not is_ready_once_readable(asker)
    assert asker.said.startswith("/readyz: ")
    assert not asker.is_ready(0.0)
    answer(listener, b"200 OK")
    assert is_ready_once_readable(asker)


def test_another_is_asked_when_one_keeps_the_question(asker: starting.Asker, listener: socket.socket) -> None:
    assert not asker.is_ready(0.0)
    with listener.accept()[0]:
        assert not asker.is_ready(starting.ASK_AGAIN_S + 1)
        answer(listener, b"200 OK")
        assert is_ready_once_readable(asker)


def test_nobody_listening_is_said(asker: starting.Asker, listener: socket.socket) -> None:
    listener.close()
    assert not asker.is_ready(0.0)
    assert "refused" in asker.said
    assert asker.pending == []


# --------------------------------------------------------------------------- what moves

needs_proc = pytest.mark.skipif(sys.platform != "linux", reason="processor time of other processes is read from /proc")
BURN = "while True: pass"
BURN_IN_A_CHILD = f"""
import subprocess, sys
busy = subprocess.Popen([sys.executable, "-c", {BURN!r}])
print("begun", flush=True)
busy.wait()
"""


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Callable[[str], children.Child]]:
    begun: list[children.Child] = []

    def begin(program: str) -> children.Child:
        begun.append(children.Child("busy", ["-c", program], tmp_path, 0))
        begun[-1].start()
        return begun[-1]

    yield begin
    for child in begun:
        child.kill()


def until(true: Callable[[], object]) -> None:
    while not true():  # the test's own limit ends it
        select.select([], [], [], 0.01)


def until_it_moves(child: children.Child, before: tuple[float, int]) -> None:
    until(lambda: child.movement() != before)


def freeze(child: children.Child) -> None:
    """Returns when the process has stopped: from then on it can do nothing."""
    os.kill(child._process.pid, signal.SIGSTOP)
    os.waitpid(child._process.pid, os.WUNTRACED)


@needs_proc
def test_a_process_that_works_moves_and_one_that_is_stopped_does_not(begin: Callable[[str], children.Child]) -> None:
    child = begin(BURN)
    until_it_moves(child, child.movement())
    freeze(child)
    still = child.movement()
    assert still == child.movement()
    os.kill(child._process.pid, signal.SIGCONT)
    until_it_moves(child, still)


@needs_proc
def test_what_a_process_started_moves_it_too(begin: Callable[[str], children.Child]) -> None:
    child = begin(BURN_IN_A_CHILD)
    until(lambda: "begun" in child.log_path.read_text())
    freeze(child)
    until_it_moves(child, child.movement())


def test_a_line_in_its_log_is_a_movement(begin: Callable[[str], children.Child]) -> None:
    child = begin("import signal; signal.pause()")
    freeze(child)
    before = child.movement()
    with child.log_path.open("a") as log:
        log.write("a line\n")
    assert child.movement() != before


def test_where_nobody_can_tell_to_be_alive_is_to_move(
    begin: Callable[[str], children.Child], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    child = begin("import signal; signal.pause()")
    freeze(child)
    monkeypatch.setattr(children, "PROC", tmp_path)
    assert child.processor_s() is None
    assert child.movement() != child.movement()
