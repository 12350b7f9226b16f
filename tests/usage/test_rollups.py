"""Totals equal the ledger, however often and by however many they are rebuilt."""

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
from usage.models import GatewayProcess, LedgerEntry, UsageTotal
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
    post(7, LATE - timedelta(minutes=15))
    assert roll_up(DAY) == 3
    rows = UsageTotal.objects.order_by("-slot", "user_id").values_list(
        "slot", "user_id", "requests", "attempts", "estimated_lines", "input_tokens", "output_tokens", "cost_nano"
    )
    last, before = LATE.replace(minute=45, second=0), LATE.replace(minute=30, second=0)
    assert [*rows] == [(last, 1, 2, 2, 1, 20, 10, 7), (last, 2, 1, 1, 0, 10, 5, 5), (before, 1, 1, 1, 0, 10, 5, 7)]


def test_M20_two_attempts_of_one_request_are_one_request_even_across_groups_and_slots(transactional_db: None) -> None:
    post(3, LATE - timedelta(minutes=15), request_id="r", attempt_no=1)
    post(4, request_id="r", attempt_no=2, context="other")
    roll_up(DAY)
    assert sorted(UsageTotal.objects.values_list("requests", "attempts", "cost_nano")) == [(0, 1, 4), (1, 1, 3)]


def test_a_bucket_nobody_knows_stays_unknown_in_the_sum(transactional_db: None) -> None:
    post(3)
    roll_up(DAY)
    total = UsageTotal.objects.get()
    assert (total.input_tokens, total.cache_read_tokens, total.image_input_tokens) == (10, None, None)


def test_a_late_correction_reaches_the_day_of_its_call(transactional_db: None) -> None:
    order = reserve_order(100, dispatched_at=LATE)
    reserve_now(order)
    GatewayProcess.objects.all().delete()
    sweep(timezone.now())
    assert roll_up_recent(timezone.now()) == [DAY]
    assert UsageTotal.objects.values_list("cost_nano", "estimated_lines", "attempts").get() == (100, 1, 1)
    settle_now(settlement(order, 30))
    roll_up_recent(timezone.now())
    assert UsageTotal.objects.values_list("cost_nano", "estimated_lines", "attempts", "input_tokens").get() == (30, 0, 1, 10)


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
    assert UsageTotal.objects.aggregate(sum=Sum("cost_nano"))["sum"] == ledger_sum
    assert UsageTotal.objects.count() == 20


def test_a_day_whose_lines_are_gone_has_no_totals(transactional_db: None) -> None:
    UsageTotal.objects.create(
        slot=LATE.replace(minute=0, second=0), user_id=1, context="x", provider_slug="x", model_name="x", requests=1, attempts=1,
        lines=1, estimated_lines=0, cost_nano=1,
    )  # fmt: skip
    assert roll_up(DAY) == 0
    assert not UsageTotal.objects.exists()


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
    assert UsageTotal.objects.get().cost_nano == 3
    assert [*ConfigChange.objects.values_list("version", flat=True)] == [old.version + 1]
