"""Days add up to months, and reports to the CSV, in every time zone of the IANA database at every border of 2024 to 2030.

One set of lines lies on both sides of every instant at which a month begins, or clocks change, anywhere. Zones whose days begin at
the same instants and whose clocks agree are asked once.
"""

from __future__ import annotations

import csv
import io
import random
from bisect import bisect_right
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import cache
from typing import Any, cast
from zoneinfo import ZoneInfo, available_timezones

import pytest
from django.contrib.auth.models import Group, User
from django.db import connection
from django.http import StreamingHttpResponse
from django.test import override_settings
from rest_framework.test import APIClient

from providers.fields import dollars
from tests.usage.lines import line, post
from usage.models import RollUp
from usage.reports import questions
from usage.reports.questions import DateRange, Dimension, LineFilter
from usage.reports.sql import totals
from usage.reports.sums import Asked, Groups, hour_starts, sums
from usage.reports.totals import roll_up

FIRST, LAST = date(2024, 1, 1), date(2031, 1, 1)
DAYS = [FIRST + timedelta(days=number) for number in range((LAST - FIRST).days)]
MONTHS = [date(year, month, 1) for year in range(2024, 2031) for month in range(1, 13)]
MICROSECOND = timedelta(microseconds=1)
NOW = datetime(2031, 1, 2, tzinfo=UTC)

pytestmark = [pytest.mark.django_db, pytest.mark.timeout(600), pytest.mark.usefixtures("made_up_costs"), pytest.mark.both_databases]


@pytest.fixture(autouse=True)
def _control_plane() -> Iterator[None]:
    with override_settings(ROOT_URLCONF="tests.control_plane_urls"):
        yield


WEEK = timedelta(days=7)


@cache
def clock_changes(name: str) -> tuple[tuple[datetime, timedelta], ...]:
    """The offset at first, then every instant, to the quarter of an hour, at which it changes: found by halving the week around it."""
    zone = ZoneInfo(name)
    at = datetime(FIRST.year, FIRST.month, FIRST.day, tzinfo=UTC) - WEEK
    found = [(at, _offset(at, zone))]
    while at.date() < LAST:
        before, at = at, at + WEEK
        if _offset(before, zone) == _offset(at, zone):
            continue
        after = at
        while after - before > timedelta(minutes=15):
            middle = before + (after - before) // timedelta(minutes=30) * timedelta(minutes=15)
            if _offset(middle, zone) == _offset(before, zone):
                before = middle
            else:
                after = middle
        found.append((after, _offset(after, zone)))
    return tuple(found)


def _offset(at: datetime, zone: ZoneInfo) -> timedelta:
    return at.astimezone(zone).utcoffset() or timedelta()


@cache
def behaviours() -> list[tuple[str, ...]]:
    """All zones, those that keep the same time in these years together."""
    alike: dict[Any, list[str]] = {}
    for name in sorted(available_timezones()):
        alike.setdefault(clock_changes(name), []).append(name)
    return [tuple(names) for names in alike.values()]


@cache
def borders() -> list[datetime]:
    names = [alike[0] for alike in behaviours()]
    months = {datetime(day.year, day.month, 1, tzinfo=ZoneInfo(name)).astimezone(UTC) for name in names for day in [*MONTHS, LAST]}
    return sorted(months | {change for name in names for change, _ in clock_changes(name)[1:]})


@cache
def costs() -> dict[datetime, int]:
    """Of a line just before each border and one just on it; so large that no two sets of lines cost the same by chance."""
    choose = random.Random(2024)
    return {at: choose.randrange(1, 2**45) for border in borders() for at in (border - MICROSECOND, border)}


def expected_days(zone: ZoneInfo) -> dict[date, int]:
    days: dict[date, int] = {}
    for at, cost in costs().items():
        day = at.astimezone(zone).date()
        if FIRST <= day < LAST:
            days[day] = days.get(day, 0) + cost
    return days


def reported_days(zone: ZoneInfo) -> dict[date, int]:
    """The range of a report is limited: three years and the rest."""
    days: dict[date, int] = {}
    for start, end in ((FIRST, date(2027, 1, 1)), (date(2027, 1, 1), date(2030, 1, 1)), (date(2030, 1, 1), LAST)):
        rows = Groups(Asked(DateRange(start, end, zone)), [Dimension.DAY])[:]
        days |= {date.fromisoformat(row["day"]): int(row["cost_nano"]) for row in rows}
    return days


def month_from(first: date, zone: ZoneInfo) -> DateRange:
    return DateRange(first, (first + timedelta(days=32)).replace(day=1), zone)


def csv_costs(client: APIClient, period: DateRange) -> list[Decimal]:
    """Of the lines, then the control total."""
    query = {"start": period.start, "end": period.end, "time_zone": str(period.zone), "format": "csv"}
    response = client.get("/api/v1/ai/admin/costs", query)
    body = b"".join(cast(StreamingHttpResponse, response)).decode()
    *lines, total = csv.DictReader(io.StringIO(body, newline=""), strict=True)
    return [*(Decimal(each["cost_usd"]) for each in lines), Decimal(total["control_total_usd"])]


@pytest.fixture
def finance() -> APIClient:
    user = User.objects.create_user("fin")
    user.groups.add(Group.objects.create(name="finance"))
    client = APIClient()
    client.force_login(user)
    return client


