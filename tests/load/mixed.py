"""``python -m tests.load.mixed``: the money rehearsal.

Mixed requests, plain and streamed, with faults and clients that hang up, and one ``kill -9`` of the web process in the
middle; then the ledger's CSV is compared with the simulator's own bill, line by line.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import aiohttp

from tests.load import rig
from tests.load.reconciliation import Verdict, billed_from_json, posted_from_csv, reconcile

MODELS = ("sim-small", "sim-large", "sim-reasoner", "sim-cached")
FAULTS = (
    "http_429",
    "http_500",
    "http_529",
    "reset_before_answer",
    "reset_mid_stream",
    "eof_no_finish",
    "error_in_200",
    "truncated_json",
    "html_200",
    "no_usage",
    "empty_answer",
    "stall wait_ms=200",
)
CLIENTS = 8
REQUEST_S = 60.0
HANG_UP_S = 0.1


@dataclass(frozen=True, slots=True)
class Wanted:
    """One request. ``leave_after`` events of a stream, or after ``HANG_UP_S`` of a plain answer, the client hangs up."""

    body: bytes
    stream: bool
    leave_after: int | None


@dataclass(frozen=True, slots=True)
class Stage:
    """A running gateway: where it and its simulator listen, and what runs a module of ours on its database (``rig.in_django``).

    Behind each of ``origins`` is at least one web process; together they reach all.
    """

    origins: tuple[str, ...]
    simulator: str
    key: str
    in_django: Callable[..., str]

    @property
    def origin(self) -> str:
        return self.origins[0]


@dataclass(frozen=True, slots=True)
class SupervisedStage(Stage):
    """One whose processes are started again when they end."""

    supervisor: rig.Running


def mixture(count: int, seed: int) -> list[Wanted]:
    """``count`` requests: a tenth meets a fault on its first attempt, a tenth is abandoned by its client."""
    dice = random.Random(seed)
    return [_wanted(dice, number) for number in range(count)]


def _wanted(dice: random.Random, number: int) -> Wanted:
    stream, fate = dice.random() < 0.5, dice.random()
    words = [f"tokens={dice.randint(5, 60)}", f"id=r{number}"]
    leave_after = None
    if fate < 0.1:
        words += [f"fault={dice.choice(FAULTS)}", "times=1", f"after={dice.randint(0, 4)}"]
    elif fate < 0.2:
        leave_after = dice.randint(1, 8)
        words += ["chunk_ms=20"] if stream else ["latency_ms=500"]
    else:
        words += [f"chunk_ms={dice.randint(0, 5)}"] if stream else [f"latency_ms={dice.randint(0, 40)}"]
    text = f"Question {number}: {'why ' * dice.randint(1, 80)}[sim {' '.join(words)}]"
    body = {"model": dice.choice(MODELS), "stream": stream, "max_tokens": 400, "messages": [{"role": "user", "content": text}]}
    return Wanted(json.dumps(body).encode(), stream, leave_after)


async def send_all(stage: SupervisedStage, wanted: list[Wanted]) -> Counter[str]:
    """Sends everything, kills the web process once half of it has been taken up, and counts what clients saw."""
    seen: Counter[str] = Counter()
    waiting = iter(enumerate(wanted))

    async def client(session: aiohttp.ClientSession) -> None:
        for number, each in waiting:
            if number == len(wanted) // 2:
                os.kill(stage.supervisor.child("aigateway.process.web"), signal.SIGKILL)
            seen[await send(session, stage, each)] += 1

    timeout = aiohttp.ClientTimeout(total=REQUEST_S)
    async with aiohttp.ClientSession(timeout=timeout) as session, asyncio.TaskGroup() as clients:
        for _ in range(CLIENTS):
            clients.create_task(client(session))
    return seen


async def send(session: aiohttp.ClientSession, stage: Stage, wanted: Wanted) -> str:
    headers = {"authorization": f"Bearer {stage.key}", "content-type": "application/json"}
    limit = HANG_UP_S if wanted.leave_after is not None and not wanted.stream else REQUEST_S
    try:
        async with asyncio.timeout(limit), session.post(f"{stage.origin}/v1/chat/completions", data=wanted.body, headers=headers) as answer:
            if answer.status != 200:
                return f"refused with {answer.status}"
            return await _read(answer, wanted)
    except TimeoutError:
        return "left" if limit == HANG_UP_S else "timed out"
    except (aiohttp.ClientError, ConnectionError):
        return "cut off"


async def _read(answer: aiohttp.ClientResponse, wanted: Wanted) -> str:
    if not wanted.stream:
        await answer.read()
        return "answered"
    events, last = 0, b""
    async for line in answer.content:
        if line.startswith(b"data: "):
            events, last = events + 1, line
            if wanted.leave_after is not None and events >= wanted.leave_after:
                answer.close()
                return "left"
    return "answered" if last.startswith(b"data: [DONE]") else "ended with an error"


@contextmanager
def whole_gateway(folder: Path, database_url: str | None, web_processes: int = 1, **variables: str) -> Iterator[SupervisedStage]:
    """``manage.py run`` on a fresh state folder, with budgets on every scope.

    ``variables`` are added to its environment. Its simulator is one of our own, on a port that nobody guesses: a stranger's
    call would look like a missing line.
    """
    key, port = rig.new_gateway_key(), rig.free_port()
    environment = rig.gateway_environment(folder / "var", port, key, database_url)
    environment |= {"AIGATEWAY_WEB_PROCESSES": str(web_processes), **variables}
    origin = f"http://127.0.0.1:{port}"
    with (
        rig.simulator(folder) as (_, simulator),
        rig.running([sys.executable, "manage.py", "run"], folder / "run.log", environment) as supervisor,
    ):
        supervisor.wait_for_url(f"{origin}/readyz")
        in_django = partial(rig.in_django, environment)
        in_django("tests.load.prepare", simulator)
        yield SupervisedStage((origin,), simulator, key, in_django, supervisor)


def rehearse(stage: SupervisedStage, count: int, seed: int) -> tuple[Verdict, Counter[str]]:
    """Sends the mixture, waits until nothing is open, compares."""
    seen = asyncio.run(send_all(stage, mixture(count, seed)))
    stage.supervisor.wait_for_url(f"{stage.origin}/readyz")
    return compare(stage), seen


def compare(stage: Stage) -> Verdict:
    """The ledger of ``stage`` against the bill of its simulator. Nothing may be under way."""
    books = json.loads(stage.in_django("tests.load.books", "--sweep"))
    posted, faults = posted_from_csv(rig.fetch(f"{stage.origin}/api/v1/ai/admin/costs?format=csv", stage.key).decode())
    billed = billed_from_json(json.loads(rig.fetch(f"{stage.simulator}/_sim/bill"))["lines"])
    holds = {(request_id, attempt_no): hold for request_id, attempt_no, _, hold in books["attempts"]}
    verdict = reconcile(posted, billed, holds)
    verdict.faults += faults
    if not verdict.measured_equal:
        verdict.faults.append("no measured line was compared with the bill")
    verdict.faults += [
        f"attempt {request_id} #{number} is still open" for request_id, number, status, _ in books["attempts"] if status == "dispatched"
    ]
    for scope, posted_nano, held_nano in books["budget_periods"]:
        if (posted_nano, held_nano) != (verdict.ledger_nano, 0):
            verdict.faults.append(f"the {scope} budget has {posted_nano} posted and {held_nano} held, the ledger {verdict.ledger_nano}")
    return verdict


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--sqlite", action="store_true", help="use SQLite instead of a private PostgreSQL")
    options = parser.parse_args()
    with rig.scratch_folder() as folder:
        if options.sqlite:
            verdict, seen = _rehearse(folder, None, options)
        else:
            with rig.durable_postgres(folder / "postgresql") as postgres:
                verdict, seen = _rehearse(folder, postgres.url, options)
    sys.stdout.write(f"clients saw: {dict(seen)}\n{verdict}\n")
    sys.exit(bool(verdict.faults))


def _rehearse(folder: Path, database_url: str | None, options: argparse.Namespace) -> tuple[Verdict, Counter[str]]:
    with whole_gateway(folder, database_url) as stage:
        return rehearse(stage, options.requests, options.seed)


if __name__ == "__main__":
    main()
