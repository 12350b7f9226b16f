"""Billing months: which month's file a ledger line stands in. Every line stands in exactly one, so months add up to the ledger.

A line belongs to the month its call was dispatched in. Closing a month fixes what was posted up to its cutoff; a line of that
time that is posted afterwards (a correction, an adjustment) belongs to the next open month and is called late.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import lru_cache

from django.db.models import Min, Q, QuerySet
from django.utils import timezone

from usage.models import ClosedMonth, LedgerEntry
from usage.periods import MONTH, first_instant, period_key

YEARS = range(2000, 2200)


class MonthInvalid(ValueError):
    """Not a month written as ``2026-11``."""


@dataclass(frozen=True, slots=True)
class MonthSpan:
    """A month and its bounds in UTC; ``ends_at`` is not included."""

    month: str
    starts_at: datetime
    ends_at: datetime


def span_of(month: str) -> MonthSpan:
    """The calendar month of ``settings.TIME_ZONE``. Raises ``MonthInvalid``."""
    return _span_in(month, str(timezone.get_default_timezone()))


def month_around(instant: datetime) -> str:
    return period_key(instant, MONTH, timezone.get_default_timezone())


def month_after(month: str) -> str:
    return (_first_day(month) + timedelta(days=32)).isoformat()[:7]


def month_before(month: str) -> str:
    return (_first_day(month) - timedelta(days=1)).isoformat()[:7]


class BillingMonths:
    """What the closed months make of each line. ``closed`` is in order of time, without gaps."""

    def __init__(self, closed: Sequence[ClosedMonth]) -> None:
        self._closed = [*closed]
        self._spans = [MonthSpan(each.month, each.starts_at, each.ends_at) for each in closed]
        self._ends = [each.ends_at for each in closed]
        self._cutoffs = [each.cutoff_at for each in closed]

    @classmethod
    def current(cls) -> BillingMonths:
        return cls([*ClosedMonth.objects.order_by("month")])

    @property
    def first_closed(self) -> str | None:
        return self._closed[0].month if self._closed else None

    @property
    def last_closed(self) -> str | None:
        return self._closed[-1].month if self._closed else None

    def closed(self, month: str) -> ClosedMonth | None:
        return next((each for each in self._closed if each.month == month), None)

    def of(self, line: LedgerEntry) -> MonthSpan:
        """The first closed month that ends after the dispatch and was cut off after the posting, else an open one."""
        position = max(bisect_right(self._ends, line.dispatched_at), bisect_left(self._cutoffs, line.posted_at))
        if position < len(self._spans):
            return self._spans[position]
        month = month_around(line.dispatched_at)
        return span_of(month if self.last_closed is None else max(month, month_after(self.last_closed)))

    def lines(self, month: str) -> QuerySet[LedgerEntry]:
        """The lines of one month's file; of an open month those it has so far. Raises ``MonthInvalid``."""
        span = span_of(month)
        position = bisect_left([each.month for each in self._spans], month)
        before = self._closed[position - 1] if position else None
        if position < len(self._closed):
            row = self._closed[position]
            if row.month != month:
                return LedgerEntry.objects.none()
            return _fixed_by(row, before)
        if before is not None and month == month_after(before.month):
            return _not_yet_fixed(LedgerEntry.objects.filter(dispatched_at__lt=span.ends_at), before)
        return LedgerEntry.objects.filter(dispatched_at__gte=span.starts_at, dispatched_at__lt=span.ends_at)


def _fixed_by(row: ClosedMonth, before: ClosedMonth | None) -> QuerySet[LedgerEntry]:
    lines = LedgerEntry.objects.filter(dispatched_at__lt=row.ends_at, posted_at__lte=row.cutoff_at)
    return lines if before is None else _not_yet_fixed(lines, before)


def _not_yet_fixed(lines: QuerySet[LedgerEntry], before: ClosedMonth) -> QuerySet[LedgerEntry]:
    """Without what ``before`` and the months before it hold; the lower bound lets an index skip those months."""
    late = lines.filter(dispatched_at__lt=before.ends_at, posted_at__gt=before.cutoff_at)
    since = late.order_by().aggregate(since=Min("dispatched_at"))["since"] or before.ends_at
    kept = Q(dispatched_at__gte=before.ends_at) | Q(posted_at__gt=before.cutoff_at)
    return lines.filter(kept, dispatched_at__gte=since)


def _first_day(month: str) -> date:
    try:
        first = date.fromisoformat(f"{month}-01")
    except ValueError as error:
        raise MonthInvalid("Write a month as 2026-11.") from error
    if len(month) != len("2026-11") or first.year not in YEARS:
        raise MonthInvalid(f"Write a month as 2026-11, between {YEARS[0]} and {YEARS[-1]}.")
    return first


@lru_cache(maxsize=1024)
def _span_in(month: str, zone: str) -> MonthSpan:  # noqa: ARG001 - the zone is part of the key
    tz = timezone.get_default_timezone()
    first = _first_day(month)
    return MonthSpan(month, first_instant(first, tz), first_instant((first + timedelta(days=32)).replace(day=1), tz))
