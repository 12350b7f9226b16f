"""``python -m tests.load.overshoot``: one shared budget, five hundred requests at once, four web processes, and a Redis that is
killed, flushed and restored from an old snapshot meanwhile.

Clients ask until the budget is used up. A trigger in the database keeps the most that was ever booked and held together, of every
scope and after every single change; then the ledger is compared with the simulator's own bill, as in ``tests.load.mixed``.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import re
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from itertools import count, cycle, islice
from pathlib import Path

import aiohttp
import psycopg

from tests.load import rig
from tests.load.mixed import Stage, SupervisedStage, compare, whole_gateway
from tests.load.reconciliation import Verdict
from tests.load.redis_faults import FaultyRedis

MODEL = "sim-small"
TOKENS_MAX = 30
NANO_PER_CALL = 12_347
"""About what a call of ``questions`` costs, and no round figure: it sets the cap."""
ROUNDS_MAX = 60
"""A round ends when every client was refused; each gives back at least the difference between holds and costs."""
REQUEST_S = 60.0
DOWN_S = 3.0
RECOVERY_S = 10.0
UTILISATION_MIN = 0.95
KINDS = ("killed", "flushed", "restored")

WATCH = """
CREATE TABLE rehearsal_peak (budget_period_id bigint PRIMARY KEY, nano bigint NOT NULL, changes bigint NOT NULL);
CREATE FUNCTION rehearsal_watch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO rehearsal_peak AS p VALUES (NEW.id, NEW.posted_nano + NEW.held_nano, 1)
    ON CONFLICT (budget_period_id) DO UPDATE SET nano = greatest(p.nano, excluded.nano), changes = p.changes + 1;
    RETURN NULL;
END $$;
CREATE TRIGGER rehearsal_watch AFTER INSERT OR UPDATE ON usage_budgetperiod FOR EACH ROW EXECUTE FUNCTION rehearsal_watch();
"""
FORGET = "DROP TRIGGER rehearsal_watch ON usage_budgetperiod; DROP FUNCTION rehearsal_watch; DROP TABLE rehearsal_peak"
SCOPES = """
SELECT b.scope, b.cap_nano, p.posted_nano, p.held_nano, w.nano, w.changes
FROM usage_budget b JOIN usage_budgetperiod p ON p.budget_id = b.id JOIN rehearsal_peak w ON w.budget_period_id = p.id
WHERE b.period = 'total' ORDER BY b.cap_nano
"""


@dataclass(frozen=True, slots=True)
class Plan:
    """``worth`` calls fit the budget, more or less; ``at_once`` are under way through so many web processes; every kind of fault comes
    ``times`` times."""

    at_once: int = 500
    worth: int = 12_000
    times: int = 4
    seed: int = 1
    processes: int = 4

    @property
    def cap_nano(self) -> int:
        return self.worth * NANO_PER_CALL

    def faults_due(self) -> list[int]:
        """After so many answers: evenly over the whole of it, the last ones when the budget is all but used up."""
        faults = len(KINDS) * self.times
        return [self.worth * position // faults for position in range(1, faults + 1)]


@dataclass(frozen=True, slots=True)
class Scope:
    """What one scope's budget ended at, and the most it ever had booked and held together, over so many changes."""

    name: str
    cap_nano: int
    booked_nano: int
    held_nano: int
    peak_nano: int
    changes: int

    @property
    def overshoot_nano(self) -> int:
        return max(0, self.peak_nano - self.cap_nano, self.booked_nano + self.held_nano - self.cap_nano)


