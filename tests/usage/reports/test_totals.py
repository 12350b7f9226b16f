"""Totals hold every line once, whenever it was posted and however many add them, and reports are exact all the while."""

from __future__ import annotations

import io
import random
import threading
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connections, transaction
from django.db.models import Sum
from django.utils import timezone

from providers.models import ConfigChange, ConfigVersion
from tests.usage.lines import line
from tests.usage.lines import post as post_lines
from tests.usage.world import reserve_order, settlement
from usage import tasks
from usage.budgets.adjustments import adjust_attempt
from usage.ledger.front import Void, reserve_now, settle_now, void_now
from usage.ledger.sweeper import sweep
from usage.models import (
    Attempt,
    GatewayProcess,
    LedgerEntry,
    RollUp,
    UsageByCard,
    UsageDay,
    UsageHalfHour,
    UsageHalfHourSum,
    UsageMonth,
    UsageTeamDay,
    UsageTotal,
)
from usage.reports import questions, totals
from usage.reports.questions import DateRange, Dimension, LineFilter
from usage.reports.sums import Asked, Groups, snapshot, sums
from usage.reports.totals import last_settled_id, roll_up, start_over

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("made_up_costs"), pytest.mark.both_databases]

LATE = datetime(2026, 11, 20, 23, 59, 59, tzinfo=UTC)
TABLES = (UsageTotal, UsageHalfHour, UsageHalfHourSum, UsageDay, UsageTeamDay, UsageMonth, UsageByCard)
AUTUMN = DateRange(date(2026, 10, 1), date(2026, 12, 1))


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
    assert roll_up(LATE) == 5
    rows = UsageTotal.objects.order_by("-slot", "user_id").values_list(
        "slot", "user_id", "requests", "attempts", "estimated_lines", "input_tokens", "output_tokens", "cost_nano"
    )
    last, before = LATE.replace(minute=45, second=0), LATE.replace(minute=30, second=0)
    after = last + timedelta(minutes=15)
    assert [*rows] == [
        (after, 1, 1, 1, 0, 10, 5, 6),
        (last, 1, 2, 2, 1, 20, 10, 7),
        (last, 2, 1, 1, 0, 10, 5, 5),
        (before, 1, 1, 1, 0, 10, 5, 7),
    ]


def test_M20_two_attempts_of_one_request_are_one_request_even_across_groups_and_slots(transactional_db: None) -> None:
    post(3, LATE - timedelta(minutes=15), request_id="r", attempt_no=1)
    post(4, request_id="r", attempt_no=2, context="other")
    roll_up(LATE)
    assert sorted(UsageTotal.objects.values_list("requests", "attempts", "cost_nano")) == [(0, 1, 4), (1, 1, 3)]


def test_a_bucket_nobody_knows_stays_unknown_in_the_sum(transactional_db: None) -> None:
    post(3)
    roll_up(LATE)
    total = UsageTotal.objects.get()
    assert (total.input_tokens, total.cache_read_tokens, total.image_input_tokens) == (10, None, None)


def test_a_late_correction_reaches_the_day_of_its_call(transactional_db: None) -> None:
    order = reserve_order(100, dispatched_at=LATE)
    reserve_now(order)
    GatewayProcess.objects.all().delete()
    sweep(timezone.now())
    assert roll_up(timezone.now()) == 1
    assert UsageTotal.objects.values_list("cost_nano", "estimated_lines", "attempts").get() == (100, 1, 1)
    settle_now(settlement(order, 30))
    roll_up(timezone.now())
    assert UsageTotal.objects.values_list("cost_nano", "estimated_lines", "attempts", "input_tokens").get() == (30, 0, 1, 10)


def _in_threads(*work: Callable[[], None]) -> None:
    def run(each: Callable[[], None]) -> None:
        try:
            each()
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=[each]) for each in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_I14_adding_at_the_same_time_adds_once(transactional_db: None) -> None:
    for cost in range(20):
        post(cost, model_asked=str(cost), user_id=cost)
    start = threading.Barrier(3)

    def add() -> None:
        start.wait()
        roll_up(LATE)

    _in_threads(add, add, add)
    ledger_sum = LedgerEntry.objects.aggregate(sum=Sum("cost_nano"))["sum"]
    for table in TABLES:
        assert table.objects.aggregate(sum=Sum("cost_nano"), lines=Sum("lines")) == {"sum": ledger_sum, "lines": 20}


