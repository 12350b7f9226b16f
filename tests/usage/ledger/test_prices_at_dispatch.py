"""The price of a call is the one of the instant it was dispatched, for ever; every cost can be recomputed from its line."""

from __future__ import annotations

import asyncio
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers import actions
from providers.audit import SYSTEM
from providers.models import Deployment, Price, Provider
from providers.prices import actions as price_actions
from providers.upstream.types import ContextTier, PriceCard, PriceWindow, TokenUsage
from tests.usage.payloads import cases, usage_of
from tests.usage.world import TARGET, reserve_order
from usage.exports import csv_file
from usage.exports.lines import fixed
from usage.exports.months import BillingMonths
from usage.ledger.front import Ledger, Settlement
from usage.models import LedgerEntry
from usage.money import card_at, card_from_json, cost_of
from usage.reports import questions
from usage.reports.questions import DateRange, LineFilter

pytestmark = pytest.mark.both_databases

BASE, DEAR = 1_000_000, 2_000_000


def card(start: str, end: str, zone: str = "UTC") -> PriceCard:
    window = PriceWindow(start=start, end=end, zone=zone, input_nano_per_mtok=DEAR, output_nano_per_mtok=DEAR)
    return PriceCard(id=1, input_nano_per_mtok=BASE, output_nano_per_mtok=BASE, windows=(window,))


def is_dear(windowed: PriceCard, instant: datetime) -> bool:
    fixed = card_at(windowed, instant)
    assert fixed.windows == ()
    return fixed.input_nano_per_mtok == DEAR


MS = timedelta(milliseconds=1)
BERLIN, NEW_YORK, KATHMANDU, LORD_HOWE = "Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe"


@pytest.mark.parametrize(
    ("start", "end", "zone", "begins", "ends"),
    [
        ("01:00", "04:00", "UTC", "2026-11-21T01:00Z", "2026-11-21T04:00Z"),
        ("22:00", "02:00", "UTC", "2026-11-21T22:00Z", "2026-11-22T02:00Z"),
        ("16:30", "00:30", "UTC", "2026-12-31T16:30Z", "2027-01-01T00:30Z"),
        ("00:00", "00:01", "UTC", "2026-11-21T00:00Z", "2026-11-21T00:01Z"),
        ("23:59", "00:00", "UTC", "2026-11-21T23:59Z", "2026-11-22T00:00Z"),
        ("09:00", "18:00", KATHMANDU, "2026-11-21T03:15Z", "2026-11-21T12:15Z"),
        ("09:00", "18:00", BERLIN, "2026-01-15T08:00Z", "2026-01-15T17:00Z"),
        ("09:00", "18:00", BERLIN, "2026-07-15T07:00Z", "2026-07-15T16:00Z"),
        # 29 March, Berlin: 02:00 becomes 03:00; the window that begins at 02:30 begins with the first minute after the gap
        ("02:30", "05:00", BERLIN, "2026-03-29T01:00Z", "2026-03-29T03:00Z"),
        ("23:00", "04:00", BERLIN, "2026-03-28T22:00Z", "2026-03-29T02:00Z"),
        # 25 October, Berlin: 03:00 becomes 02:00; the hour that comes twice is dear twice
        ("01:00", "03:30", BERLIN, "2026-10-24T23:00Z", "2026-10-25T02:30Z"),
        ("01:00", "03:00", NEW_YORK, "2026-11-01T05:00Z", "2026-11-01T08:00Z"),
        # 4 October, Lord Howe: 02:00 becomes 02:30
        ("02:15", "03:00", LORD_HOWE, "2026-10-03T15:30Z", "2026-10-03T16:00Z"),
    ],
)
def test_M12_a_window_begins_and_ends_on_the_millisecond(start: str, end: str, zone: str, begins: str, ends: str) -> None:
    windowed = card(start, end, zone)
    first, after = datetime.fromisoformat(begins), datetime.fromisoformat(ends)
    for instant, dear in ((first - MS, False), (first, True), (first + MS, True), (after - MS, True), (after, False), (after + MS, False)):
        assert is_dear(windowed, instant) is dear, instant
        assert is_dear(windowed, instant.astimezone(ZoneInfo("Pacific/Auckland"))) is dear, "the zone of the instant does not matter"


