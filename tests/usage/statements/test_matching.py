"""R508: what the provider billed against what the ledger booked. M22: every difference is found, and none is invented."""

from __future__ import annotations

from datetime import date

import pytest

from providers.upstream.types import TokenUsage
from tests.usage.statements import invoices
from tests.usage.statements.invoices import COLUMNS, Finding, Invoice
from usage.statements.matching import Comparison, LedgerCall, Scope, Split, compare, summed
from usage.statements.reading import BilledLine, parse_statement

SEEDS = range(20)
DAY = date(2026, 11, 15)
CARD = {"id": 1, "input_nano_per_mtok": 1_000_000_000, "output_nano_per_mtok": 4_000_000_000}
MEASURES = ("input_tokens", "output_tokens")


def found_in(invoice: Invoice, *, by_id: bool) -> list[Comparison]:
    columns = {name: column for name, column in COLUMNS.items() if by_id or name != "request_id"}
    parsed = parse_statement(invoice.csv(with_ids=by_id), "generic", invoice.zone, columns)
    return compare(parsed.lines, invoice.calls, invoice.scope)


def named(each: Comparison, *, by_id: bool) -> tuple[object, ...]:
    return ("row", each.upstream_id) if by_id else (each.day, each.model)


@pytest.mark.parametrize("by_id", [True, False], ids=["by request id", "by groups"])
@pytest.mark.parametrize("seed", SEEDS)
def test_M22_fifty_planted_discrepancies_are_all_found_and_classified_and_none_is_invented(seed: int, by_id: bool) -> None:
    invoice = invoices.with_discrepancies(seed, by_id=by_id)
    found = found_in(invoice, by_id=by_id)
    differences = {named(each, by_id=by_id): each.finding for each in found if each.finding != Finding.MATCHED}
    assert differences == invoice.planted
    assert summed(found).variance_nano == invoice.billed_nano - invoice.booked_nano


@pytest.mark.parametrize("by_id", [True, False], ids=["by request id", "by groups"])
@pytest.mark.parametrize("seed", SEEDS)
def test_M22_an_invoice_that_agrees_has_no_difference(seed: int, by_id: bool) -> None:
    found = found_in(invoices.clean(seed), by_id=by_id)
    assert {each.finding for each in found} == {Finding.MATCHED}
    assert summed(found) == Split(0, 0, 0, 0, 0)


@pytest.mark.parametrize("seed", SEEDS)
def test_M22_each_cause_carries_its_own_amount(seed: int) -> None:
    invoice = invoices.with_discrepancies(seed, by_id=True)
    split = summed(found_in(invoice, by_id=True))
    booked = {call.upstream_id: call.nano for call in invoice.calls}
    billed = {row.request: row.nano for row in invoice.rows}
    of = {finding: [name[1] for name, each in invoice.planted.items() if each == finding] for finding in invoices.PLANTED}
    assert split.price_nano == sum(billed[name] - booked[name] for name in of[Finding.PRICE])
    assert split.tokens_nano == sum(billed[name] - booked[name] for name in of[Finding.TOKENS])
    assert split.missing_nano == sum(billed[name] for name in of[Finding.MISSING])
    assert split.extra_nano == -sum(booked[name] for name in of[Finding.EXTRA])
    assert split.zone_nano == 0


def scope(**changes: object) -> Scope:
    values = {"starts_on": DAY, "ends_on": DAY, "measures": MEASURES, "has_amounts": True, "has_models": True, "has_keys": False}
    return Scope(**{**values, **changes})  # type: ignore[arg-type]


def call(**changes: object) -> LedgerCall:
    values = {
        "day": DAY, "model": "small", "upstream_id": "a", "nano": 3_000_000, "price_card": CARD,
        "usage": TokenUsage(input_tokens=1000, output_tokens=500),
    }  # fmt: skip
    return LedgerCall(**{**values, **changes})  # type: ignore[arg-type]


def billed(**changes: object) -> BilledLine:
    values = {
        "number": 2, "day": DAY, "model": "small", "upstream_id": "a", "nano": 3_000_000,
        "tokens": {"input_tokens": 1000, "output_tokens": 500},
    }  # fmt: skip
    return BilledLine(**{**values, **changes})  # type: ignore[arg-type]


def test_a_call_with_another_price_and_other_tokens_is_split_between_both() -> None:
    """100 more output tokens cost 400,000 nano-dollars at our card; the remaining 100,000 is their price."""
    [found] = compare([billed(nano=3_500_000, tokens={"input_tokens": 1000, "output_tokens": 600})], [call()], scope())
    assert found.finding == Finding.TOKENS
    assert (found.tokens_variance_nano, found.price_variance_nano, found.variance_nano) == (400_000, 100_000, 500_000)


