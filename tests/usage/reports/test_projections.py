"""Projections on weeks whose costs are known: exact, named, and silent where there is nothing to go by."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usage.reports.projections import History, history_of, history_range, projections, run_rate, weekday_average, weekday_trend
from usage.reports.questions import DateRange

NOVEMBER = DateRange(date(2026, 11, 1), date(2026, 12, 1), ZoneInfo("UTC"))
TODAY = date(2026, 11, 16)
MONDAY_MIDNIGHT = datetime(2026, 11, 16, tzinfo=UTC)
WORKDAY, WEEKEND = 700, 0


def office(day: date) -> int:
    return WORKDAY if day.weekday() < 5 else WEEKEND


def history(cost: Callable[[date], int], weeks: int = 8, today: date = TODAY) -> History:
    days = [today - timedelta(days=number) for number in range(weeks * 7 + 1, 0, -1)]
    return history_of({day: cost(day) for day in days}, today)


def so_far(cost: Callable[[date], int], until: date = TODAY) -> int:
    return sum(cost(day) for day in NOVEMBER.days if day < until)


def test_projection_is_the_run_rate() -> None:
    ten_days_in = NOVEMBER.start_at + timedelta(days=10)
    projected = run_rate(1000, NOVEMBER, ten_days_in)
    assert (projected.cost_nano, projected.based_on_days, projected.range_s) == (3000, 10, 30 * 86_400)
    assert run_rate(1000, NOVEMBER, NOVEMBER.start_at).cost_nano is None
    assert run_rate(1000, NOVEMBER, NOVEMBER.end_at + timedelta(days=9)).cost_nano == 1000
    assert run_rate(2**62, NOVEMBER, NOVEMBER.start_at + timedelta(days=15)).cost_nano == 2**63


def test_weekends_that_cost_nothing_are_expected_to_cost_nothing() -> None:
    whole_month = sum(office(day) for day in NOVEMBER.days)
    projected = weekday_average(so_far(office), NOVEMBER, MONDAY_MIDNIGHT, history(office))
    assert (projected.method, projected.cost_nano, projected.based_on_days) == ("weekday_average", whole_month, 56)
    assert weekday_trend(so_far(office), NOVEMBER, MONDAY_MIDNIGHT, history(office)).cost_nano == whole_month
    assert run_rate(so_far(office), NOVEMBER, MONDAY_MIDNIGHT).cost_nano != whole_month


def test_growth_of_a_hundred_a_week_goes_on() -> None:
    first = TODAY - timedelta(weeks=8)

    def growing(day: date) -> int:
        return 7000 + 100 * ((day - first).days // 7)

    expected = sum(growing(day) for day in NOVEMBER.days)
    projected = weekday_trend(so_far(growing), NOVEMBER, MONDAY_MIDNIGHT, history(growing))
    assert (projected.method, projected.cost_nano) == ("weekday_trend", expected)
    average = weekday_average(so_far(growing), NOVEMBER, MONDAY_MIDNIGHT, history(growing)).cost_nano
    assert average == so_far(growing) + 15 * 7350


def test_a_decline_ends_at_zero() -> None:
    first = TODAY - timedelta(weeks=8)

    def falling(day: date) -> int:
        return max(0, 700 - 100 * ((day - first).days // 7))

    projected = weekday_trend(so_far(falling), NOVEMBER, MONDAY_MIDNIGHT, history(falling))
    assert projected.cost_nano == so_far(falling)


def test_of_today_only_the_part_that_is_left_is_added() -> None:
    six_in_the_evening = MONDAY_MIDNIGHT + timedelta(hours=18)
    spent = so_far(office) + 900
    projected = weekday_average(spent, NOVEMBER, six_in_the_evening, history(office))
    rest = sum(office(day) for day in NOVEMBER.days if day > TODAY)
    assert projected.cost_nano == spent + WORKDAY // 4 + rest


def test_of_a_day_of_25_hours_the_part_is_of_25_hours() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    sunday = date(2026, 10, 25)
    period = DateRange(sunday, sunday + timedelta(days=1), berlin)
    now = datetime(2026, 10, 25, 22, tzinfo=berlin)
    assert weekday_average(0, period, now, history(lambda _: 2500, today=sunday)).cost_nano == 200


@pytest.mark.parametrize(("weeks", "average", "trend"), [(1, None, None), (2, 21, None), (3, 21, None), (4, 21, 21)])
def test_too_little_history_gives_no_figure(weeks: int, average: int | None, trend: int | None) -> None:
    period = DateRange(TODAY, TODAY + timedelta(days=21), ZoneInfo("UTC"))
    known = history(lambda _: 1, weeks)
    projected = weekday_average(0, period, MONDAY_MIDNIGHT, known)
    assert (projected.cost_nano, projected.based_on_days) == (average, weeks * 7)
    assert weekday_trend(0, period, MONDAY_MIDNIGHT, known).cost_nano == trend


def test_no_history_at_all() -> None:
    known = history_of({}, TODAY)
    assert known.weeks == 0
    assert [each.cost_nano for each in projections(0, NOVEMBER, MONDAY_MIDNIGHT, known)] == [0, None, None]


def test_a_trend_looks_no_further_ahead_than_back() -> None:
    known = history(lambda _: 1, 4)
    utc = ZoneInfo("UTC")
    assert weekday_trend(0, DateRange(TODAY, TODAY + timedelta(weeks=4), utc), MONDAY_MIDNIGHT, known).cost_nano == 28
    assert weekday_trend(0, DateRange(TODAY, TODAY + timedelta(days=29), utc), MONDAY_MIDNIGHT, known).cost_nano is None


def test_a_range_that_is_over_costs_what_it_cost() -> None:
    october = DateRange(date(2026, 10, 1), date(2026, 11, 1), ZoneInfo("UTC"))
    assert [(each.cost_nano, each.method) for each in projections(77, october, MONDAY_MIDNIGHT, history(office))] == [
        (77, "run_rate"),
        (77, "weekday_average"),
        (77, "weekday_trend"),
    ]


def test_the_first_day_with_lines_is_no_full_day_and_gaps_cost_nothing() -> None:
    known = history_of({TODAY - timedelta(days=15): 999, TODAY - timedelta(days=1): 14}, TODAY)
    assert known.costs_nano == (0,) * 13 + (14,)
    assert known.weekday_mean(TODAY + timedelta(days=6)) == Fraction(7)
    assert history_range(TODAY, NOVEMBER).days[0] == TODAY - timedelta(days=57)


@given(st.lists(st.integers(0, 10**15), min_size=28, max_size=56), st.integers(0, 10**15))
def test_means_of_the_weekdays_add_up_to_the_mean_week(costs: list[int], spent: int) -> None:
    known = history_of({TODAY - timedelta(days=number + 1): cost for number, cost in enumerate([*costs, 5])}, TODAY)
    week = [known.weekday_mean(TODAY + timedelta(days=number)) for number in range(7)]
    assert sum(week) == Fraction(sum(known.costs_nano), known.weeks)
    period = DateRange(TODAY, TODAY + timedelta(days=7), ZoneInfo("UTC"))
    projected = weekday_average(spent, period, MONDAY_MIDNIGHT, known).cost_nano
    assert projected is not None
    assert abs(Fraction(projected) - spent - sum(week)) <= Fraction(1, 2)