def test_M12_an_hour_that_comes_twice_and_is_half_in_a_window_is_dear_at_both_passes() -> None:
    windowed = card("02:30", "03:00", BERLIN)
    passes = [datetime(2026, 10, 25, 0, 30, tzinfo=UTC), datetime(2026, 10, 25, 1, 30, tzinfo=UTC)]
    assert [is_dear(windowed, instant - MS) for instant in passes] == [False, False]
    assert [is_dear(windowed, instant) for instant in passes] == [True, True]


def test_M12_the_first_window_that_holds_gives_its_tiers_too() -> None:
    tier = ContextTier(above_input_tokens=10, input_nano_per_mtok=7, output_nano_per_mtok=7)
    window = PriceWindow(start="01:00", end="02:00", input_nano_per_mtok=3, output_nano_per_mtok=3, context_tiers=(tier,))
    outside = ContextTier(above_input_tokens=5, input_nano_per_mtok=9, output_nano_per_mtok=9)
    windowed = PriceCard(
        id=4, input_nano_per_mtok=1, output_nano_per_mtok=1, request_nano=6, context_tiers=(outside,), windows=(window,), discount_ppm=8
    )
    inside = card_at(windowed, datetime(2026, 1, 1, 1, tzinfo=UTC))
    assert inside == PriceCard(
        id=4, input_nano_per_mtok=3, output_nano_per_mtok=3, request_nano=6, context_tiers=(tier,), windows=(), discount_ppm=8
    )
    assert card_at(windowed, datetime(2026, 1, 1, 3, tzinfo=UTC)).context_tiers == (outside,)


minutes = st.integers(0, 24 * 60 - 1)
zones = st.sampled_from(["UTC", BERLIN, NEW_YORK, KATHMANDU, LORD_HOWE])


@given(minutes, minutes, zones, st.datetimes(datetime(2024, 1, 1), datetime(2031, 1, 1)))
def test_M12_a_window_is_what_the_clock_on_the_wall_says(start: int, end: int, zone: str, naive: datetime) -> None:
    if start == end:
        return
    instant = naive.replace(tzinfo=UTC)
    wall = instant.astimezone(ZoneInfo(zone))
    now = wall.hour * 60 + wall.minute
    expected = now in {minute % 1440 for minute in range(start, end if start < end else end + 1440)}
    windowed = card(f"{start // 60:02}:{start % 60:02}", f"{end // 60:02}:{end % 60:02}", zone)
    assert is_dear(windowed, instant) is expected


# --------------------------------------------------------------------------- on the ledger


def book(ledger: Ledger, usage: TokenUsage, price: PriceCard, at: datetime) -> None:
    async def call() -> None:
        order = reserve_order(10**12, target=TARGET, price=price, dispatched_at=at)
        await ledger.reserve(order)
        await ledger.settle(Settlement(order.attempt_id, cost_of(usage, price), usage))

    asyncio.run(call())


@pytest.mark.django_db(transaction=True)
def test_M18_every_stored_cost_follows_from_the_stored_usage_and_card(ledger: Ledger) -> None:
    known = [case for case in cases() if not case.disconnected]

    async def call() -> None:
        for case in known:
            price, usage = card_at(case.card, case.at), usage_of(case)
            order = reserve_order(10**12, price=price, dispatched_at=case.at, request_id=f"{case.id} {case.arithmetic}")
            await ledger.reserve(order)
            await ledger.settle(Settlement(order.attempt_id, cost_of(usage, price), usage))

    asyncio.run(call())
    lines = {line.request_id: line for line in LedgerEntry.objects.all()}
    assert len(lines) == len(known)
    differences = [line.pk for line in lines.values() if cost_of(line.usage, card_from_json(line.price_card)) != line.cost_nano]
    assert differences == []
    for case in known:
        line = lines[f"{case.id} {case.arithmetic}"]
        assert (line.cost_nano, line.usage) == (case.nano, usage_of(case))
        assert (line.reported_cost_nano is None) is (case.reported is None)


