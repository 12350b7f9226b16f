"""I03, I04, M05 in small: Redis is killed, flushed and restored while four processes use up one budget."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.load.overshoot import Outcome, Plan, Scope, faulty_redis, rehearse
from tests.load.reconciliation import Verdict
from tests.load.served import web_processes
from tests.usage.processes import database_url

PLAN = Plan(at_once=200, worth=1_000, times=1, processes=2)


@pytest.mark.timeout(240)
@pytest.mark.django_db(transaction=True)
def test_I03_I04_M05_a_budget_is_never_exceeded_and_all_but_used_up_whatever_becomes_of_redis(tmp_path: Path, on_postgresql: bool) -> None:
    if not on_postgresql:
        pytest.skip("the highest use is kept by a trigger of PostgreSQL")
    with faulty_redis(tmp_path / "redis") as server:
        gateway = web_processes(tmp_path, PLAN.processes, REDIS_URL=server.url)
        outcome = rehearse(gateway, server, database_url(), PLAN, tmp_path)
    assert outcome.wrong() == []
    assert outcome.faults == {"killed": 1, "flushed": 1, "restored": 1}
    assert outcome.statuses[200] > PLAN.worth * 0.8
    assert [scope.name for scope in outcome.scopes] == ["gateway", "team", "user", "key"]
    assert all(scope.changes > 10 for scope in outcome.scopes)


RIGHT = Scope("gateway", cap_nano=100, booked_nano=96, held_nano=0, peak_nano=100, changes=5)


@pytest.mark.parametrize(
    ("scope", "said"),
    [
        (RIGHT, []),
        (replace(RIGHT, peak_nano=101), ["gateway: 1 nano-dollars above the cap"]),
        (replace(RIGHT, booked_nano=99, held_nano=1), ["gateway: 1 still held"]),
        (replace(RIGHT, booked_nano=94), ["utilisation 94.00%"]),
    ],
)
def test_one_nano_dollar_too_much_or_an_unused_budget_is_wrong(scope: Scope, said: list[str]) -> None:
    outcome = Outcome(alone=1, scopes=[scope], verdict=Verdict())
    outcome.readiness["degraded"] += 1
    outcome.statuses[200] += 1
    assert outcome.wrong() == said


def test_any_answer_but_success_and_refusal_is_wrong_and_so_is_a_process_that_lost_redis_for_good() -> None:
    outcome = Outcome(alone=0, scopes=[RIGHT], alone_at_end=["web-2"], verdict=Verdict(faults=["a line is missing"]))
    outcome.readiness["ready"] += 1
    outcome.unexpected["503 ledger_unavailable"] += 2
    assert outcome.wrong() == [
        "2 answers with 503 ledger_unavailable",
        "readiness without Redis: {'ready': 1}",
        "no answer said that rate limits were counted alone while Redis was away",
        "web-2 did not find Redis again",
        "a line is missing",
    ]