def test_fees_of_tools_are_no_part_of_what_other_tokens_cost() -> None:
    searched = call(usage=TokenUsage(input_tokens=1000, output_tokens=500, provider_tool_calls=2), nano=23_000_000,
                    price_card={**CARD, "tool_call_nano": 10_000_000})  # fmt: skip
    [found] = compare([billed(nano=23_400_000, tokens={"input_tokens": 1000, "output_tokens": 600})], [searched], scope())
    assert (found.tokens_variance_nano, found.price_variance_nano) == (400_000, 0)


def test_a_call_billed_twice_is_missing_once() -> None:
    found = compare([billed(), billed(number=3)], [call()], scope())
    assert [each.finding for each in found] == [Finding.MATCHED, Finding.MISSING]
    assert summed(found).missing_nano == 3_000_000


def test_a_call_the_ledger_has_on_the_day_before_the_statement_is_a_matter_of_the_zone() -> None:
    found = compare([billed()], [call(day=date(2026, 11, 14))], scope())
    assert [each.finding for each in found] == [Finding.ZONE]
    assert summed(found) == Split(0, 0, 0, 0, 3_000_000)


def test_calls_outside_the_statement_are_not_extra() -> None:
    outside = call(day=date(2026, 11, 16), upstream_id="b")
    assert [each.finding for each in compare([billed()], [call(), outside], scope())] == [Finding.MATCHED]


def test_lines_without_an_id_are_compared_with_the_calls_that_no_id_took() -> None:
    unnamed = billed(number=3, upstream_id="")
    found = compare([billed(), unnamed], [call(), call(upstream_id="", model="small")], scope())
    assert [(each.finding, each.matched_by) for each in found] == [(Finding.MATCHED, "request"), (Finding.MATCHED, "group")]


def test_a_sum_may_differ_by_the_rounding_of_its_lines_and_no_more() -> None:
    calls = [call(upstream_id=""), call(upstream_id="")]
    tokens = {"input_tokens": 2000, "output_tokens": 1000}
    [rounded] = compare([billed(upstream_id="", nano=6_000_001, tokens=tokens)], calls, scope())
    [dearer] = compare([billed(upstream_id="", nano=6_000_002, tokens=tokens)], calls, scope())
    assert (rounded.finding, rounded.price_variance_nano) == (Finding.MATCHED, 1)
    assert (dearer.finding, dearer.price_variance_nano) == (Finding.PRICE, 2)


def test_a_file_without_amounts_compares_tokens_only() -> None:
    dearer = call(nano=9)
    [same] = compare([billed(nano=None)], [dearer], scope(has_amounts=False))
    [other] = compare([billed(nano=None, tokens={"input_tokens": 1, "output_tokens": 500})], [dearer], scope(has_amounts=False))
    assert (same.finding, same.variance_nano) == (Finding.MATCHED, 0)
    assert (other.finding, other.variance_nano) == (Finding.TOKENS, 0)


def test_a_file_without_tokens_compares_amounts_only() -> None:
    [found] = compare([billed(nano=3_000_005, tokens={})], [call()], scope(measures=()))
    assert (found.finding, found.price_variance_nano) == (Finding.PRICE, 5)


def test_a_file_without_models_is_compared_by_day() -> None:
    tokens = {"input_tokens": 2000, "output_tokens": 1000}
    line = billed(upstream_id="", model="", nano=6_000_000, tokens=tokens)
    assert [each.finding for each in compare([line], [call(), call(model="large")], scope(has_models=False))] == [Finding.MATCHED]


def test_buckets_that_the_file_does_not_tell_are_part_of_input_and_output() -> None:
    usage = TokenUsage(input_tokens=400, cache_read_tokens=600, output_tokens=100, reasoning_tokens=400)
    [found] = compare([billed()], [call(usage=usage)], scope())
    assert found.finding == Finding.MATCHED


def test_tokens_of_a_call_without_a_usable_card_take_the_whole_difference() -> None:
    line = billed(nano=3_000_007, tokens={"input_tokens": 1001, "output_tokens": 500})
    [found] = compare([line], [call(price_card={})], scope())
    assert (found.tokens_variance_nano, found.price_variance_nano) == (7, 0)


def test_whole_days_that_moved_to_a_neighbour_are_one_finding_on_each_day() -> None:
    days = scope(ends_on=date(2026, 11, 16))
    line = billed(upstream_id="", day=date(2026, 11, 16))
    found = compare([line], [call()], days)
    assert [each.finding for each in found] == [Finding.ZONE, Finding.ZONE]
    assert summed(found) == Split(0, 0, 0, 0, 0)
