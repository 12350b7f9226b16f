"""Periods are pure functions of an instant, a unit and a time zone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usage.periods import period_bounds, period_key

ZONES = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Asia/Kolkata",
    "Pacific/Apia",
    "America/Sao_Paulo",
    "Asia/Beirut",
    "Pacific/Kiritimati",
]


@pytest.mark.parametrize(
    ("instant", "unit", "zone", "key"),
    [
        (datetime(2026, 11, 21, 12, tzinfo=UTC), "day", "UTC", "2026-11-21"),
        (datetime(2026, 11, 21, 12, tzinfo=UTC), "month", "UTC", "2026-11"),
        (datetime(2026, 11, 21, 12, tzinfo=UTC), "total", "UTC", "total"),
        (datetime(2026, 11, 30, 23, 30, tzinfo=UTC), "day", "Europe/Berlin", "2026-12-01"),
        (datetime(2026, 11, 30, 23, 30, tzinfo=UTC), "month", "Europe/Berlin", "2026-12"),
        (datetime(2027, 1, 1, 4, 59, 59, tzinfo=UTC), "month", "America/New_York", "2026-12"),
        (datetime(2028, 2, 29, 23, 59, tzinfo=UTC), "day", "UTC", "2028-02-29"),
        # the week of a Sunday is that of the Monday before; 1 January 2027 is a Friday, in the 53rd week of 2026
        (datetime(2026, 11, 22, 22, 59, 59, tzinfo=UTC), "week", "Europe/Berlin", "2026-W47"),
        (datetime(2026, 11, 22, 23, tzinfo=UTC), "week", "Europe/Berlin", "2026-W48"),
        (datetime(2027, 1, 1, 12, tzinfo=UTC), "week", "UTC", "2026-W53"),
        # hours are UTC, whatever the calendar: the one that comes twice in Berlin has two names
        (datetime(2026, 10, 25, 0, 59, 59, tzinfo=UTC), "hour", "Europe/Berlin", "2026-10-25T00Z"),
        (datetime(2026, 10, 25, 1, tzinfo=UTC), "hour", "Europe/Berlin", "2026-10-25T01Z"),
    ],
)
def test_M14_the_key_follows_the_calendar_of_the_zone(instant: datetime, unit: str, zone: str, key: str) -> None:
    assert period_key(instant, unit, ZoneInfo(zone)) == key


@pytest.mark.parametrize(("month", "day", "hours"), [(3, 29, 23), (10, 25, 25), (11, 21, 24)])
def test_M14_days_are_23_or_25_hours_long_where_clocks_change(month: int, day: int, hours: int) -> None:
    bounds = period_bounds(datetime(2026, month, day, 12, tzinfo=UTC), "day", ZoneInfo("Europe/Berlin"))
    assert bounds is not None
    assert bounds[1] - bounds[0] == timedelta(hours=hours)


@pytest.mark.parametrize(
    ("unit", "zone", "start", "end"),
    [
        ("hour", "Asia/Kolkata", "2026-11-18T13:00+00:00", "2026-11-18T14:00+00:00"),
        ("day", "Asia/Kolkata", "2026-11-17T18:30+00:00", "2026-11-18T18:30+00:00"),
        ("week", "Asia/Kolkata", "2026-11-15T18:30+00:00", "2026-11-22T18:30+00:00"),
        ("month", "Asia/Kolkata", "2026-10-31T18:30+00:00", "2026-11-30T18:30+00:00"),
        # the clocks go back on 1 November, a Sunday
        ("month", "America/New_York", "2026-11-01T04:00+00:00", "2026-12-01T05:00+00:00"),
    ],
)
def test_M14_a_period_begins_and_ends_where_its_calendar_says(unit: str, zone: str, start: str, end: str) -> None:
    instant = datetime(2026, 11, 18, 13, 59, 59, 999_999, tzinfo=UTC)  # a Wednesday
    expected = datetime.fromisoformat(start), datetime.fromisoformat(end)
    assert period_bounds(instant, unit, ZoneInfo(zone)) == expected
    assert period_bounds(expected[0], unit, ZoneInfo(zone)) == expected


def test_total_has_no_bounds() -> None:
    assert period_bounds(datetime(2026, 1, 1, tzinfo=UTC), "total", UTC) is None


@pytest.mark.parametrize("call", [period_key, period_bounds])
def test_an_instant_without_a_zone_and_an_unknown_unit_are_refused(call: object) -> None:
    with pytest.raises(ValueError, match="time zone"):
        call(datetime(2026, 1, 1), "day", UTC)  # type: ignore[operator]
    with pytest.raises(ValueError, match="unknown period unit"):
        call(datetime(2026, 1, 1, tzinfo=UTC), "fortnight", UTC)  # type: ignore[operator]


@given(
    st.datetimes(datetime(2020, 1, 1), datetime(2035, 12, 31), timezones=st.just(UTC)),
    st.sampled_from(["hour", "day", "week", "month"]),
    st.sampled_from(ZONES),
)
def test_M14_a_key_is_constant_within_its_bounds_and_changes_at_them(instant: datetime, unit: str, zone: str) -> None:
    tz = ZoneInfo(zone)
    key = period_key(instant, unit, tz)
    bounds = period_bounds(instant, unit, tz)
    assert bounds is not None
    start, end = bounds
    assert start <= instant < end
    assert period_key(start, unit, tz) == key == period_key(end - timedelta(microseconds=1), unit, tz)
    assert period_key(start - timedelta(microseconds=1), unit, tz) != key != period_key(end, unit, tz)
