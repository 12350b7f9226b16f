"""Totals and sums by card at their edges: which lines count, in which row, from when to when. The same on both databases."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection

from providers.upstream.types import ContextTier, PriceCard
from tests.usage.lines import NOON, line, post
from tests.usage.world import reserve_order
from usage.ledger.front import reserve_now
from usage.models import LedgerEntry, UsageByCard, UsageDay, UsageHalfHour, UsageTotal
from usage.money import BUCKETS, card_json
from usage.reports.sql import cards, totals

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("made_up_costs"), pytest.mark.both_databases]

QUARTER = timedelta(minutes=15)


# ------------------------------------------------------------------ totals


def known(row: Any) -> dict[str, int]:
    """What a row of totals says, less what it does not know and zeros."""
    return {name: value for name in totals.SUMS if (value := getattr(row, name))}


def test_R506_each_kind_of_line_adds_what_it_is() -> None:
    lines = post(
        line(context="measured"),
        line(context="estimate", basis="estimated"),
        line(context="unpriced", basis="unpriced"),
        line(context="corrected", kind="correction", input_tokens=None),
        line(context="guessed again", kind="correction", basis="estimated", cost_nano=-5),
        line(context="adjusted", kind="adjustment", cost_nano=-7, input_tokens=None, output_tokens=None),
    )
    totals.add_lines_to_slots(totals.QUARTERS, 15, 0, lines[-1].pk)
    rows = {row.context: known(row) for row in UsageTotal.objects.all()}
    tokens = {"input_tokens": 10, "output_tokens": 5}
    one = {"requests": 1, "attempts": 1, "lines": 1, "cost_nano": 1, **tokens}
    assert rows == {
        "measured": one,
        "estimate": {**one, "estimated_lines": 1},
        "unpriced": {**one, "estimated_lines": 1},
        "corrected": {"requests": 1, "lines": 1, "cost_nano": 1, "estimated_lines": -1, "output_tokens": 5},
        "guessed again": {"requests": 1, "lines": 1, "cost_nano": -5, **tokens},
        "adjusted": {"requests": 1, "lines": 1, "cost_nano": -7},
    }
    assert {row.team_id for row in UsageTotal.objects.all()} == {0}


def test_R506_lines_are_added_once_from_the_one_after_to_the_one_up_to() -> None:
    lines = post(*(line(cost_nano=10**number, request_id="same") for number in range(4)))
    totals.add_lines_to_slots(totals.QUARTERS, 15, lines[0].pk, lines[2].pk)
    row = {"attempts": 2, "lines": 2, "cost_nano": 110, "input_tokens": 20, "output_tokens": 10}
    assert [known(each) for each in UsageTotal.objects.all()] == [row]
    totals.add_lines_to_slots(totals.QUARTERS, 15, 0, lines[0].pk)
    row = {"requests": 1, "attempts": 3, "lines": 3, "cost_nano": 111, "input_tokens": 30, "output_tokens": 15}
    assert [known(each) for each in UsageTotal.objects.all()] == [row]


@pytest.mark.parametrize(("first", "second", "total"), [(None, None, None), (None, 5, 5), (5, None, 5), (5, 6, 11), (0, 0, 0)])
def test_R506_unknown_and_a_figure_is_the_figure(first: int | None, second: int | None, total: int | None) -> None:
    for count in (first, second):
        (entry,) = post(line(**dict.fromkeys(BUCKETS, count)))
        totals.add_lines_to_slots(totals.QUARTERS, 15, entry.pk - 1, entry.pk)
    row = UsageTotal.objects.get()
    assert [getattr(row, bucket) for bucket in BUCKETS] == [total] * len(BUCKETS)


def test_R506_every_dimension_makes_a_row_of_its_own_where_the_table_tells_it_apart() -> None:
    others = {"user_id": 9, "api_key_id": "other", "team_id": 9, "context": "other", "provider_slug": "other", "model_name": "other"}
    lines = post(line(), *(line(**{name: value}) for name, value in others.items()))
    totals.add_lines_to_slots(totals.QUARTERS, 15, 0, lines[-1].pk)
    totals.add_lines_to_slots(totals.HALF_HOURS, 30, 0, lines[-1].pk)
    rows = UsageTotal.objects.values_list(*totals.DIMENSIONS)
    assert len({*rows}) == len(rows) == 7
    halves = UsageHalfHour.objects.values_list(*totals.DIMENSIONS, "lines")
    assert {*halves} == {
        (0, "", 0, "", "sim", "small", 5),
        (0, "", 0, "", "other", "small", 1),
        (0, "", 0, "", "sim", "other", 1),
    }


@pytest.mark.parametrize("minutes", [15, 30, 60])
def test_R506_a_slot_begins_at_a_whole_multiple_of_its_minutes(minutes: int) -> None:
    instants = [
        NOON + timedelta(minutes=14, seconds=59),
        NOON + QUARTER,
        NOON + timedelta(minutes=59, seconds=59),
        NOON - timedelta(seconds=1),
    ]
    lines = post(*(line(dispatched_at=instant) for instant in instants))
    totals.add_lines_to_slots(totals.QUARTERS, minutes, 0, lines[-1].pk)
    starts = {instant.replace(minute=instant.minute // minutes * minutes, second=0) for instant in instants}
    assert {row.slot for row in UsageTotal.objects.all()} == starts


def test_R506_spans_hold_their_first_instant_and_not_their_last() -> None:
    starts = [NOON, NOON + timedelta(days=1), NOON + timedelta(days=3)]
    instants = [NOON, starts[1] - timedelta(microseconds=1), starts[1], starts[2] - timedelta(microseconds=1), starts[2]]
    lines = post(*(line(dispatched_at=instant, cost_nano=10**number) for number, instant in enumerate(instants)))
    spans = totals.Bins(starts)
    assert spans.starts == tuple(starts)
    totals.add_lines_to_spans(totals.DAYS, spans, 0, lines[-1].pk)
    expected = [(starts[0], 11), (starts[1], 1100), (starts[2], 10_000)]
    assert [*UsageDay.objects.order_by("slot").values_list("slot", "cost_nano")] == expected
    number, params = spans.number("e.dispatched_at")
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {number} FROM usage_ledgerentry e ORDER BY e.id", params)
        assert [row[0] for row in cursor.fetchall()] == [1, 1, 2, 2, 3]
        picked, params = totals.one_of("e.dispatched_at", [starts[0], starts[2]])
        cursor.execute(f"SELECT e.cost_nano FROM usage_ledgerentry e WHERE {picked} ORDER BY e.id", params)
        assert [row[0] for row in cursor.fetchall()] == [1, 10_000]


def test_R506_two_kinds_of_spans_are_told_apart_in_one_statement() -> None:
    post(line(dispatched_at=NOON + timedelta(days=1)))
    (days, day_params), (others, other_params) = (
        totals.Bins([NOON + timedelta(days=step * number) for number in range(3)], name).number("e.dispatched_at")
        for name, step in (("day", 1), ("other", 2))
    )
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {days}, {others} FROM usage_ledgerentry e", [*day_params, *other_params])
        assert cursor.fetchone() == (2, 1)


def test_R506_longer_slots_and_spans_are_filled_from_quarters() -> None:
    lines = post(*(line(dispatched_at=NOON + number * QUARTER, cost_nano=10**number, user_id=number) for number in range(5)))
    totals.add_lines_to_slots(totals.QUARTERS, 15, 0, lines[-1].pk)
    totals.fill_slots(totals.HALF_HOURS, 30)
    totals.fill_spans(totals.DAYS, totals.Bins([NOON, NOON + 2 * QUARTER]))
    halves = UsageHalfHour.objects.order_by("slot").values_list("slot", "user_id", "cost_nano", "lines")
    assert [*halves] == [(NOON, 0, 11, 2), (NOON + 2 * QUARTER, 0, 1100, 2), (NOON + 4 * QUARTER, 0, 10_000, 1)]
    days = UsageDay.objects.order_by("user_id").values_list("slot", "user_id", "cost_nano", "input_tokens", "reasoning_tokens")
    assert [*days] == [(NOON if number < 2 else NOON + 2 * QUARTER, number, 10**number, 10, None) for number in range(5)]


# ------------------------------------------------------------------ by card

TIERED = PriceCard(
    id=1,
    input_nano_per_mtok=1,
    output_nano_per_mtok=2,
    context_tiers=tuple(ContextTier(above_input_tokens=bound, input_nano_per_mtok=3, output_nano_per_mtok=4) for bound in (0, 100, 50)),
)
MIDNIGHT = datetime(2026, 11, 15, tzinfo=UTC)


def of_card(card: PriceCard = TIERED, **changes: Any) -> LedgerEntry:
    return line(price_card=json.loads(card_json(card)), **changes)


@pytest.mark.parametrize(
    ("tokens", "bound"),
    [({"input_tokens": 0}, -1), ({"input_tokens": 1}, 0), ({"input_tokens": 50}, 0), ({"input_tokens": 101}, 100),
     ({"input_tokens": 40, "cache_read_tokens": 4, "cache_write_tokens": 3, "image_input_tokens": 4}, 50),
     ({"input_tokens": None, "audio_input_tokens": 50, "cache_write_1h_tokens": 51, "output_tokens": 10**6}, 100)],
)  # fmt: skip
def test_R510_lines_are_summed_by_the_highest_tier_that_their_input_exceeds(tokens: dict[str, int | None], bound: int) -> None:
    (entry,) = post(of_card(**tokens))
    cards.add_lines(0, entry.pk)
    row = UsageByCard.objects.get()
    assert (row.above_input_tokens, row.price_card) == (bound, entry.price_card)


def test_R510_measured_lines_from_the_one_after_to_the_one_up_to_are_summed_by_day_and_card() -> None:
    lines = post(
        of_card(cost_nano=1),
        of_card(cost_nano=2, dispatched_at=MIDNIGHT),
        of_card(cost_nano=4, input_tokens=20, output_tokens=None),
        of_card(cost_nano=8, dispatched_at=MIDNIGHT + timedelta(days=1)),
        of_card(cost_nano=16, basis="estimated"),
        of_card(cost_nano=32, kind="correction"),
        of_card(replace(TIERED, id=2), cost_nano=64),
        of_card(cost_nano=128),
    )
    cards.add_lines(lines[0].pk, lines[6].pk)
    columns = ("slot", "price_card__id", "above_input_tokens", "lines", "cost_nano", "input_tokens", "output_tokens", "cache_read_tokens")
    rows = UsageByCard.objects.order_by("cost_nano").values_list(*columns)
    next_day = MIDNIGHT + timedelta(days=1)
    assert [*rows] == [(MIDNIGHT, 1, 0, 2, 6, 30, 5, 0), (next_day, 1, 0, 1, 8, 10, 5, 0), (MIDNIGHT, 2, 0, 1, 64, 10, 5, 0)]
    cards.add_lines(0, lines[0].pk)
    assert (MIDNIGHT, 1, 0, 3, 7, 40, 10, 0) in rows.all()


def test_R510_lines_of_one_card_are_told_apart_by_who_was_asked_and_who_served() -> None:
    others = {"team_id": 9, "context": "other", "provider_slug": "other", "model_name": "other", "deployment_id": 9}
    asked = reserve_order(model_asked="auto")
    reserve_now(asked)
    lines = post(of_card(), *(of_card(**{name: value}) for name, value in others.items()), of_card(attempt_id=asked.attempt_id))
    cards.add_lines(0, lines[-1].pk)
    assert UsageByCard.objects.count() == 7
    assert {*UsageByCard.objects.values_list("model_asked", "lines")} == {("", 1), ("auto", 1)}
    assert {*UsageByCard.objects.values_list("team_id", flat=True)} == {0, 9}


def read(statement: tuple[str, totals.Params]) -> list[dict[str, Any]]:
    with connection.cursor() as cursor:
        cursor.execute(*statement)
        names = [column[0] for column in cursor.description]
        return sorted((dict(zip(names, row, strict=True)) for row in cursor.fetchall()), key=lambda row: row["cost_nano"])


def test_R510_sums_and_lines_say_the_same_of_whole_days_under_any_condition() -> None:
    asked = reserve_order(model_asked="auto")
    reserve_now(asked)
    end = MIDNIGHT + timedelta(days=1)
    lines = post(
        of_card(cost_nano=1, dispatched_at=MIDNIGHT - timedelta(microseconds=1)),
        of_card(cost_nano=2, dispatched_at=MIDNIGHT),
        of_card(cost_nano=4, dispatched_at=end - timedelta(microseconds=1), context="other", team_id=3),
        of_card(cost_nano=8, dispatched_at=end),
        of_card(cost_nano=16, attempt_id=asked.attempt_id, input_tokens=60),
        of_card(cost_nano=32, basis="estimated"),
    )
    cards.add_lines(0, lines[-1].pk)
    conditions: list[tuple[dict[str, str | int], list[int]]] = [
        ({}, [2, 4, 16]),
        ({"team_id": 0}, [2, 16]),
        ({"context": "other", "team_id": 3}, [4]),
        ({"model_asked": "auto"}, [16]),
    ]
    for condition, costs in conditions:
        from_lines = read(cards.from_lines(MIDNIGHT, end, condition))
        assert [row["cost_nano"] for row in from_lines] == costs
        assert read(cards.from_sums(MIDNIGHT, end, condition)) == from_lines
    assert [*from_lines[0]] == [*cards.KEY[3:], *cards.SUMS, "card"]
    assert (from_lines[0]["above_input_tokens"], from_lines[0]["cache_read_tokens"]) == (50, 0)
    assert json.loads(from_lines[0]["card"]) == lines[0].price_card
    assert [row["cost_nano"] for row in read(cards.from_lines(MIDNIGHT, end, {}, lines[1].pk))] == [4, 16]


@pytest.mark.django_db(transaction=True)
def test_R510_sums_by_card_and_spans_need_no_connection_that_is_open_already() -> None:
    post(of_card())
    for start in (lambda: cards.from_lines(MIDNIGHT, NOON + QUARTER, {}), lambda: totals.Bins([NOON])):
        connection.close()
        start()
    assert len(read(cards.from_lines(MIDNIGHT, NOON + QUARTER, {}))) == 1


@pytest.mark.parametrize("card", [{}, {"context_tiers": "none"}, {"context_tiers": [{"above_input_tokens": "1"}]}])
def test_R510_a_card_nobody_can_read_has_no_tiers(card: dict[str, Any]) -> None:
    (entry,) = post(line(price_card=card))
    cards.add_lines(0, entry.pk)
    assert UsageByCard.objects.get().above_input_tokens == -1


def test_R510_the_very_first_line_is_read_too() -> None:
    post(of_card(pk=1, cost_nano=5))
    assert [row["cost_nano"] for row in read(cards.from_lines(MIDNIGHT, NOON + QUARTER, {}))] == [5]
