"""FOCUS files: every cost is price times quantity, all of them together are the ledger, no column breaks the specification."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal, localcontext
from itertools import groupby
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.upstream.types import ContextTier, PriceCard, TokenUsage
from tests.usage.lines import NOON, line, post
from usage.exports import focus
from usage.exports.lines import TRIGGERS, fixed
from usage.exports.months import BillingMonths, span_of
from usage.models import LedgerEntry
from usage.money import BUCKETS, COUNTS, cost_of
from usage.reports import questions
from usage.reports.questions import DateRange, LineFilter

CARD = PriceCard(id=7, input_nano_per_mtok=2_500_000_000, output_nano_per_mtok=10_000_000_000, cache_read_nano_per_mtok=1_250_000_001)
NOVEMBER = DateRange(date(2026, 11, 1), date(2026, 12, 1))
INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
NUMBER = re.compile(r"-?\d+(\.\d+)?")
Row = dict[str, str]

# What the specification (1.2: requirements model 1.2.0.1; 1.4: "Cost and Usage" dataset) asks of the columns we provide.
NOT_NULL = {
    "BilledCost", "BillingAccountId", "BillingCurrency", "BillingPeriodEnd", "BillingPeriodStart", "ChargeCategory", "ChargeFrequency",
    "ChargePeriodEnd", "ChargePeriodStart", "ContractedCost", "EffectiveCost", "InvoiceIssuerName", "ListCost", "ServiceCategory",
    "ServiceName", "ServiceSubcategory",
}  # fmt: skip
MANDATORY = (NOT_NULL | {"BillingAccountName", "ChargeClass", "ChargeDescription", "PricingQuantity", "PricingUnit"}) - {
    "ChargeFrequency",
    "ServiceSubcategory",
}
OF_VERSION = {"focus-1.2": {"ProviderName", "PublisherName"}, "focus-1.4": {"ServiceProviderName", "HostProviderName"}}
NOT_OF_VERSION = {
    "focus-1.2": {"ServiceProviderName", "HostProviderName", "InvoiceDetailId"},
    "focus-1.4": {"ProviderName", "PublisherName"},
}
UNIT_PRICING = ("SkuId", "SkuMeter", "SkuPriceId", "ListUnitPrice", "ContractedUnitPrice", "PricingQuantity", "PricingUnit",
                "PricingCategory")  # fmt: skip
DECIMALS = ("BilledCost", "EffectiveCost", "ContractedCost", "ListCost", "ListUnitPrice", "ContractedUnitPrice", "PricingQuantity",
            "ConsumedQuantity", "PricingCurrencyEffectiveCost", "PricingCurrencyListUnitPrice",
            "PricingCurrencyContractedUnitPrice")  # fmt: skip
INSTANTS = ("BillingPeriodEnd", "BillingPeriodStart", "ChargePeriodEnd", "ChargePeriodStart")


def priced(card: PriceCard = CARD, **changes: Any) -> LedgerEntry:
    """A line that costs what its card says, unless ``cost_nano`` is given."""
    unsaved = line(price_id=card.id, price_card=msgspec.to_builtins(card), **changes)
    if "cost_nano" not in changes:
        unsaved.cost_nano = cost_of(unsaved.usage, card)
    return unsaved


def rows_of(*lines: LedgerEntry, profile: str = focus.NEWEST) -> list[Row]:
    post(*lines)
    source = fixed(questions.lines_in(NOVEMBER, LineFilter()), BillingMonths.current())
    body = b"".join(focus.focus_chunks(source, profile, 3)).decode()
    return list(csv.DictReader(io.StringIO(body, newline=""), strict=True))


def assert_costs_hold(rows: list[Row], lines: list[LedgerEntry]) -> None:
    """Our own check: cost = price x quantity in every row, and the rows of each line are its cost; no rounding anywhere."""
    with localcontext() as context:
        context.prec = 60
        for row in rows:
            for price, cost in (("ListUnitPrice", "ListCost"), ("ContractedUnitPrice", "ContractedCost")):
                if row[price]:
                    assert Decimal(row[price]) * Decimal(row["PricingQuantity"]) == Decimal(row[cost]), row
                else:
                    assert row[cost] == row["BilledCost"], row
            assert row["BilledCost"] == row["EffectiveCost"] == row["ContractedCost"]
        by_line = {
            int(entry_id): sum((Decimal(row["BilledCost"]) for row in group), Decimal(0))
            for entry_id, group in groupby(rows, key=lambda row: row["x_EntryId"])
        }
        assert by_line == {entry.pk: Decimal(entry.cost_nano).scaleb(-9) for entry in lines}


def assert_follows_the_specification(rows: list[Row], profile: str) -> None:
    columns = set(rows[0])
    assert columns >= MANDATORY | OF_VERSION[profile]
    assert not columns & NOT_OF_VERSION[profile]
    for row in rows:
        assert all(row[column] for column in NOT_NULL | OF_VERSION[profile]), row
        assert row["ChargeCategory"] in {"Usage", "Purchase", "Tax", "Credit", "Adjustment"}
        assert row["ChargeFrequency"] in {"One-Time", "Recurring", "Usage-Based"}
        assert row["ChargeClass"] in {"", "Correction"}
        assert row["BillingCurrency"] == "USD"
        assert all(NUMBER.fullmatch(row[column]) for column in DECIMALS if row[column])
        assert all(INSTANT.fullmatch(row[column]) for column in INSTANTS)
        assert row["ChargePeriodStart"] < row["ChargePeriodEnd"]
        is_usage = row["ChargeCategory"] == "Usage"
        assert all(bool(row[column]) == is_usage for column in (*UNIT_PRICING, "ConsumedQuantity", "ConsumedUnit")), row
        tags = json.loads(row["Tags"])
        assert all(isinstance(value, str) for value in tags.values())


pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("made_up_costs")]


@pytest.mark.parametrize("profile", focus.PROFILES)
def test_R507_a_row_per_bucket_says_price_quantity_and_cost(profile: str) -> None:
    rows = rows_of(priced(input_tokens=1_000_001, output_tokens=400, cache_read_tokens=0), profile=profile)
    shown = [(row["SkuMeter"], row["ListUnitPrice"], row["PricingQuantity"], row["PricingUnit"], row["BilledCost"]) for row in rows]
    assert shown == [
        ("Input Tokens", "2.5", "1.000001", "1000000 Tokens", "2.5000025"),
        ("Output Tokens", "10.0", "0.0004", "1000000 Tokens", "0.004"),
    ]
    assert {(row["ChargePeriodStart"], row["ChargePeriodEnd"]) for row in rows} == {("2026-11-15T12:00:00Z", "2026-11-15T12:00:01Z")}
    assert {(row["BillingPeriodStart"], row["BillingPeriodEnd"]) for row in rows} == {("2026-11-01T00:00:00Z", "2026-12-01T00:00:00Z")}
    assert [row["SkuPriceId"] for row in rows] == ["7/Input Tokens@2.5", "7/Output Tokens@10.0"]
    tags = {"gateway/user": "1", "gateway/key": "abcdefghijkl", "gateway/context": "default", "gateway/model": "small"}
    assert json.loads(rows[0]["Tags"]) == tags


def test_what_rounding_took_or_gave_is_a_row_of_its_own() -> None:
    rows = rows_of(priced(input_tokens=0, output_tokens=0, cache_read_tokens=1))
    assert [(row["x_RowType"], row["BilledCost"]) for row in rows] == [("tokens", "0.000001250000001"), ("rounding", "-0.000000000000001")]
    assert rows[1]["ChargeCategory"] == "Adjustment"


def test_a_discount_lowers_the_contracted_price_only() -> None:
    entry = priced(replace(CARD, discount_ppm=125_000), input_tokens=8, output_tokens=0)
    (row,) = rows_of(entry)
    assert (row["ListUnitPrice"], row["ContractedUnitPrice"]) == ("2.5", "2.1875")
    assert (row["ListCost"], row["ContractedCost"]) == ("0.00002", "0.0000175")
    assert_costs_hold([row], [entry])


def test_R507_calls_of_the_providers_tools_are_a_row_with_their_fee() -> None:
    card = replace(CARD, tool_call_nano=10_000_000, discount_ppm=125_000)
    entries = [
        priced(card, input_tokens=8, output_tokens=0, provider_tool_calls=3),
        priced(card, input_tokens=8, output_tokens=0, provider_tool_calls=0),
        priced(replace(card, tool_call_nano=None), input_tokens=8, output_tokens=0, provider_tool_calls=3),
    ]
    rows = rows_of(*entries)
    assert [row["x_RowType"] for row in rows] == ["tokens", "tool_calls", "tokens", "tokens"]
    shown = ("SkuMeter", "PricingUnit", "PricingQuantity", "ConsumedQuantity", "ListUnitPrice", "ContractedUnitPrice", "BilledCost")
    assert [rows[1][name] for name in shown] == ["Provider Tool Calls", "Calls", "3.0", "3.0", "0.01", "0.00875", "0.02625"]
    assert rows[1]["SkuPriceId"] == "7/Provider Tool Calls@0.01"
    assert_costs_hold(rows, entries)


def test_the_tier_of_a_long_call_is_another_price_of_the_same_sku() -> None:
    tier = ContextTier(above_input_tokens=100, input_nano_per_mtok=5_000_000_000, output_nano_per_mtok=20_000_000_000)
    card = replace(CARD, context_tiers=(tier,))
    short, long = priced(card, input_tokens=100, output_tokens=0), priced(card, input_tokens=101, output_tokens=0)
    rows = rows_of(short, long)
    assert [row["SkuPriceId"] for row in rows] == ["7/Input Tokens@2.5", "7/Input Tokens@5.0"]
    assert len({row["SkuId"] for row in rows}) == 1


def test_lines_that_tokens_do_not_explain_keep_their_cost() -> None:
    lines = [
        priced(input_tokens=None, output_tokens=None, cost_nano=77, basis="estimated"),
        priced(input_tokens=1000, output_tokens=1000, cost_nano=5, basis="estimated"),
        priced(replace(CARD, input_nano_per_mtok=0, output_nano_per_mtok=0, request_nano=9), input_tokens=0, output_tokens=0),
        line(cost_nano=3),
        line(cost_nano=0),
    ]
    rows = rows_of(*lines)
    assert_costs_hold(rows, lines)
    assert [row["x_RowType"] for row in rows] == ["difference", "tokens", "tokens", "difference", "request", "difference", "free"]


def test_adjustments_and_corrections_are_no_usage() -> None:
    kinds = [("adjustment", -5), ("adjustment", 5), ("correction", -7)]
    lines = [priced(kind=kind, cost_nano=cost, note="agreed") for kind, cost in kinds]
    rows = rows_of(*lines)
    assert [(row["ChargeCategory"], row["BilledCost"]) for row in rows] == [
        ("Credit", "-0.000000005"),
        ("Adjustment", "0.000000005"),
        ("Adjustment", "-0.000000007"),
    ]
    assert {row["ChargeClass"] for row in rows} == {""}, "all in their own billing period"
    assert_follows_the_specification(rows, focus.NEWEST)


@pytest.mark.parametrize("profile", focus.PROFILES)
def test_R507_every_row_follows_the_specification(profile: str) -> None:
    discounted = replace(CARD, discount_ppm=333_333, request_nano=11)
    rows = rows_of(
        priced(cache_read_tokens=3, reasoning_tokens=9),
        priced(replace(CARD, tool_call_nano=1), provider_tool_calls=2),
        priced(discounted, image_input_tokens=17, audio_output_tokens=1),
        priced(kind="adjustment", cost_nano=-5, note="agreed"),
        priced(input_tokens=None, output_tokens=None, cost_nano=77),
        profile=profile,
    )
    assert_follows_the_specification(rows, profile)


def test_M20_every_attempt_of_a_request_is_told_apart() -> None:
    rows = rows_of(*[priced(request_id="req_1", attempt_no=number) for number in (1, 2, 3)])
    assert {(row["x_RequestId"], row["x_AttemptNumber"]) for row in rows} == {("req_1", "1"), ("req_1", "2"), ("req_1", "3")}


@pytest.mark.parametrize("trigger", TRIGGERS)
@pytest.mark.parametrize("profile", focus.PROFILES)
def test_S27_no_cell_runs_in_a_spreadsheet(profile: str, trigger: str) -> None:
    payload = f'{trigger}1|"c"!A1'
    texts = ("model_name", "upstream_id", "context", "request_id", "provider_slug", "kind", "basis", "api_key_id")
    rows = rows_of(
        priced(**dict.fromkeys(texts, payload)), priced(kind="adjustment", cost_nano=-5, note=payload, model_name=payload), profile=profile
    )
    cells = [cell for row in rows for column, cell in row.items() if column not in DECIMALS]
    assert not [cell for cell in cells if cell.startswith(TRIGGERS)]
    assert any(cell == f"'{payload}" for cell in cells)


counts = st.integers(0, 10**10)
rates = st.integers(0, 10**13)


@st.composite
def cards(draw: st.DrawFn) -> PriceCard:
    own = {f"{bucket.removesuffix('_tokens')}_nano_per_mtok": draw(rates) for bucket in BUCKETS}
    fees = {"request_nano": draw(st.integers(0, 10**9)), "tool_call_nano": draw(st.integers(0, 10**9))}
    return PriceCard(id=1, **own, **fees, discount_ppm=draw(st.integers(0, 10**6)))


@given(cards(), st.tuples(*[counts] * 9, st.integers(0, 10**6)))
def test_R507_cost_is_price_times_quantity_whatever_the_card(card: PriceCard, told: tuple[int, ...]) -> None:
    given = dict(zip(COUNTS, told, strict=True))
    usage = TokenUsage(**given)
    entry = line(id=1, price_card=msgspec.to_builtins(card), cost_nano=cost_of(usage, card), **given)
    rows = [{name: "" if cell is None else str(cell) for name, cell in row.items()} for row in focus.rows_of(entry, span_of("2026-11"))]
    rows = [{"ListUnitPrice": "", "ContractedUnitPrice": "", **row} for row in rows]
    assert_costs_hold(rows, [entry])
    rest = [row for row in rows if row["x_RowType"] in ("rounding", "difference")]
    assert all(abs(Decimal(row["BilledCost"])) <= Decimal("0.0000000005") for row in rest), "less than one nano-dollar a call"


@given(st.integers(-(10**40), 10**40))
def test_decimal_text_is_exact(amount: int) -> None:
    with localcontext() as context:
        context.prec = 60
        assert Decimal(focus.decimal_text(amount)) == Decimal(amount).scaleb(-focus.PLACES)


def test_sub_second_instants_keep_their_second() -> None:
    entry = priced(dispatched_at=datetime(2026, 11, 30, 23, 59, 59, 999_999, tzinfo=UTC), posted_at=NOON)
    row = rows_of(entry)[0]
    assert (row["ChargePeriodStart"], row["ChargePeriodEnd"]) == ("2026-11-30T23:59:59Z", "2026-12-01T00:00:00Z")