@dataclass(slots=True)
class Outcome:
    """``statuses`` are the answers by status, ``unexpected`` those that are neither an answer nor the budget's refusal, by status and
    code; ``alone`` those that said their process counted rate limits without Redis."""

    statuses: Counter[int] = field(default_factory=Counter)
    unexpected: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    readiness: Counter[str] = field(default_factory=Counter)
    alone: int = 0
    rounds: int = 0
    slowest_s: float = 0.0
    took_s: float = 0.0
    alone_at_end: list[str] = field(default_factory=list)
    scopes: list[Scope] = field(default_factory=list)
    verdict: Verdict = field(default_factory=Verdict)

    @property
    def utilisation(self) -> float:
        decisive = self.scopes[0]
        return decisive.booked_nano / decisive.cap_nano

    def wrong(self) -> list[str]:
        found = [f"{scope.name}: {scope.overshoot_nano} nano-dollars above the cap" for scope in self.scopes if scope.overshoot_nano]
        found += [f"{scope.name}: {scope.held_nano} still held" for scope in self.scopes if scope.held_nano]
        found += [f"{times} answers with {what}" for what, times in self.unexpected.items()]
        if self.utilisation < UTILISATION_MIN:
            found.append(f"utilisation {self.utilisation:.2%}")
        if set(self.readiness) != {"degraded"}:
            found.append(f"readiness without Redis: {dict(self.readiness)}")
        if not self.alone:
            found.append("no answer said that rate limits were counted alone while Redis was away")
        found += [f"{name} did not find Redis again" for name in self.alone_at_end]
        return found + self.verdict.faults

    def __str__(self) -> str:
        lines = [
            f"{sum(self.statuses.values())} answers in {self.took_s:.0f} s and {self.rounds} rounds, the slowest after "
            f"{self.slowest_s:.1f} s: {dict(self.statuses)}; Redis {dict(self.faults)}",
            f"{self.alone} calls counted their rate limits without Redis; {len(self.alone_at_end)} processes still do",
            *(
                f"  {scope.name:8} cap {scope.cap_nano} booked {scope.booked_nano} held {scope.held_nano} "
                f"peak {scope.peak_nano} of {scope.changes} changes: overshoot {scope.overshoot_nano}"
                for scope in self.scopes
            ),
            f"utilisation {self.utilisation:.3%}",
            str(self.verdict),
            *(f"  WRONG: {each}" for each in self.wrong()),
        ]
        return "\n".join(lines)


def questions(seed: int) -> Iterator[bytes]:
    """Calls that hold two to three times what they cost; a quarter are streams."""
    dice = random.Random(seed)
    for number in count():
        text = (
            f"Question {number}: {'why ' * dice.randint(1, 20)}[sim tokens={dice.randint(1, TOKENS_MAX)} latency_ms={dice.randint(0, 40)}]"
        )
        messages = [{"role": "user", "content": text}]
        yield json.dumps({"model": MODEL, "stream": dice.random() < 0.25, "max_tokens": TOKENS_MAX, "messages": messages}).encode()


def counting_alone(logs: Path) -> list[str]:
    """The web processes whose last word on Redis is that it is away."""
    last = {log.stem: re.findall(r"rate_limits_(counted_alone|shared_again)", log.read_text())[-1:] for log in logs.glob("web-*.log")}
    return sorted(name for name, words in last.items() if words == ["counted_alone"])


class Rush:
    """The clients, and the faults that come after so many of their answers."""

    def __init__(self, stage: Stage, server: FaultyRedis, plan: Plan, logs: Path) -> None:
        self._stage = stage
        self._logs = logs
        self._server = server
        self._plan = plan
        self._questions = questions(plan.seed)
        self._faults_due = plan.faults_due()
        self._due: asyncio.Queue[None] = asyncio.Queue()
        self.outcome = Outcome()

    async def run(self) -> Outcome:
        started = time.monotonic()
        timeout = aiohttp.ClientTimeout(total=REQUEST_S)
        connector = aiohttp.TCPConnector(limit=self._plan.at_once + 1)
        async with aiohttp.ClientSession(timeout=timeout, connector=connector) as session, asyncio.TaskGroup() as tasks:
            tasks.create_task(self._break_redis(session, len(self._faults_due)))
            await self._use_up(session)
            self.outcome.took_s = time.monotonic() - started
            await self._settle_down(session)
        return self.outcome

    async def _settle_down(self, session: aiohttp.ClientSession) -> None:
        """Requests that cost nothing and look at their limits, until every process counts in Redis again."""
        deadline = time.monotonic() + RECOVERY_S
        while (alone := counting_alone(self._logs)) and time.monotonic() < deadline:
            await asyncio.gather(*(self._look(session, origin) for origin in self._stage.origins * (8 * self._plan.processes)))
            await asyncio.sleep(0.2)
        self.outcome.alone_at_end = alone

    async def _look(self, session: aiohttp.ClientSession, origin: str) -> None:
        """On a connection of its own, which may reach any of the processes."""
        headers = {"authorization": f"Bearer {self._stage.key}", "connection": "close"}
        async with session.get(f"{origin}/v1/models", headers=headers) as answer:
            await answer.read()

    async def _use_up(self, session: aiohttp.ClientSession) -> None:
        """Rounds until one in which nobody was served: then everything is settled and what is left is less than one hold."""
        before = -1
        while self.outcome.statuses[200] > before and self.outcome.rounds < ROUNDS_MAX:
            before = self.outcome.statuses[200]
            self.outcome.rounds += 1
            await asyncio.gather(*(self._client(session, origin) for origin in islice(cycle(self._stage.origins), self._plan.at_once)))

    async def _client(self, session: aiohttp.ClientSession, origin: str) -> None:
        while await self._ask(session, origin) == 200:
            continue

    async def _ask(self, session: aiohttp.ClientSession, origin: str) -> int:
        headers = {"authorization": f"Bearer {self._stage.key}", "content-type": "application/json"}
        asked = time.monotonic()
        url = f"{origin}/v1/chat/completions"
        async with session.post(url, data=next(self._questions), headers=headers) as answer:
            body = await answer.read()
        outcome = self.outcome
        outcome.slowest_s = max(outcome.slowest_s, time.monotonic() - asked)
        outcome.statuses[answer.status] += 1
        if answer.status not in (200, 402):
            outcome.unexpected[f"{answer.status} {json.loads(body)['error']['code']}"] += 1
        outcome.alone += "rate limits" in answer.headers.get("X-Gateway-Degraded", "")
        if self._faults_due and outcome.statuses.total() >= self._faults_due[0]:
            self._faults_due.pop(0)
            self._due.put_nowait(None)
        return answer.status

    async def _break_redis(self, session: aiohttp.ClientSession, times: int) -> None:
        """Starting a server holds the clients up for an instant; their requests are under way meanwhile."""
        kinds = cycle(KINDS)
        for number in range(times):
            await self._due.get()
            if number == 0:
                self._server.remember()
            kind = next(kinds)
            self.outcome.faults[kind] += 1
            if kind == "flushed":
                self._server.flush()
                continue
            self._server.kill()
            if kind == "restored":
                self._server.start_from_old_snapshot()
                continue
            await asyncio.sleep(DOWN_S / 2)
            async with session.get(f"{self._stage.origin}/readyz") as answer:
                self.outcome.readiness[(await answer.json())["status"]] += 1
            await asyncio.sleep(DOWN_S / 2)
            self._server.start_empty()


