"""Which thresholds of a budget are crossed, to the last nano-dollar, and that each is noted once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext

from usage.budgets import alerts
from usage.budgets.alerts import note_crossed, undelivered
from usage.models import Budget, BudgetAlert, BudgetPeriod

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


def period(cap: int = 10_000, *, unit: str = "month", key: str = "2026-11", **counted: int) -> BudgetPeriod:
    user = User.objects.create_user(f"user{User.objects.count()}")
    budget = Budget.objects.create(scope="user", user=user, period=unit, cap_nano=cap)
    return BudgetPeriod.objects.create(budget=budget, key=key, **counted)


def noted(of: BudgetPeriod) -> list[tuple[str, int]]:
    return [*of.alerts.order_by("measure", "threshold_percent").values_list("measure", "threshold_percent")]


@pytest.mark.parametrize(
    ("used", "crossed"),
    [
        (0, []),
        (4_999, []),
        (5_000, [50]),
        (7_999, [50]),
        (8_000, [50, 80]),
        (9_999, [50, 80]),
        (10_000, [50, 80, 100]),
        (99_999, [50, 80, 100]),
    ],
)
def test_R502_a_threshold_is_crossed_at_exactly_its_part_of_the_cap(used: int, crossed: list[int]) -> None:
    of = period(posted_nano=used)
    note_crossed(NOW)
    assert noted(of) == [("money", percent) for percent in crossed]


def test_of_several_new_thresholds_only_the_highest_is_to_be_told_and_the_next_one_again() -> None:
    of = period(posted_nano=8_500)
    note_crossed(NOW)
    told = {
        alert.threshold_percent: (alert.used, alert.cap, alert.crossed_at, alert.mailed_at, alert.posted_at) for alert in of.alerts.all()
    }
    assert told == {50: (8_500, 10_000, NOW, NOW, NOW), 80: (8_500, 10_000, NOW, None, None)}
    later = NOW + timedelta(hours=1)
    BudgetPeriod.objects.update(posted_nano=20_000)
    note_crossed(later)
    with CaptureQueriesContext(connection) as looked:
        note_crossed(later + timedelta(hours=1))
    assert not [each["sql"] for each in looked if "INSERT" in each["sql"]], "who finds nothing new writes nothing"
    highest = of.alerts.get(threshold_percent=100)
    assert (highest.used, highest.crossed_at, highest.mailed_at, highest.posted_at) == (20_000, later, None, None)
    assert of.alerts.count() == 3


def test_each_measure_has_thresholds_of_its_own_and_a_cap_of_0_none() -> None:
    of = period(0, posted_nano=5, posted_tokens=80, requests=5)
    Budget.objects.update(cap_tokens=100, cap_requests=10)
    note_crossed(NOW)
    assert noted(of) == [("requests", 50), ("tokens", 50), ("tokens", 80)]
    unlimited = period(posted_nano=1, posted_tokens=10**9, requests=10**9)
    note_crossed(NOW)
    assert noted(unlimited) == []


def test_only_the_current_periods_are_looked_at() -> None:
    current = {"hour": "2026-11-21T12Z", "day": "2026-11-21", "week": "2026-W47", "month": "2026-11", "total": "total"}
    periods = [period(unit=unit, key=key, posted_nano=5_000) for unit, key in current.items()]
    past = period(unit="month", key="2026-10", posted_nano=5_000)
    note_crossed(NOW)
    assert [noted(each) for each in periods] == [[("money", 50)]] * 5
    assert noted(past) == []


class NotedByAnother(alerts._Use):
    """A use that another process notes while this one looks."""

    period: BudgetPeriod

    @property
    def crossed(self) -> tuple[int, ...]:
        self.period.alerts.create(measure="money", threshold_percent=50, used=1, cap=1, crossed_at=NOW)
        return super().crossed


def test_of_two_who_look_at_once_one_notes_it() -> None:
    of = period(posted_nano=8_000)
    NotedByAnother.period = of
    alerts._note(of, NotedByAnother(BudgetAlert.Measure.MONEY, 8_000, 10_000), NOW)
    assert noted(of) == [("money", 50), ("money", 80)]
    assert of.alerts.get(threshold_percent=50).used == 1, "what is there stays"


def test_an_alert_waits_until_both_ways_are_done_or_given_up() -> None:
    of = period()

    def waiting(threshold: int, **fields: object) -> BudgetAlert:
        return of.alerts.create(measure="money", threshold_percent=threshold, used=1, cap=1, crossed_at=NOW, **fields)

    both, mail, post = waiting(1), waiting(2, posted_at=NOW, tries=2), waiting(3, mailed_at=NOW)
    waiting(4, mailed_at=NOW, posted_at=NOW)
    waiting(5, tries=3)
    waiting(6, posted_at=NOW, tries=3)
    assert {alert.pk for alert in undelivered(3)} == {both.pk, mail.pk, post.pk}
