"""PostgreSQL computes the cost of every measured line itself and refuses a line that says otherwise (M18)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import fields, replace
from typing import Any

import msgspec
import pytest
from django.db import IntegrityError, connection, transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from providers.upstream.types import ContextTier, PriceCard, Rates, TokenUsage
from tests.usage.lines import line
from tests.usage.world import CARD, USAGE, counters, gateway_budget, reserve_order
from usage.ledger.front import Ledger, Settlement
from usage.ledger.verification import verify_ledger
from usage.ledger.writer import DOUBTED_NOTE
from usage.models import LedgerEntry
from usage.money import BUCKETS, COUNTS, UsageUnknown, card_json, cost_of

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]

REFUSED = "ledger_cost_follows_from_card_and_counts"
RATE = st.integers(0, 10**13) | st.sampled_from([0, 1, 499_999, 500_000, 500_001, 1_500_000])
RATES = {rate.name: RATE if rate.name in ("input_nano_per_mtok", "output_nano_per_mtok") else st.none() | RATE for rate in fields(Rates)}
TIERS = st.lists(
    st.builds(ContextTier, above_input_tokens=st.integers(0, 400), **RATES), max_size=3, unique_by=lambda tier: tier.above_input_tokens
)
CARDS = st.builds(
    PriceCard,
    id=st.just(1),
    **RATES,
    request_nano=st.integers(0, 10**12),
    tool_call_nano=st.none() | st.integers(0, 10**12),
    context_tiers=TIERS.map(tuple),
    discount_ppm=st.just(0) | st.integers(0, 1_000_000),
)
COUNT = st.integers(0, 300) | st.integers(0, 10**7)
USAGES = st.builds(TokenUsage, **{name: COUNT if name in ("input_tokens", "output_tokens") else st.none() | COUNT for name in COUNTS})


@pytest.fixture(autouse=True)
def on_postgresql(db: None) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("SQLite's 64-bit integers cannot hold the products; verify_ledger recomputes there")


def computed(usage: TokenUsage, card: PriceCard) -> int:
    counts = ", ".join(f"%({name})s" for name in COUNTS)
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT usage_measured_cost(%(card)s::jsonb, {counts})",
            {"card": card_json(card), **{name: getattr(usage, name) for name in COUNTS}},
        )
        return int(cursor.fetchone()[0])


@given(usage=USAGES, card=CARDS)
@settings(max_examples=1500, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_M18_database_and_gateway_compute_the_same_cost(usage: TokenUsage, card: PriceCard) -> None:
    try:
        expected = cost_of(usage, card)
    except UsageUnknown:
        return
    assert computed(usage, card) == expected


@pytest.mark.parametrize("bucket", BUCKETS)
def test_M18_each_count_is_priced_at_its_own_rate_or_its_directions(bucket: str) -> None:
    usage = replace(TokenUsage(input_tokens=0, output_tokens=0), **{bucket: 3})
    own = replace(CARD, **{f"{bucket.removesuffix('_tokens')}_nano_per_mtok": 7_000_000})
    assert computed(usage, own) == 21
    assert computed(usage, CARD) == cost_of(usage, CARD)


@pytest.mark.parametrize(("tokens", "nano"), [(0, 0), (1, 0), (2, 1), (3, 2), (5, 2), (7, 4)])
@pytest.mark.parametrize(("rate", "discount_ppm"), [(500_000, 0), (1_000_000, 500_000)])
def test_M18_M19_a_tie_is_rounded_to_even(tokens: int, nano: int, rate: int, discount_ppm: int) -> None:
    card = PriceCard(id=1, input_nano_per_mtok=rate, output_nano_per_mtok=0, discount_ppm=discount_ppm)
    usage = TokenUsage(input_tokens=tokens, output_tokens=0)
    assert computed(usage, card) == nano == cost_of(usage, card)


@pytest.mark.parametrize(("cached", "nano"), [(0, 10), (1, 22), (89, 198), (90, 300), (190, 600)])
def test_M18_a_tier_counts_from_the_first_token_above_it_and_all_input_counts(cached: int, nano: int) -> None:
    tiers = tuple(
        ContextTier(above_input_tokens=above, input_nano_per_mtok=rate * 1_000_000, output_nano_per_mtok=0)
        for above, rate in ((99, 3), (10, 2))
    )
    card = PriceCard(id=1, input_nano_per_mtok=1_000_000, output_nano_per_mtok=0, context_tiers=tiers)
    usage = TokenUsage(input_tokens=10, cache_read_tokens=cached, output_tokens=0)
    assert computed(usage, card) == nano == cost_of(usage, card)


@pytest.mark.parametrize(
    "change",
    [
        {"cost_nano": 74_999},
        {"cost_nano": 75_001},
        {"input_tokens": 11},
        {"input_tokens": None},
        {"output_tokens": None},
        {"reasoning_tokens": 1},
        {"price_card": msgspec.to_builtins(replace(CARD, discount_ppm=1_000))},
        {"price_card": msgspec.to_builtins(replace(CARD, request_nano=1))},
        {"price_card": {}},
    ],
)
def test_M18_a_cost_that_does_not_follow_is_refused(change: dict[str, Any]) -> None:
    values = {"cost_nano": 75_000, "input_tokens": 10, "output_tokens": 5, "price_card": msgspec.to_builtins(CARD)}
    line(**values).save(force_insert=True)
    with pytest.raises(IntegrityError, match=REFUSED), transaction.atomic():
        line(**{**values, **change}).save(force_insert=True)


@pytest.mark.parametrize("change", [{"basis": "estimated"}, {"basis": "unpriced"}, {"kind": "adjustment"}, {"kind": "correction"}])
def test_M18_lines_that_are_no_measurement_are_not_recomputed(change: dict[str, Any]) -> None:
    line(cost_nano=12_345, price_card=msgspec.to_builtins(CARD), **change).save(force_insert=True)
    assert LedgerEntry.objects.get().cost_nano == 12_345


@pytest.fixture
def ledger(transactional_db: None) -> Iterator[Ledger]:
    ledger = Ledger()
    ledger.start()
    yield ledger
    ledger.stop(5)


def test_M18_a_doubtful_cost_spoils_no_other_line_and_is_flagged_as_an_estimate(ledger: Ledger) -> None:
    budget = gateway_budget(10**9)
    wrong, right = reserve_order(100_000, [budget]), reserve_order(100_000, [budget])

    async def go() -> None:
        await asyncio.gather(ledger.reserve(wrong), ledger.reserve(right))
        await asyncio.gather(
            ledger.settle(Settlement(wrong.attempt_id, 74_999, USAGE)),
            ledger.settle(Settlement(right.attempt_id, cost_of(USAGE, CARD), USAGE)),
        )

    asyncio.run(go())
    found = {entry.attempt_id: (entry.basis, entry.cost_nano, entry.note) for entry in LedgerEntry.objects.all()}
    assert found == {right.attempt_id: ("measured", 75_000, ""), wrong.attempt_id: ("estimated", 74_999, DOUBTED_NOTE)}
    assert counters(budget) == (149_999, 0)
    assert [*verify_ledger()] == []
