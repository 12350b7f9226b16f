"""What a range will have cost at its end, by methods that name themselves. Exact rationals, one rounding at the end.

``run_rate``: the cost so far, stretched evenly over the whole range.
``weekday_average``: the cost so far, and for every day still to come what its weekday cost on average in up to 8 past weeks; of
today the part that is left.
``weekday_trend``: the same, each day scaled along the straight line that fits the totals of those weeks best (least squares),
never below zero. It needs 4 weeks and looks no further ahead than it looks back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from fractions import Fraction
from typing import Final

from usage.periods import first_instant
from usage.reports.questions import DateRange

RUN_RATE: Final = "run_rate"
WEEKDAY_AVERAGE: Final = "weekday_average"
WEEKDAY_TREND: Final = "weekday_trend"
METHODS: Final = (RUN_RATE, WEEKDAY_AVERAGE, WEEKDAY_TREND)
WEEKS_MAX: Final = 8
WEEKS_MIN: Final = {WEEKDAY_AVERAGE: 2, WEEKDAY_TREND: 4}


@dataclass(frozen=True, slots=True)
class Projection:
    """``cost_nano`` is ``None`` where the method has nothing to go by; ``based_on_days`` are the days whose cost it looked at."""

    method: str
    elapsed_s: int
    range_s: int
    cost_nano: int | None
    based_on_days: int


@dataclass(frozen=True, slots=True)
class History:
    """The cost of each of the last full days before today, whole weeks of them, oldest first; empty: less than a week is known."""

    today: date
    costs_nano: tuple[int, ...]

    @property
    def weeks(self) -> int:
        return len(self.costs_nano) // 7

    def weekday_mean(self, day: date) -> Fraction:
        """Days as many whole weeks before ``day`` as it takes to be among those known."""
        first = (day - self.today).days % 7
        return Fraction(sum(self.costs_nano[first::7]), self.weeks)

    def week_totals(self) -> list[int]:
        return [sum(self.costs_nano[week * 7 : week * 7 + 7]) for week in range(self.weeks)]


def history_range(today: date, period: DateRange) -> DateRange:
    """The days a history is read from, in the zone of ``period``: up to 8 full weeks after the day of the first line."""
    return DateRange(today - timedelta(weeks=WEEKS_MAX, days=1), today, period.zone)


def history_of(costs_nano: Mapping[date, int], today: date) -> History:
    """From the cost of each day of ``history_range`` that has lines. The first of them counts as no full day, later gaps as 0."""
    known_days = (today - min(costs_nano)).days - 1 if costs_nano else 0
    weeks = min(known_days // 7, WEEKS_MAX)
    days = [today - timedelta(days=number) for number in range(weeks * 7, 0, -1)]
    return History(today, tuple(costs_nano.get(day, 0) for day in days))


def run_rate(cost_nano: int, period: DateRange, now: datetime) -> Projection:
    """``None`` before the range began."""
    elapsed_s, range_s = _seconds(period, now)
    projected = Fraction(cost_nano * range_s, elapsed_s) if elapsed_s else None
    return Projection(RUN_RATE, elapsed_s, range_s, None if projected is None else _rounded(projected), _full_days(period, now))


def weekday_average(cost_nano: int, period: DateRange, now: datetime, history: History) -> Projection:
    return _by_weekday(WEEKDAY_AVERAGE, cost_nano, period, now, history, history.weekday_mean)


def weekday_trend(cost_nano: int, period: DateRange, now: datetime, history: History) -> Projection:
    return _by_weekday(WEEKDAY_TREND, cost_nano, period, now, history, _trended(history))


def projections(cost_nano: int, period: DateRange, now: datetime, history: History) -> list[Projection]:
    return [
        run_rate(cost_nano, period, now),
        weekday_average(cost_nano, period, now, history),
        weekday_trend(cost_nano, period, now, history),
    ]


def _by_weekday(
    method: str, cost_nano: int, period: DateRange, now: datetime, history: History, expected: Callable[[date], Fraction]
) -> Projection:
    elapsed_s, range_s = _seconds(period, now)
    if now >= period.end_at:
        return Projection(method, elapsed_s, range_s, cost_nano, 0)
    too_far = method == WEEKDAY_TREND and period.end > history.today + timedelta(weeks=history.weeks)
    if history.weeks < WEEKS_MIN[method] or too_far:
        return Projection(method, elapsed_s, range_s, None, len(history.costs_nano))
    rest = sum((expected(day) * _share_left(day, period, now) for day in period.days if day >= history.today), Fraction())
    return Projection(method, elapsed_s, range_s, _rounded(cost_nano + rest), len(history.costs_nano))


def _trended(history: History) -> Callable[[date], Fraction]:
    totals = history.week_totals()
    mean_total = Fraction(sum(totals), max(len(totals), 1))
    middle = Fraction(len(totals) - 1, 2)
    spread = sum((week - middle) ** 2 for week in range(len(totals)))
    slope = sum(((week - middle) * total for week, total in enumerate(totals)), Fraction()) / (spread or 1)

    def expected(day: date) -> Fraction:
        if mean_total <= 0:
            return Fraction()
        week = len(totals) + Fraction((day - history.today).days // 7)
        return max(Fraction(), history.weekday_mean(day) * (mean_total + slope * (week - middle)) / mean_total)

    return expected


def _share_left(day: date, period: DateRange, now: datetime) -> Fraction:
    """How much of a day is still to come, as a part of its own length."""
    start, end = first_instant(day, period.zone), first_instant(day + timedelta(days=1), period.zone)
    if start == end:
        return Fraction()
    return Fraction(_microseconds(end - max(start, now)), _microseconds(end - start)) if now < end else Fraction()


def _seconds(period: DateRange, now: datetime) -> tuple[int, int]:
    range_s = int((period.end_at - period.start_at).total_seconds())
    return min(max(0, int((now - period.start_at).total_seconds())), range_s), range_s


def _full_days(period: DateRange, now: datetime) -> int:
    return sum(first_instant(day + timedelta(days=1), period.zone) <= now for day in period.days)


def _microseconds(duration: timedelta) -> int:
    return duration // timedelta(microseconds=1)


def _rounded(amount: Fraction) -> int:
    """To the nearest nano-dollar, halves up."""
    return (2 * amount.numerator + amount.denominator) // (2 * amount.denominator)
