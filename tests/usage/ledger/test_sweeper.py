"""Orphaned attempts are estimated once, and late news corrects them once."""

from __future__ import annotations

import asyncio
import signal
import threading
from dataclasses import replace
from datetime import timedelta

import pytest
from django.db import connections
from django.utils import timezone

from tests.usage.processes import start_reserving
from tests.usage.world import CARD, USAGE, assert_balanced, counters, gateway_budget, reserve_order, settlement
from usage.ledger.front import Ledger, Settlement, Void, reserve_now, settle_now, void_now
from usage.ledger.prune import prune
from usage.ledger.sweeper import ALIVE_FOR, sweep
from usage.ledger.verification import verify_ledger
from usage.models import Attempt, Budget, GatewayProcess, LedgerEntry
from usage.money import cost_of

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]


def orphan(budget: Budget, hold_nano: int = 50, **changes: object):
    """An attempt of a process that has stopped."""
    order = reserve_order(hold_nano, [budget], **changes)
    reserve_now(order)
    GatewayProcess.objects.update(stopped_at=timezone.now())
    return order


def test_I17_a_killed_process_leaves_flagged_estimates_exactly_once(transactional_db: None) -> None:
    budget = gateway_budget(1000)
    process = start_reserving(budget, 20, "wait")
    assert process.stdout is not None
    assert process.stdout.readline() == "20\n"
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=30)
    assert sweep(timezone.now()) == 0  # its heartbeat is still fresh
    later = timezone.now() + ALIVE_FOR + timedelta(seconds=1)
    swept: list[int] = []

    def sweep_in_a_thread() -> None:
        start.wait()
        swept.append(sweep(later))
        connections.close_all()

    start = threading.Barrier(4)
    threads = [threading.Thread(target=sweep_in_a_thread) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(swept) == 20
    assert counters(budget) == (20, 0)
    lines = LedgerEntry.objects.all()
    assert {(line.kind, line.basis, line.cost_nano, line.error_code, line.input_tokens) for line in lines} == {
        ("usage", "estimated", 1, "orphaned", None)
    }
    assert all("upper bound" in line.note for line in lines)
    assert len(lines) == 20
    assert_balanced()


def test_live_processes_are_left_alone(ledger: Ledger) -> None:
    asyncio.run(ledger.reserve(reserve_order(5)))
    assert sweep(timezone.now()) == 0
    assert Attempt.objects.get().status == "dispatched"


def test_an_attempt_of_an_unknown_process_is_an_orphan(transactional_db: None) -> None:
    budget = gateway_budget(100)
    reserve_now(reserve_order(7, [budget]))
    GatewayProcess.objects.all().delete()
    assert sweep(timezone.now()) == 1
    assert counters(budget) == (7, 0)


def test_a_running_ledger_sweeps_without_celery(transactional_db: None) -> None:
    budget = gateway_budget(100)
    orphan(budget, 50)
    ledger = Ledger()
    ledger.start()
    for _ in range(2):  # house-keeping runs between two batches
        asyncio.run(ledger.reserve(reserve_order(0)))
    assert counters(budget) == (50, 0)
    assert ledger.stop(10)
    assert LedgerEntry.objects.count() == 1


def test_a_late_settlement_posts_one_correction(transactional_db: None) -> None:
    budget = gateway_budget(100)
    order = orphan(budget, 50)
    assert sweep(timezone.now()) == 1
    settle_now(settlement(order, 12, upstream_id="late"))
    settle_now(settlement(order, 13))
    assert counters(budget) == (12, 0)
    lines = LedgerEntry.objects.order_by("id").values_list("kind", "basis", "cost_nano", "input_tokens", "upstream_id")
    assert [*lines] == [("usage", "estimated", 50, None, ""), ("correction", "measured", -38, 10, "late")]
    assert Attempt.objects.get().status == "settled"
    assert_balanced()


def test_a_late_settlement_tells_its_calls_of_tools_and_can_be_recomputed(transactional_db: None) -> None:
    order = orphan(gateway_budget(10**9), 10**8, price=replace(CARD, tool_call_nano=10_000_000))
    assert sweep(timezone.now()) == 1
    usage = replace(USAGE, provider_tool_calls=2)
    settle_now(Settlement(order.attempt_id, cost_of(usage, order.card), usage))
    lines = LedgerEntry.objects.order_by("id").values_list("kind", "cost_nano", "provider_tool_calls")
    assert [*lines] == [("usage", 10**8, None), ("correction", 20_075_000 - 10**8, 2)]
    assert [*verify_ledger()] == []


def test_a_late_void_takes_the_estimate_back(transactional_db: None) -> None:
    budget = gateway_budget(100)
    order = orphan(budget, 50)
    sweep(timezone.now())
    void_now(Void(order.attempt_id, "upstream_connect_failed"))
    void_now(Void(order.attempt_id))
    assert counters(budget) == (0, 0)
    assert [*LedgerEntry.objects.order_by("id").values_list("cost_nano", flat=True)] == [50, -50]
    assert Attempt.objects.get().status == "voided"


def test_more_orphans_than_a_batch_are_all_swept(transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("usage.ledger.sweeper.BATCH_MAX", 2)
    for _ in range(5):
        reserve_now(reserve_order(1))
    GatewayProcess.objects.all().delete()
    assert sweep(timezone.now()) == 5


def test_a_dead_process_is_forgotten_once_its_attempts_are_closed(transactional_db: None) -> None:
    orphan(gateway_budget(100))
    tomorrow = timezone.now() + timedelta(days=1)
    assert prune(tomorrow)[1] == 0
    sweep(timezone.now())
    assert prune(tomorrow)[1] == 1
    assert not GatewayProcess.objects.exists()
