"""Budget periods as pure functions of an instant, a unit and a time zone. Nothing is ever reset: a new period is a new key."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, tzinfo

DAY, MONTH, TOTAL = "day", "month", "total"


def period_key(instant: datetime, unit: str, tz: tzinfo) -> str:
    """``2026-11-21``, ``2026-11`` or ``total``: the period of ``unit`` that ``instant`` lies in, on the calendar of ``tz``."""
    if unit == TOTAL:
        return TOTAL
    day = _local_day(instant, tz)
    if unit == DAY:
        return day.isoformat()
    if unit == MONTH:
        return day.isoformat()[:7]
    raise ValueError(f"unknown period unit {unit!r}")


def period_bounds(instant: datetime, unit: str, tz: tzinfo) -> tuple[datetime, datetime] | None:
    """Start (included) and end (excluded) of the same period in UTC; ``None`` for ``total``, which has neither.

    A day is 23 or 25 hours long where clocks change.
    """
    if unit == TOTAL:
        return None
    day = _local_day(instant, tz)
    if unit == DAY:
        return _midnight(day, tz), _midnight(day + timedelta(days=1), tz)
    if unit == MONTH:
        first = day.replace(day=1)
        return _midnight(first, tz), _midnight((first + timedelta(days=32)).replace(day=1), tz)
    raise ValueError(f"unknown period unit {unit!r}")


def _local_day(instant: datetime, tz: tzinfo) -> date:
    if instant.tzinfo is None:
        raise ValueError("an instant needs a time zone")
    return instant.astimezone(tz).date()


def _midnight(day: date, tz: tzinfo) -> datetime:
    """The first instant of a local day; where midnight is skipped, the instant of the jump."""
    return datetime(day.year, day.month, day.day, tzinfo=tz).astimezone(UTC)