def test_totals_are_added_in_bounded_steps(transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(totals, "CHUNK_LINES", 3)
    post_lines(*[line(cost_nano=cost) for cost in range(10)])
    assert roll_up(LATE, lines_max=4) == 6
    assert UsageTotal.objects.get().lines == 6
    assert sums(Asked(AUTUMN)).cost_nano == 45
    assert (roll_up(LATE), roll_up(LATE)) == (4, 0)
    assert {table.objects.get().cost_nano for table in TABLES} == {45}


def test_starting_over_gives_the_same_totals(transactional_db: None) -> None:
    post_lines(*[line(cost_nano=cost, user_id=cost % 3) for cost in range(10)])
    roll_up(LATE)
    before = [*UsageTotal.objects.order_by("user_id").values_list("user_id", "cost_nano", "requests")]
    start_over()
    assert not any(table.objects.exists() for table in TABLES)
    assert sums(Asked(AUTUMN)).cost_nano == 45
    call_command("rebuild_totals", stdout=(said := io.StringIO()))
    assert said.getvalue() == "10 lines summed.\n"
    assert [*UsageTotal.objects.order_by("user_id").values_list("user_id", "cost_nano", "requests")] == before


def test_days_follow_a_change_of_the_time_zone(transactional_db: None, settings: Any) -> None:
    settings.TIME_ZONE = "America/New_York"
    hours = [datetime(2026, 10, 31, tzinfo=UTC) + timedelta(hours=number) for number in range(72)]
    post_lines(*[line(dispatched_at=hour, cost_nano=2**number % 1009) for number, hour in enumerate(hours)])
    roll_up(LATE)
    settings.TIME_ZONE = "Asia/Kathmandu"
    by_day = [(row["day"], row["cost_nano"]) for row in Groups(Asked(DateRange(date(2026, 10, 1), date(2026, 12, 1))), [Dimension.DAY])[:]]
    assert RollUp.objects.get().time_zone == "America/New_York"
    roll_up(LATE)
    assert RollUp.objects.get().time_zone == "Asia/Kathmandu"
    assert {day.slot.astimezone(questions.report_zone()).time().isoformat() for day in UsageDay.objects.all()} == {"00:00:00"}
    again = Groups(Asked(DateRange(date(2026, 10, 1), date(2026, 12, 1))), [Dimension.DAY])[:]
    assert [(row["day"], row["cost_nano"]) for row in again] == by_day
    assert sum(cost for _, cost in by_day) == sum(2**number % 1009 for number in range(72))


def test_totals_of_a_release_without_half_hours_and_cards_are_completed_and_exact_meanwhile(transactional_db: None) -> None:
    """Its worker may go on for a while after the upgrade: it moves ``last_entry_id`` and adds to quarters and days alone."""
    lines = [line(dispatched_at=LATE - timedelta(minutes=11 * number), cost_nano=number) for number in range(40)]
    post_lines(*lines[:20])
    roll_up(LATE)
    by_hour = [(row["hour"], row["cost_nano"]) for row in Groups(Asked(AUTUMN), [Dimension.HOUR])[:]]
    for state in ({"half_hours_entry_id": None, "cards_entry_id": None}, {"half_hours_entry_id": 3, "cards_entry_id": 3}):
        UsageHalfHour.objects.filter(cost_nano__gt=20).delete()
        UsageHalfHourSum.objects.filter(cost_nano__gt=20).delete()
        UsageByCard.objects.all().delete()
        RollUp.objects.update(**state)
        assert [(row["hour"], row["cost_nano"]) for row in Groups(Asked(AUTUMN), [Dimension.HOUR])[:]] == by_hour
        roll_up(LATE)
        assert sum(UsageHalfHour.objects.values_list("cost_nano", flat=True)) == sum(range(20))
        assert [(row["hour"], row["cost_nano"]) for row in Groups(Asked(AUTUMN), [Dimension.HOUR])[:]] == by_hour
    post_lines(*lines[20:])
    roll_up(LATE)
    assert sum(UsageHalfHour.objects.values_list("cost_nano", flat=True)) == sum(range(40))


def test_a_line_that_becomes_visible_late_is_not_lost(transactional_db: None, on_postgresql: bool) -> None:
    """It drew its id before the line that is visible already: a roll-up that went by ids alone would pass it for ever."""
    if not on_postgresql:
        pytest.skip("SQLite has one writer at a time: a line cannot become visible after one with a higher id")
    drawn, go_on = threading.Event(), threading.Event()

    def write_slowly() -> None:
        with transaction.atomic():
            post_lines(line(cost_nano=1))
            drawn.set()
            assert go_on.wait(20)

    def write_meanwhile() -> None:
        assert drawn.wait(20)
        post_lines(line(cost_nano=2))
        ahead = threading.Timer(0.2, go_on.set)  # the roll-up waits for the slow writer, so it cannot be told afterwards
        ahead.start()
        roll_up(LATE)
        ahead.join()

    _in_threads(write_slowly, write_meanwhile)
    assert UsageTotal.objects.get().cost_nano == 3
    assert sums(Asked(AUTUMN)).cost_nano == 3


def test_a_writer_that_does_not_end_holds_nobody_up(transactional_db: None, on_postgresql: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not on_postgresql:
        pytest.skip("SQLite has one writer at a time, and a roll-up is one")
    monkeypatch.setattr(totals, "WRITERS_WAIT_S", 0.05)
    drawn, go_on = threading.Event(), threading.Event()

    def write_slowly() -> None:
        with transaction.atomic():
            post_lines(line(cost_nano=1))
            drawn.set()
            assert go_on.wait(20)

    def roll_up_meanwhile() -> None:
        assert drawn.wait(20)
        post_lines(line(cost_nano=2))
        assert last_settled_id() is None
        assert roll_up(LATE) == 0
        assert sums(Asked(AUTUMN)).cost_nano == 2
        go_on.set()

    failures: list[BaseException] = []

    def watched() -> None:
        try:
            roll_up_meanwhile()
        except AssertionError as failure:
            failures.append(failure)
            go_on.set()

    _in_threads(write_slowly, watched)
    assert failures == []
    assert roll_up(LATE) == 2
    assert sums(Asked(AUTUMN)).cost_nano == 3


class Interleaved:
    """Writers, a roll-up and readers at the same time. Readers compare what a report says with the ledger of the same snapshot."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.done = threading.Event()
        self.compared = 0
        self.failures: list[str] = []

    def write(self) -> None:
        choose = random.Random(self.seed)
        estimated = []
        for number in range(60):
            when = datetime(2026, 10, 1, tzinfo=UTC) + timedelta(minutes=choose.randrange(60 * 24 * 61))
            order = reserve_order(
                100, dispatched_at=when, user_id=choose.randrange(3), request_id=f"r{choose.randrange(40)}", attempt_no=number
            )
            reserve_now(order)
            if choose.random() < 0.3:
                Attempt.objects.filter(pk=order.attempt_id).update(status="estimated", error_code="orphaned")
                post_lines(
                    line(attempt_id=order.attempt_id, request_id=order.request_id, dispatched_at=when, basis="estimated", cost_nano=100)
                )
                estimated.append(order)
            else:
                settle_now(settlement(order, choose.randrange(100)))
            if estimated and choose.random() < 0.4:
                settle_now(settlement(estimated.pop(), choose.randrange(100)))
            if choose.random() < 0.2:
                adjust_attempt(Attempt.objects.get(pk=order.attempt_id), 7, "goodwill", 1)
        self.done.set()

    def roll_up(self) -> None:
        while not self.done.is_set():
            roll_up(LATE)

    def read(self) -> None:
        while not self.done.is_set() or self.compared < 5:
            self.compare()
            self.compared += 1

    def compare(self) -> None:
        for only in (LineFilter(), LineFilter(user_id=1)):
            with snapshot():
                reported = sums(Asked(AUTUMN, only))
                days = Groups(Asked(AUTUMN, only), [Dimension.DAY, Dimension.USER])[:]
                hours = days if only.conditions else Groups(Asked(AUTUMN), [Dimension.HOUR])[:]
                ledger = questions.totals(questions.lines_in(AUTUMN, only))
            if reported != ledger:
                self.failures.append(f"{only}: {reported} instead of {ledger}")
            for column in ("cost_nano", "lines", "requests"):
                for name, rows in (("days", days), ("hours", hours)):
                    if sum(int(row[column]) for row in rows) != getattr(ledger, column):
                        self.failures.append(f"{name} of {only}: {column}")


@pytest.mark.parametrize("seed", [1, 2])
def test_reports_equal_the_ledger_while_lines_are_posted_corrected_adjusted_and_rolled_up(
    transactional_db: None, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(totals, "CHUNK_LINES", 7)
    work = Interleaved(seed)
    _in_threads(work.write, work.roll_up, work.read)
    assert work.done.is_set()
    roll_up(LATE)
    work.compare()
    assert work.failures == []
    assert work.compared >= 5
    assert RollUp.objects.get().last_entry_id == LedgerEntry.objects.order_by("-pk").values_list("pk", flat=True)[0]


def test_the_tasks_can_be_run_by_hand_and_twice(transactional_db: None) -> None:
    post(3, timezone.now())
    ConfigVersion.bump()
    old = ConfigChange.objects.get(version=ConfigVersion.current())
    ConfigVersion.bump()
    ConfigChange.objects.filter(pk=old.pk).update(created_at=timezone.now() - timedelta(days=2))
    for _ in range(2):
        tasks.add_lines_to_totals()
        tasks.sweep_orphans()
        tasks.prune_bookkeeping()
    assert UsageTotal.objects.get().cost_nano == 3
    assert [*ConfigChange.objects.values_list("version", flat=True)] == [old.version + 1]
