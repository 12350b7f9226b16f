"""Budget periods as pure functions of an instant, a unit and a time zone. Nothing is ever reset: a new period is a new key."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, tzinfo

HOUR, DAY, WEEK, MONTH, TOTAL = "hour", "day", "week", "month", "total"


def period_key(instant: datetime, unit: str, tz: tzinfo) -> str:
    """``2026-11-21T13Z``, ``2026-11-21``, ``2026-W47``, ``2026-11`` or ``total``: the period that ``instant`` lies in.

    Days, weeks (ISO 8601, from Monday) and months are those of the calendar of ``tz``. Hours are UTC clock hours, so that each
    has 60 minutes and a name of its own, even where clocks are set back.
    """
    if unit == TOTAL:
        return TOTAL
    day = _local_day(instant, tz)
    if unit == HOUR:
        return f"{instant.astimezone(UTC):%Y-%m-%dT%HZ}"
    if unit == DAY:
        return day.isoformat()
    if unit == WEEK:
        return f"{day:%G-W%V}"
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
    if unit == HOUR:
        start = instant.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
        return start, start + timedelta(hours=1)
    if unit == DAY:
        return first_instant(day, tz), first_instant(day + timedelta(days=1), tz)
    if unit == WEEK:
        monday = day - timedelta(days=day.weekday())
        return first_instant(monday, tz), first_instant(monday + timedelta(days=7), tz)
    if unit == MONTH:
        first = day.replace(day=1)
        return first_instant(first, tz), first_instant((first + timedelta(days=32)).replace(day=1), tz)
    raise ValueError(f"unknown period unit {unit!r}")


def first_instant(day: date, tz: tzinfo) -> datetime:
    """When a local day begins, in UTC; where midnight is skipped, the instant of the jump."""
    return datetime(day.year, day.month, day.day, tzinfo=tz).astimezone(UTC)


def _local_day(instant: datetime, tz: tzinfo) -> date:
    if instant.tzinfo is None:
        raise ValueError("an instant needs a time zone")
    return instant.astimezone(tz).date()