def test_every_zone_is_asked() -> None:
    assert sum(len(names) for names in behaviours()) == len(available_timezones()) > 500
    assert len(borders()) > 3000


def post_borders() -> None:
    """PostgreSQL is told what the lines are like: its own statistics cannot see what a test has not committed.

    With those of the lines another test had, finding the first line of each request reads every line before it.
    """
    post(*[line(dispatched_at=at, cost_nano=cost) for at, cost in costs().items()])
    with connection.cursor() as cursor:
        cursor.execute(f"ANALYZE {totals.LEDGER}")
        roll_up(NOW)
        for table in (totals.QUARTERS, totals.HALF_HOURS, totals.SUM_HALF_HOURS, totals.DAYS, totals.TEAM_DAYS, totals.MONTHS):
            cursor.execute(f"ANALYZE {table}")


def test_M14_R506_days_months_csv_and_dashboard_agree_in_every_zone(finance: APIClient, settings: Any) -> None:
    post_borders()
    for names in behaviours():
        zone = ZoneInfo(names[0])
        expected = expected_days(zone)
        assert reported_days(zone) == expected, f"{names}: in another zone than the organisation's"
        settings.TIME_ZONE = names[0]
        roll_up(NOW)
        assert RollUp.objects.get().time_zone == names[0]
        assert reported_days(zone) == expected, f"{names}: in the organisation's zone"
        for first in MONTHS:
            month = sum(cost for day, cost in expected.items() if (day.year, day.month) == (first.year, first.month))
            assert sums(Asked(month_from(first, zone))).cost_nano == month, f"{names}: {first}"
        for first in _telling_months(zone):
            _assert_documents_agree(finance, month_from(first, zone))


def _telling_months(zone: ZoneInfo) -> list[date]:
    """One in which clocks change each way, where they do, and one over a turn of the year."""
    changes = [change.astimezone(zone).date().replace(day=1) for change, _ in clock_changes(zone.key)[1:]]
    return sorted({day for day in changes[:2] if day in MONTHS} | {date(2027, 12, 1)})


def _assert_documents_agree(client: APIClient, period: DateRange) -> None:
    shown = client.get("/api/v1/ai/admin/costs", {"start": period.start, "end": period.end}).json()
    days = sum(Decimal(row["cost_usd"]) for row in shown["by_day"])
    *lines, control = csv_costs(client, period)
    whole = Decimal(dollars(sums(Asked(period)).cost_nano))
    assert days == sum(lines) == control == Decimal(shown["totals"]["cost_usd"]) == whole > 0, str(period)
    assert whole == Decimal(dollars(questions.totals(questions.lines_in(period, LineFilter())).cost_nano))


# --------------------------------------------------------------------------- hours


@pytest.mark.parametrize(
    ("zone", "day", "hours", "telling"),
    [
        ("UTC", date(2026, 6, 1), 24, "2026-06-01T00:00+00:00"),
        ("Europe/Berlin", date(2026, 3, 29), 23, "2026-03-29T03:00+02:00"),
        ("Europe/Berlin", date(2026, 10, 25), 25, "2026-10-25T02:00+01:00"),
        ("Asia/Kathmandu", date(2026, 6, 1), 24, "2026-06-01T07:00+05:45"),
        ("Asia/Kolkata", date(2026, 6, 1), 24, "2026-06-01T07:00+05:30"),
        ("Australia/Lord_Howe", date(2026, 10, 4), 24, "2026-10-04T02:00+11:00"),
        ("Australia/Lord_Howe", date(2026, 4, 5), 25, "2026-04-05T01:00+10:30"),
        ("America/Havana", date(2026, 11, 1), 25, "2026-11-01T00:00-05:00"),
        ("Pacific/Chatham", date(2026, 9, 27), 24, "2026-09-27T03:00+13:45"),
    ],
)
def test_hours_are_the_clock_s(zone: str, day: date, hours: int, telling: str) -> None:
    period = DateRange(day, day + timedelta(days=1), ZoneInfo(zone))
    starts = hour_starts(period)
    assert len(starts) == hours
    assert telling in [name for _, name in starts]
    assert all(start.astimezone(ZoneInfo(zone)).minute in (0, 30, 45) for start, _ in starts)
    quarters = [period.start_at + timedelta(minutes=15 * number) for number in range(25 * 4)]
    quarters = [at for at in quarters if at < period.end_at]
    post(*[line(dispatched_at=at, cost_nano=number + 1) for number, at in enumerate(quarters)])
    expected = [0] * hours
    for number, at in enumerate(quarters):
        expected[bisect_right([start for start, _ in starts], at) - 1] += number + 1
    roll_up(NOW)
    rows = Groups(Asked(period), [Dimension.HOUR])[:]
    assert [(row["hour"], int(row["cost_nano"])) for row in rows] == [
        (name, cost) for (_, name), cost in zip(starts, expected, strict=True)
    ]
    by_both = Groups(Asked(period), [Dimension.DAY, Dimension.HOUR])[:]
    assert {row["day"] for row in by_both} == {day.isoformat()}
    assert sum(int(row["cost_nano"]) for row in by_both) == sum(expected)
