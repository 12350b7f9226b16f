"""Sums over the ledger: exact, zone-true, and equal whichever way they are taken."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.contrib.auth.models import User
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase

from tests.usage.lines import NOON, line, post
from usage.models import ApiKey
from usage.reports import questions
from usage.reports.questions import DateRange, Dimension, LineFilter, RangeInvalid
from usage.reports.sums import Asked, Groups, breakdown, sums
from usage.reports.totals import roll_up

NOVEMBER = DateRange(date(2026, 11, 1), date(2026, 12, 1))
EVERYTHING = LineFilter()

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("made_up_costs"), pytest.mark.both_databases]


def in_november(only: LineFilter = EVERYTHING) -> questions.Totals:
    """From the totals and the rest; before and after a roll-up the same as straight from the ledger."""
    asked = Asked(NOVEMBER, only)
    before = sums(asked)
    roll_up(NOON)
    assert sums(asked) == before == questions.totals(questions.lines_in(NOVEMBER, only))
    return before


def test_empty_ledger_costs_nothing_and_knows_no_tokens() -> None:
    totals = in_november()
    assert (totals.requests, totals.lines, totals.cost_nano) == (0, 0, 0)
    assert totals.input_tokens is None


def test_M20_requests_are_counted_once_whatever_the_retries() -> None:
    post(line(request_id="one", attempt_no=1), line(request_id="one", attempt_no=2, provider_slug="other"), line(request_id="two"))
    totals = in_november()
    assert (totals.requests, totals.attempts, totals.lines) == (2, 3, 3)
    by_provider = breakdown(Asked(NOVEMBER), Dimension.PROVIDER)
    assert {group.values["provider"]: group.totals.requests for group in by_provider.rows} == {"sim": 2, "other": 0}


def test_a_correction_is_a_line_and_no_attempt_of_its_own() -> None:
    (estimated,) = post(line(cost_nano=700, basis="estimated"))
    post(line(attempt_id=estimated.attempt_id, request_id=estimated.request_id, kind="correction", cost_nano=-300))
    totals = in_november()
    assert (totals.cost_nano, totals.lines, totals.attempts, totals.requests, totals.estimated_lines) == (400, 2, 1, 1, 0)


def test_unknown_tokens_are_not_zero() -> None:
    post(line(input_tokens=None, reasoning_tokens=None), line(input_tokens=7, reasoning_tokens=None))
    totals = in_november()
    assert totals.input_tokens == 7
    assert totals.reasoning_tokens is None


def test_amounts_beyond_a_float_stay_exact() -> None:
    post(line(cost_nano=2**60 + 1), line(cost_nano=2**60 + 1), line(cost_nano=1))
    assert in_november().cost_nano == 2**61 + 3


@pytest.mark.parametrize(
    ("only", "expected"),
    [
        (LineFilter(provider="a"), 1),
        (LineFilter(model="m"), 2),
        (LineFilter(user_id=9), 4),
        (LineFilter(key="kkkkkkkkkkkk"), 8),
        (LineFilter(context="writing"), 16),
        (LineFilter(provider="a", model="m"), 0),
    ],
)
def test_filters(only: LineFilter, expected: int) -> None:
    post(
        line(cost_nano=1, provider_slug="a"),
        line(cost_nano=2, model_name="m"),
        line(cost_nano=4, user_id=9),
        line(cost_nano=8, api_key_id="kkkkkkkkkkkk"),
        line(cost_nano=16, context="writing"),
    )
    assert in_november(only).cost_nano == expected


def test_two_dimensions_and_their_names() -> None:
    user = User.objects.create(username="ada")
    ApiKey.objects.create(id="keykeykeykey", user=user, name="laptop", secret_sha256=bytes(32))
    post(
        line(user_id=user.pk, api_key_id="keykeykeykey", cost_nano=5),
        line(user_id=user.pk, api_key_id="gone", cost_nano=9),
        line(user_id=777, api_key_id=""),
    )
    by = [Dimension.USER, Dimension.KEY]
    groups = questions.named(Groups(Asked(NOVEMBER), by)[:], by)
    assert [tuple(group.values.values()) for group in groups] == [
        (str(user.pk), "gone", "ada", None),
        (str(user.pk), "keykeykeykey", "ada", "laptop"),
        ("777", "", None, None),
    ]


def test_the_rest_of_a_breakdown_still_adds_up() -> None:
    post(*[line(model_name=f"m{number}", cost_nano=number) for number in range(1, 11)])
    parts = breakdown(Asked(NOVEMBER), Dimension.MODEL, rows_max=3)
    assert [group.values["model"] for group in parts.rows] == ["m10", "m9", "m8"]
    assert (parts.others_count, parts.others_cost_nano) == (7, 28)


def test_the_range_is_half_open() -> None:
    post(
        line(dispatched_at=datetime(2026, 10, 31, 23, 59, 59, 999999, tzinfo=UTC), cost_nano=1),
        line(dispatched_at=datetime(2026, 11, 1, tzinfo=UTC), cost_nano=2),
        line(dispatched_at=datetime(2026, 11, 30, 23, 59, 59, 999999, tzinfo=UTC), cost_nano=4),
        line(dispatched_at=datetime(2026, 12, 1, tzinfo=UTC), cost_nano=8),
    )
    assert in_november().cost_nano == 6


def test_M15_a_line_belongs_to_the_day_of_its_dispatch() -> None:
    post(line(dispatched_at=datetime(2026, 11, 30, 23, 59, 59, tzinfo=UTC), posted_at=datetime(2026, 12, 1, 0, 0, 30, tzinfo=UTC)))
    assert in_november().lines == 1


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Pacific/Apia", "America/Sao_Paulo"])
def test_days_are_days_of_the_configured_zone(zone: str, settings: Any) -> None:
    settings.TIME_ZONE = zone
    hours = [datetime(2026, 10, 23, tzinfo=UTC) + timedelta(hours=hour) for hour in range(0, 24 * 14, 3)]
    post(*[line(dispatched_at=hour, cost_nano=number + 1) for number, hour in enumerate(hours)])
    expected: dict[str, int] = {}
    for number, hour in enumerate(hours):
        day = hour.astimezone(ZoneInfo(zone)).date().isoformat()
        expected[day] = expected.get(day, 0) + number + 1
    period = DateRange(date(2026, 10, 20), date(2026, 11, 10))
    rows = questions.named(Groups(Asked(period), [Dimension.DAY])[:], [Dimension.DAY])
    assert {group.values["day"]: group.totals.cost_nano for group in rows} == expected
    for day in expected:
        first = date.fromisoformat(day)
        alone = sums(Asked(DateRange(first, first + timedelta(days=1))))
        assert alone.cost_nano == expected[day]


@pytest.mark.parametrize(
    ("start", "end", "why"),
    [
        (date(2026, 11, 2), date(2026, 11, 2), "after start"),
        (date(2026, 11, 2), date(2026, 11, 1), "after start"),
        (date(2020, 1, 1), date(2026, 1, 1), "days"),
    ],
)
def test_ranges_are_validated(start: date, end: date, why: str) -> None:
    with pytest.raises(RangeInvalid, match=why):
        DateRange(start, end)


@pytest.mark.parametrize(
    ("instant", "start", "end"),
    [
        (datetime(2026, 12, 31, 23, 30, tzinfo=UTC), date(2027, 1, 1), date(2027, 2, 1)),
        (datetime(2028, 2, 29, 12, tzinfo=UTC), date(2028, 2, 1), date(2028, 3, 1)),
    ],
)
def test_the_current_month_is_the_zone_s(instant: datetime, start: date, end: date, settings: Any) -> None:
    settings.TIME_ZONE = "Europe/Berlin"
    assert questions.month_around(instant) == DateRange(start, end)


def test_statistics_are_of_the_user_and_of_the_last_thirty_days() -> None:
    now = datetime.now(UTC)
    post(
        line(user_id=3, dispatched_at=now, cost_nano=5),
        line(user_id=3, dispatched_at=now - timedelta(days=1), cost_nano=6),
        line(user_id=3, dispatched_at=now - timedelta(days=31), cost_nano=100),
        line(user_id=4, dispatched_at=now, cost_nano=100),
    )
    statistics = questions.statistics_for_user(3)
    assert list(statistics) == ["sim/small"]
    assert statistics["sim/small"]["cost_usd"] == "0.000000011"
    assert statistics["sim/small"]["requests"] == 2
    assert statistics["sim/small"]["last_used_at"] == now.isoformat()


AMOUNTS = st.lists(st.tuples(st.integers(-(10**15), 10**15), st.integers(0, 29)), max_size=30)


class SumsAgree(TestCase):
    @given(AMOUNTS)
    def test_days_add_up_to_the_month_and_so_does_every_dimension(self, amounts: list[tuple[int, int]]) -> None:
        first = datetime(2026, 11, 1, tzinfo=UTC)
        post(
            *[
                line(cost_nano=cost, dispatched_at=first + timedelta(days=day), model_name=f"m{cost % 7}", user_id=cost % 5)
                for cost, day in amounts
            ]
        )
        expected = sum(cost for cost, _ in amounts)
        assert sums(Asked(NOVEMBER)).cost_nano == expected
        for dimension in Dimension:
            parts = breakdown(Asked(NOVEMBER), dimension, rows_max=2)
            assert sum(group.totals.cost_nano for group in parts.rows) + parts.others_cost_nano == expected
