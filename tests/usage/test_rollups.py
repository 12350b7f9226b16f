"""Daily totals equal the ledger, however often and by however many they are rebuilt."""

from __future__ import annotations

import threading
from datetime import UTC, date, datetime, timedelta

import pytest
from django.db import connections
from django.db.models import Sum
from django.utils import timezone

from providers.models import ConfigChange, ConfigVersion
from tests.usage.world import reserve_order, settlement
from usage import tasks
from usage.ledger import Void, reserve_now, settle_now, void_now
from usage.models import DailyTotal, GatewayProcess, LedgerEntry
from usage.rollups import roll_up, roll_up_recent
from usage.sweeper import sweep

pytestmark = pytest.mark.django_db(transaction=True)

DAY = date(2026, 11, 20)
LATE = datetime(2026, 11, 20, 23, 59, 59, tzinfo=UTC)


def post(cost_nano: int, when: datetime = LATE, basis: str = "measured", **changes: object) -> None:
    order = reserve_order(100, dispatched_at=when, **changes)
    reserve_now(order)
    settle_now(settlement(order, cost_nano, basis=basis))


def test_R506_a_day_is_the_sum_of_its_lines(transactional_db: None) -> None:
    post(3)
    post(4, basis="estimated")
    post(5, user_id=2)
    post(6, LATE + timedelta(seconds=1))
    dropped = reserve_order(1, dispatched_at=LATE)
    reserve_now(dropped)
    void_now(Void(dropped.attempt_id))
    assert roll_up(DAY) == 2
    rows = DailyTotal.objects.order_by("user_id").values_list(
        "day", "user_id", "requests", "attempts", "estimated", "input_tokens", "output_tokens", "cost_nano"
    )
    assert [*rows] == [(DAY, 1, 2, 2, 1, 20, 10, 7), (DAY, 2, 1, 1, 0, 10, 5, 5)]


def test_two_attempts_of_one_request_are_one_request(transactional_db: None) -> None:
    post(3, request_id="r", attempt_no=1)
    post(4, request_id="r", attempt_no=2)
    roll_up(DAY)
    total = DailyTotal.objects.get()
    assert (total.requests, total.attempts, total.cost_nano) == (1, 2, 7)


def test_a_late_correction_reaches_the_day_of_its_call(transactional_db: None) -> None:
    order = reserve_order(100, dispatched_at=LATE)
    reserve_now(order)
    GatewayProcess.objects.all().delete()
    sweep(timezone.now())
    assert roll_up_recent(timezone.now()) == [DAY]
    assert DailyTotal.objects.values_list("cost_nano", "estimated", "attempts").get() == (100, 1, 1)
    settle_now(settlement(order, 30))
    roll_up_recent(timezone.now())
    assert DailyTotal.objects.values_list("cost_nano", "estimated", "attempts", "input_tokens").get() == (30, 0, 1, 10)


def test_I14_rebuilding_at_the_same_time_changes_nothing(transactional_db: None) -> None:
    for cost in range(20):
        post(cost, model_asked=str(cost), user_id=cost)
    start = threading.Barrier(3)

    def rebuild() -> None:
        start.wait()
        roll_up(DAY)
        connections.close_all()

    threads = [threading.Thread(target=rebuild) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ledger_sum = LedgerEntry.objects.aggregate(sum=Sum("cost_nano"))["sum"]
    assert DailyTotal.objects.aggregate(sum=Sum("cost_nano"))["sum"] == ledger_sum
    assert DailyTotal.objects.count() == 20


def test_a_day_whose_lines_are_gone_has_no_totals(transactional_db: None) -> None:
    DailyTotal.objects.create(
        day=DAY, user_id=1, context="x", provider_slug="x", model_name="x", requests=1, attempts=1, estimated=0, input_tokens=1,
        output_tokens=1, cost_nano=1,
    )  # fmt: skip
    assert roll_up(DAY) == 0
    assert not DailyTotal.objects.exists()


def test_the_tasks_can_be_run_by_hand_and_twice(transactional_db: None) -> None:
    post(3, timezone.now())
    ConfigVersion.bump()
    old = ConfigChange.objects.get(version=ConfigVersion.current())
    ConfigVersion.bump()
    ConfigChange.objects.filter(pk=old.pk).update(created_at=timezone.now() - timedelta(days=2))
    for _ in range(2):
        tasks.roll_up_daily_totals()
        tasks.sweep_orphans()
        tasks.prune_bookkeeping()
    assert DailyTotal.objects.get().cost_nano == 3
    assert [*ConfigChange.objects.values_list("version", flat=True)] == [old.version + 1]