def rehearse(gateway: AbstractContextManager[Stage], server: FaultyRedis, database_url: str, plan: Plan, logs: Path) -> Outcome:
    """Uses up a budget of ``gateway``, whose processes count in ``server``, keep their books in ``database_url``, and log to ``logs``."""
    with gateway as stage, peaks_kept(database_url):
        stage.in_django("tests.load.shared_budget", str(plan.cap_nano))
        outcome = asyncio.run(Rush(stage, server, plan, logs).run())
        outcome.verdict = compare(stage)
        with psycopg.connect(database_url) as database:
            outcome.scopes = [Scope(*row) for row in database.execute(SCOPES)]
    return outcome


@contextmanager
def peaks_kept(database_url: str) -> Iterator[None]:
    with psycopg.connect(database_url) as database:
        database.execute(WATCH)
    try:
        yield
    finally:
        with psycopg.connect(database_url) as database:
            database.execute(FORGET)


@contextmanager
def faulty_redis(folder: Path) -> Iterator[FaultyRedis]:
    folder.mkdir()
    server = FaultyRedis(folder)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def rehearse_alone(folder: Path, plan: Plan) -> Outcome:
    """On a PostgreSQL with durable commits, a Redis and the whole gateway, all private."""
    with faulty_redis(folder / "redis") as server, rig.durable_postgres(folder / "postgresql") as postgres:
        gateway = _started(whole_gateway(folder, postgres.url, plan.processes, REDIS_URL=server.url))
        return rehearse(gateway, server, postgres.url, plan, folder / "var" / "log")


@contextmanager
def _started(gateway: AbstractContextManager[SupervisedStage]) -> Iterator[Stage]:
    with gateway as stage:
        stage.supervisor.wait_for_line(r"(Ctrl-C) ends everything")  # until then it may still give up
        yield stage


def main() -> None:
    full = Plan()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--at-once", type=int, default=full.at_once)
    parser.add_argument("--worth", type=int, default=full.worth, help="calls the budget is worth, more or less")
    parser.add_argument("--times", type=int, default=full.times, help="of each fault of Redis")
    parser.add_argument("--seed", type=int, default=full.seed)
    parser.add_argument("--processes", type=int, default=full.processes, help="web processes")
    options = parser.parse_args()
    with rig.scratch_folder() as folder:
        outcome = rehearse_alone(folder, Plan(options.at_once, options.worth, options.times, options.seed, options.processes))
    sys.stdout.write(f"{outcome}\n")
    sys.exit(bool(outcome.wrong()))


if __name__ == "__main__":
    main()
