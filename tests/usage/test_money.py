"""Costs are exact integers of nano-dollars; every expected figure here was worked out by hand."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.upstream.types import ContextTier, PriceCard, Rates, TokenUsage
from usage.money import MAX_NANO, UsageUnknown, card_at, card_from_json, card_json, cost_of, estimate, most_tokens, worst_case

PLAIN = PriceCard(id=1, input_nano_per_mtok=2_500_000_000, output_nano_per_mtok=10_000_000_000)
FULL = PriceCard(
    id=2,
    input_nano_per_mtok=3_000_000_000,
    output_nano_per_mtok=15_000_000_000,
    cache_read_nano_per_mtok=300_000_000,
    cache_write_nano_per_mtok=3_750_000_000,
    cache_write_1h_nano_per_mtok=6_000_000_000,
    reasoning_nano_per_mtok=20_000_000_000,
    audio_input_nano_per_mtok=40_000_000_000,
    audio_output_nano_per_mtok=80_000_000_000,
    request_nano=5_000_000,
)
EVERY_BUCKET = TokenUsage(
    input_tokens=1000,
    cache_read_tokens=2000,
    cache_write_tokens=300,
    cache_write_1h_tokens=40,
    output_tokens=500,
    reasoning_tokens=60,
    audio_input_tokens=7,
    audio_output_tokens=8,
)


@pytest.mark.parametrize(
    ("usage", "card", "nano"),
    [
        # 1,000 x $2.50/M + 500 x $10/M = $0.0025 + $0.005
        (TokenUsage(input_tokens=1000, output_tokens=500), PLAIN, 7_500_000),
        # 3,000,000 + 600,000 + 1,125,000 + 240,000 + 7,500,000 + 1,200,000 + 280,000 + 640,000 + 5,000,000 per request
        (EVERY_BUCKET, FULL, 19_585_000),
        # without prices of their own: (1000+2000+300+40+7) x 2,500 + (500+60+8) x 10,000
        (EVERY_BUCKET, PLAIN, 14_047_500),
        (TokenUsage(input_tokens=0, output_tokens=0), FULL, 5_000_000),
    ],
)
def test_cost_is_the_sum_of_the_buckets(usage: TokenUsage, card: PriceCard, nano: int) -> None:
    assert cost_of(usage, card) == nano


def test_M10_a_free_cache_read_price_is_a_price_and_not_a_missing_one() -> None:
    free_reads = replace(PLAIN, cache_read_nano_per_mtok=0)
    assert cost_of(TokenUsage(input_tokens=0, cache_read_tokens=1000, output_tokens=0), free_reads) == 0


@pytest.mark.parametrize(("price", "nano"), [(500_000, 0), (1_500_000, 2), (2_500_000, 2), (500_001, 1), (1_499_999, 1), (1, 0)])
def test_M19_one_rounding_half_to_even(price: int, nano: int) -> None:
    card = PriceCard(id=1, input_nano_per_mtok=price, output_nano_per_mtok=0)
    assert cost_of(TokenUsage(input_tokens=1, output_tokens=0), card) == nano


def test_M19_buckets_are_summed_before_the_rounding() -> None:
    card = PriceCard(id=1, input_nano_per_mtok=400_000, output_nano_per_mtok=400_000)
    assert cost_of(TokenUsage(input_tokens=1, output_tokens=1), card) == 1


@pytest.mark.parametrize(
    "usage",
    [
        TokenUsage(),
        TokenUsage(input_tokens=1),
        TokenUsage(output_tokens=1),
        TokenUsage(input_tokens=-1, output_tokens=1),
        TokenUsage(input_tokens=1, output_tokens=1, cache_read_tokens=-5),
        TokenUsage(input_tokens=10**30, output_tokens=1),
    ],
)
def test_usage_that_is_no_measurement_has_no_cost(usage: TokenUsage) -> None:
    with pytest.raises(UsageUnknown):
        cost_of(usage, PLAIN)


def test_a_cost_no_column_can_hold_is_refused() -> None:
    with pytest.raises(UsageUnknown):
        cost_of(TokenUsage(input_tokens=10**9, output_tokens=0), replace(PLAIN, input_nano_per_mtok=10**18))


def test_the_largest_believable_count_and_amount_are_priced_and_one_more_is_not() -> None:
    nano_each = PriceCard(id=1, input_nano_per_mtok=1_000_000, output_nano_per_mtok=0)
    assert cost_of(TokenUsage(input_tokens=10_000_000_000, output_tokens=0), nano_each) == 10_000_000_000
    with pytest.raises(UsageUnknown, match="absurd"):
        cost_of(TokenUsage(input_tokens=10_000_000_001, output_tokens=0), nano_each)
    nothing, largest = TokenUsage(input_tokens=0, output_tokens=0), 9_223_372_036_854_775_807
    assert cost_of(nothing, replace(nano_each, request_nano=largest)) == largest
    with pytest.raises(UsageUnknown, match="exceeds"):
        cost_of(nothing, replace(nano_each, request_nano=largest + 1))


def test_worst_case_takes_the_dearest_bucket_of_each_direction() -> None:
    # 100 bytes x $40/M (audio input) + 2 choices x 10 tokens x $80/M (audio output) + $0.005
    assert worst_case(100, 10, 2, FULL) == 4_000_000 + 1_600_000 + 5_000_000


def test_worst_case_rounds_up_and_counts_images_sent_by_address() -> None:
    cheap = PriceCard(id=1, input_nano_per_mtok=1, output_nano_per_mtok=0)
    assert worst_case(1, 0, 1, cheap) == 1
    assert worst_case(0, 0, 1, PLAIN, images=2) == 2 * 50_000 * 2_500


def test_worst_case_fits_the_column_whatever_is_asked() -> None:
    assert worst_case(10**7, 10**15, 10**6, FULL) == MAX_NANO == 9_223_372_036_854_775_807


@pytest.mark.parametrize(("ppm", "nano"), [(0, 2_500), (200_000, 2_000), (333_333, 1_667), (1_000_000, 0)])
def test_worst_case_holds_no_more_than_the_discounted_price(ppm: int, nano: int) -> None:
    # 2,500 less 33.3333 % is 1,666.6675 nano-dollars: rounded up
    assert worst_case(1, 0, 1, replace(PLAIN, discount_ppm=ppm)) == nano


def test_the_most_tokens_are_those_of_the_body_and_of_every_choice() -> None:
    assert most_tokens(100, 10, 3) == (100, 30)
    assert most_tokens(100, 10, 3, images=1) == (50_100, 30)


def test_estimate_errs_upwards_and_never_above_the_hold() -> None:
    usage, cost = estimate(body_bytes=100, delivered_output_bytes=31, events=5, card=PLAIN, hold=10**9)
    assert (usage.input_tokens, usage.output_tokens) == (34, 11 + 16)
    assert cost == 34 * 2_500 + 27 * 10_000
    assert estimate(100, 31, 50, PLAIN, 10**9)[0].output_tokens == 66
    assert estimate(100, 31, 5, PLAIN, 1000)[1] == 1000


tokens = st.none() | st.integers(0, 10**7)
prices = st.none() | st.integers(0, 10**12)
rates = {
    "input_nano_per_mtok": st.integers(0, 10**12),
    "output_nano_per_mtok": st.integers(0, 10**12),
    **dict.fromkeys(("cache_read_nano_per_mtok", "cache_write_nano_per_mtok", "cache_write_1h_nano_per_mtok"), prices),
    **dict.fromkeys(("reasoning_nano_per_mtok", "audio_input_nano_per_mtok", "audio_output_nano_per_mtok"), prices),
    "image_input_nano_per_mtok": prices,
}
usages = st.builds(
    TokenUsage,
    input_tokens=st.integers(0, 10**7),
    cache_read_tokens=tokens,
    cache_write_tokens=tokens,
    cache_write_1h_tokens=tokens,
    output_tokens=st.integers(0, 10**7),
    reasoning_tokens=tokens,
    audio_input_tokens=tokens,
    audio_output_tokens=tokens,
    image_input_tokens=tokens,
)
tiers = st.lists(st.builds(ContextTier, above_input_tokens=st.integers(1, 10**8), **rates), max_size=3).map(
    lambda found: tuple(sorted({tier.above_input_tokens: tier for tier in found}.values(), key=lambda tier: tier.above_input_tokens))
)
cards = st.builds(
    PriceCard, id=st.just(1), request_nano=st.integers(0, 10**9), context_tiers=tiers, discount_ppm=st.integers(0, 10**6), **rates
)


@given(usages, cards)
def test_cost_equals_exact_arithmetic(usage: TokenUsage, card: PriceCard) -> None:
    inputs = ("input", "cache_read", "cache_write", "cache_write_1h", "audio_input", "image_input")
    outputs = ("output", "reasoning", "audio_output")
    entered = sum(getattr(usage, f"{name}_tokens") or 0 for name in inputs)
    used: Rates = card
    for tier in card.context_tiers:
        used = tier if entered > tier.above_input_tokens else used
    total = Fraction(card.request_nano)
    for names, fallback in ((inputs, used.input_nano_per_mtok), (outputs, used.output_nano_per_mtok)):
        for name in names:
            price = getattr(used, f"{name}_nano_per_mtok")
            total += Fraction((getattr(usage, f"{name}_tokens") or 0) * (fallback if price is None else price), 10**6)
    assert cost_of(usage, card) == round(total * (10**6 - card.discount_ppm) / 10**6)


@given(usages, cards)
def test_B15_no_call_within_its_bounds_costs_more_than_its_worst_case(usage: TokenUsage, card: PriceCard) -> None:
    bound = worst_case(usage.total_input_tokens or 0, usage.total_output_tokens or 0, 1, card)
    assert cost_of(usage, card) <= bound


LONG = ContextTier(above_input_tokens=1000, input_nano_per_mtok=5_000_000_000, output_nano_per_mtok=20_000_000_000)
TIERED = replace(PLAIN, context_tiers=(LONG, replace(LONG, above_input_tokens=5000, input_nano_per_mtok=7_000_000_000)))


@pytest.mark.parametrize(
    ("usage", "nano"),
    [
        # a tier begins above its bound and holds for the whole call: 1,000 x $2.50 + $10; 1,001 x $5 + $20; 5,001 x $7 + $20
        (TokenUsage(input_tokens=1000, output_tokens=1), 2_500_000 + 10_000),
        (TokenUsage(input_tokens=1001, output_tokens=1), 5_005_000 + 20_000),
        (TokenUsage(input_tokens=5000, output_tokens=1), 25_000_000 + 20_000),
        (TokenUsage(input_tokens=5001, output_tokens=1), 35_007_000 + 20_000),
        # every input bucket counts towards it
        (TokenUsage(input_tokens=1, cache_read_tokens=600, image_input_tokens=400, output_tokens=0), 5_005_000),
        (TokenUsage(input_tokens=1, cache_read_tokens=600, image_input_tokens=399, output_tokens=10**6), 2_500_000 + 10**10),
    ],
)
def test_R505_the_highest_tier_the_input_exceeds_prices_the_whole_call(usage: TokenUsage, nano: int) -> None:
    assert cost_of(usage, TIERED) == nano


def test_a_tier_for_any_input_at_all_leaves_a_call_without_input_alone() -> None:
    any_input = replace(PLAIN, context_tiers=(replace(LONG, above_input_tokens=0),))
    assert cost_of(TokenUsage(input_tokens=0, output_tokens=1), any_input) == 10_000
    assert cost_of(TokenUsage(input_tokens=1, output_tokens=1), any_input) == 25_000


def test_worst_case_counts_only_the_tiers_the_body_can_reach() -> None:
    assert worst_case(1000, 1, 1, TIERED) == 2_500_000 + 10_000
    assert worst_case(1001, 1, 1, TIERED) == 5_005_000 + 20_000


@pytest.mark.parametrize(("ppm", "nano"), [(0, 7_500_000), (50_000, 7_125_000), (333_333, 5_000_002), (1_000_000, 0)])
def test_a_discount_is_taken_off_before_the_one_rounding(ppm: int, nano: int) -> None:
    # $0.0075 less 33.3333 % is 5,000,002.5 nano-dollars: to the even one
    assert cost_of(TokenUsage(input_tokens=1000, output_tokens=500), replace(PLAIN, discount_ppm=ppm)) == nano


def test_a_ceiling_is_booked_whatever_was_used() -> None:
    ceiling = PriceCard(id=0, input_nano_per_mtok=0, output_nano_per_mtok=0, request_nano=50_000_000, is_ceiling=True)
    assert worst_case(10**7, 10**5, 3, ceiling) == 50_000_000


@given(cards)
def test_a_card_survives_its_ledger_copy(card: PriceCard) -> None:
    assert card_from_json(json.loads(card_json(card))) == card


@pytest.mark.parametrize(
    ("calls", "fee", "nano"),
    [
        (None, 10_000_000, 5_000_000),
        (0, 10_000_000, 5_000_000),
        (1, 10_000_000, 15_000_000),
        (3, 10_000_000, 35_000_000),
        (3, 0, 5_000_000),
        (3, None, 5_000_000),
        (10_000_000_000, 1, 10_005_000_000),
    ],
)
def test_each_call_of_a_providers_tool_costs_its_fee_on_top(calls: int | None, fee: int | None, nano: int) -> None:
    card = replace(FULL, tool_call_nano=fee)
    usage = TokenUsage(input_tokens=0, output_tokens=0, provider_tool_calls=calls)
    assert cost_of(usage, card) == nano
    assert cost_of(usage, replace(card, discount_ppm=200_000)) == nano * 8 // 10


@pytest.mark.parametrize("calls", [-1, 10_000_000_001])
def test_an_absurd_number_of_tool_calls_is_no_measurement(calls: int) -> None:
    with pytest.raises(UsageUnknown, match="tool calls"):
        cost_of(TokenUsage(input_tokens=0, output_tokens=0, provider_tool_calls=calls), PLAIN)


@pytest.mark.parametrize(("fee", "nano"), [(10_000_000, 35_000_000), (0, 5_000_000), (None, 5_000_000)])
def test_worst_case_holds_the_fees_of_the_tools_that_may_be_called(fee: int | None, nano: int) -> None:
    card = replace(FULL, tool_call_nano=fee)
    assert worst_case(0, 0, 1, card, tool_calls=3) == nano
    assert worst_case(0, 0, 1, card) == 5_000_000


def test_a_card_without_windows_is_the_one_to_fix_at_any_hour() -> None:
    assert card_at(FULL, datetime(2026, 11, 21, tzinfo=UTC)) is FULL