@pytest.mark.django_db(transaction=True)
def test_M13_yesterdays_csv_is_byte_identical_after_a_price_edit(ledger: Ledger) -> None:
    provider = actions.create_provider(Provider(kind="openai_compatible", base_url="https://api.example.org/v1", label="x"), SYSTEM)
    model = actions.save_deployment(Deployment(provider=provider, name="small", upstream_model="small", capabilities=["chat"]), SYSTEM)
    yesterday = datetime.now(UTC) - timedelta(days=1)
    price = price_actions.set_price(
        Price(deployment=model, input_nano_per_mtok=DEAR, output_nano_per_mtok=DEAR, source="page", valid_from=yesterday), SYSTEM
    )
    card_then = PriceCard(id=price.pk, input_nano_per_mtok=DEAR, output_nano_per_mtok=DEAR)
    for tokens in range(1, 20):
        book(ledger, TokenUsage(input_tokens=tokens, output_tokens=tokens, cache_read_tokens=tokens), card_then, yesterday)
    before = csv_of(yesterday.date())
    for valid_from in (datetime.now(UTC), yesterday, yesterday - timedelta(days=30)):
        edited = Price(deployment=model, input_nano_per_mtok=9, output_nano_per_mtok=9, source="correction", valid_from=valid_from)
        price_actions.set_price(edited, SYSTEM)
    provider.discount_ppm = 500_000
    actions.update_provider(provider, SYSTEM)
    assert csv_of(yesterday.date()) == before
    assert before.count(b"\n") == 19 + 2
    assert all(cost_of(line.usage, card_from_json(line.price_card)) == line.cost_nano for line in LedgerEntry.objects.all())


def csv_of(day: date) -> bytes:
    wide = DateRange(day - timedelta(days=2), day + timedelta(days=3))
    return b"".join(csv_file.csv_chunks(fixed(questions.lines_in(wide, LineFilter()), BillingMonths.current())))


# --------------------------------------------------------------------------- small amounts


def test_M19_a_million_one_token_calls_lose_at_most_half_a_nano_dollar_each() -> None:
    """A thousand prices from a tenth of a cent to a dollar per million tokens, a thousand calls each."""
    one, calls = TokenUsage(input_tokens=1, output_tokens=0), 1000
    booked = exact = 0
    for tenth_cents in range(1, 1001):
        price = PriceCard(id=1, input_nano_per_mtok=tenth_cents * 10**6, output_nano_per_mtok=0)
        cost = cost_of(one, price)
        assert cost == tenth_cents, "a token is worth a nano-dollar per tenth of a cent: nothing is lost at all"
        booked += cost * calls
        exact += tenth_cents * calls
    assert booked == exact == 500_500_000


@pytest.mark.parametrize(
    ("dollars_per_mtok", "nano"), [("0.0375", 38), ("0.0025", 2), ("0.0015", 2), ("0.0005", 0), ("0.000501", 1), ("0.000001", 0)]
)
def test_M19_what_is_finer_is_rounded_once_to_the_even_one(dollars_per_mtok: str, nano: int) -> None:
    price = PriceCard(id=1, input_nano_per_mtok=int(Decimal(dollars_per_mtok).scaleb(9)), output_nano_per_mtok=0)
    assert cost_of(TokenUsage(input_tokens=1, output_tokens=0), price) == nano
    assert abs(cost_of(TokenUsage(input_tokens=10**6, output_tokens=0), price) - Decimal(dollars_per_mtok).scaleb(9)) == 0
