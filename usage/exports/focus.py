"""The ledger as FOCUS "Cost and Usage" (FinOps Open Cost and Usage Specification 1.2 and 1.4, focus.finops.org), as CSV.

One row per token bucket of a ledger line, one for a price per request, one for calls of the provider's own tools, and one for
what is left: rounding to whole nano-dollars, an estimate that was capped, a call whose tokens nobody counted. So ``ListCost`` is
``ListUnitPrice`` times ``PricingQuantity`` and ``ContractedCost`` is ``ContractedUnitPrice`` times ``PricingQuantity``, to the
last digit, and the ``BilledCost`` of all rows is the cost of the lines. Amounts are integers of 1e-21 dollars until they are written.

No row names a person: users, keys and teams are ids, in ``Tags``. Texts that a spreadsheet would run begin with an apostrophe.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final

import msgspec

from providers.upstream.types import PriceCard
from usage.exports.csv_file import Cell, Pieces, encoded
from usage.exports.lines import CHUNK_LINES, LineSource, Tally, chunks, instant_text, safe_text
from usage.exports.months import MonthSpan
from usage.models import LedgerEntry
from usage.money import BUCKETS, PPM, card_from_json, rate_of, rates_for

PLACES: Final = 21
PER_NANO: Final = 10**12
"""Units of 1e-21 dollars in a nano-dollar."""
SERVICE_CATEGORY: Final = "AI and Machine Learning"
SERVICE_SUBCATEGORY: Final = "Generative AI"
BILLING_ACCOUNT_ID, BILLING_ACCOUNT_NAME = "ai-gateway", "AI gateway"
TAG_PREFIX: Final = "gateway/"
MILLION_TOKENS, REQUESTS, TOKENS, CALLS = "1000000 Tokens", "Requests", "Tokens", "Calls"
TOOL_CALLS: Final = "Provider Tool Calls"
CORRECTION: Final = "Correction"

COMMON_COLUMNS: Final = (
    "BilledCost", "BillingAccountId", "BillingAccountName", "BillingCurrency", "BillingPeriodEnd", "BillingPeriodStart",
    "ChargeCategory", "ChargeClass", "ChargeDescription", "ChargeFrequency", "ChargePeriodEnd", "ChargePeriodStart",
    "CommitmentDiscountStatus", "ConsumedQuantity", "ConsumedUnit", "ContractedCost", "ContractedUnitPrice", "EffectiveCost",
    "InvoiceId", "InvoiceIssuerName", "ListCost", "ListUnitPrice", "PricingCategory", "PricingCurrency",
    "PricingCurrencyContractedUnitPrice", "PricingCurrencyEffectiveCost", "PricingCurrencyListUnitPrice", "PricingQuantity",
    "PricingUnit", "ServiceCategory", "ServiceName", "ServiceSubcategory", "SkuId", "SkuMeter", "SkuPriceDetails", "SkuPriceId",
    "Tags",
)  # fmt: skip
OWN_COLUMNS: Final = ("x_EntryId", "x_RowType", "x_LineKind", "x_Basis", "x_RequestId", "x_AttemptNumber", "x_UpstreamId", "x_PostedAt")
PROFILES: Final = {
    "focus-1.2": (*sorted((*COMMON_COLUMNS, "ProviderName", "PublisherName")), *OWN_COLUMNS),
    "focus-1.4": (*sorted((*COMMON_COLUMNS, "HostProviderName", "InvoiceDetailId", "ServiceProviderName")), *OWN_COLUMNS),
}
"""1.3 put the names of service and host provider in place of provider and publisher; 1.4 dropped the old ones."""
NEWEST: Final = "focus-1.4"

_METERS: Final = {bucket: bucket.replace("_", " ").replace("1h", "1 hour").title() for bucket in BUCKETS}


@dataclass(frozen=True, slots=True)
class Metered:
    """What was counted, in units of 1e-6 ``unit``, and its prices in units of 1e-21 dollars."""

    quantity: int
    unit: str
    list_price: int
    contracted_price: int
    consumed: int
    consumed_unit: str


@dataclass(frozen=True, slots=True)
class Charge:
    """One row's figures, amounts in units of 1e-21 dollars."""

    row_type: str
    category: str
    meter: str
    billed: int
    listed: int
    metered: Metered | None = None


def focus_chunks(source: LineSource, profile: str, chunk_lines: int = CHUNK_LINES, tally: Tally | None = None) -> Pieces:
    """The file in pieces. ``profile`` is a key of ``PROFILES``."""
    columns = PROFILES[profile]
    yield encoded([columns])
    for chunk, _ in chunks(source, chunk_lines, tally or Tally()):
        rows = [row for line, period in chunk for row in rows_of(line, period)]
        yield encoded([[row.get(column) for column in columns] for row in rows])


def rows_of(line: LedgerEntry, period: MonthSpan) -> Iterator[dict[str, Cell]]:
    """The rows of a ledger line, with the columns of every profile."""
    shared = _shared(line, period)
    for charge in charges_of(line):
        yield {**shared, **_row(line, charge)}


def charges_of(line: LedgerEntry) -> list[Charge]:
    """What the line is made of; the ``billed`` amounts add up to its cost."""
    cost = line.cost_nano * PER_NANO
    if line.kind == LedgerEntry.Kind.ADJUSTMENT:
        return [Charge("adjustment", "Credit" if cost < 0 else "Adjustment", line.note or "Adjustment", cost, cost)]
    if line.kind == LedgerEntry.Kind.CORRECTION:
        return [Charge("correction", "Adjustment", "Measured cost instead of the estimate", cost, cost)]
    card = _card(line)
    charges = [] if card is None else _priced(line, card)
    rest = cost - sum(charge.billed for charge in charges)
    if rest:
        charges.append(_rest(rest))
    return charges or [Charge("free", "Adjustment", "Call that cost nothing", 0, 0)]


def _card(line: LedgerEntry) -> PriceCard | None:
    try:
        return card_from_json(line.price_card)
    except msgspec.ValidationError:
        return None


def _priced(line: LedgerEntry, card: PriceCard) -> list[Charge]:
    rates = rates_for(card, line.usage.total_input_tokens or 0)
    kept = PPM - card.discount_ppm
    charges = []
    for bucket in BUCKETS:
        if tokens := getattr(line, bucket):
            rate = rate_of(rates, bucket)
            metered = Metered(tokens, MILLION_TOKENS, rate * PER_NANO, rate * kept * PPM, tokens, TOKENS)
            charges.append(Charge("tokens", "Usage", _METERS[bucket], tokens * rate * kept, tokens * rate * PPM, metered))
    if card.request_nano:
        metered = _by_piece(1, REQUESTS, card.request_nano, kept)
        charges.append(Charge("request", "Usage", REQUESTS, metered.contracted_price, metered.list_price, metered))
    if (calls := line.provider_tool_calls) and card.tool_call_nano:
        metered = _by_piece(calls, CALLS, card.tool_call_nano, kept)
        charges.append(Charge("tool_calls", "Usage", TOOL_CALLS, calls * metered.contracted_price, calls * metered.list_price, metered))
    return charges


def _by_piece(count: int, unit: str, nano: int, kept: int) -> Metered:
    return Metered(count * PPM, unit, nano * PER_NANO, nano * kept * PPM, count, unit)


def _rest(amount: int) -> Charge:
    if abs(amount) < PER_NANO:
        return Charge("rounding", "Adjustment", "Rounding of the call to whole nano-dollars", amount, amount)
    return Charge("difference", "Adjustment", "Cost of the call that its token counts do not explain", amount, amount)


def _shared(line: LedgerEntry, period: MonthSpan) -> dict[str, Cell]:
    provider = safe_text(line.provider_slug)
    second = line.dispatched_at.astimezone(UTC).replace(microsecond=0)
    return {
        "BillingAccountId": BILLING_ACCOUNT_ID,
        "BillingAccountName": BILLING_ACCOUNT_NAME,
        "BillingCurrency": "USD",
        "PricingCurrency": "USD",
        "BillingPeriodStart": _second_text(period.starts_at),
        "BillingPeriodEnd": _second_text(period.ends_at),
        "ChargeClass": CORRECTION if line.dispatched_at < period.starts_at else None,
        "ChargePeriodStart": _second_text(second),
        "ChargePeriodEnd": _second_text(second + timedelta(seconds=1)),
        "HostProviderName": provider,
        "InvoiceIssuerName": provider,
        "ProviderName": provider,
        "PublisherName": provider,
        "ServiceProviderName": provider,
        "ServiceCategory": SERVICE_CATEGORY,
        "ServiceName": safe_text(f"{line.provider_slug} API"),
        "ServiceSubcategory": SERVICE_SUBCATEGORY,
        "Tags": tags_text(line),
        "x_EntryId": line.pk,
        "x_LineKind": safe_text(line.kind),
        "x_Basis": safe_text(line.basis),
        "x_RequestId": safe_text(line.request_id),
        "x_AttemptNumber": line.attempt_no,
        "x_UpstreamId": safe_text(line.upstream_id) or None,
        "x_PostedAt": instant_text(line.posted_at),
    }


def _row(line: LedgerEntry, charge: Charge) -> dict[str, Cell]:
    billed = decimal_text(charge.billed)
    row: dict[str, Cell] = {
        "BilledCost": billed,
        "EffectiveCost": billed,
        "PricingCurrencyEffectiveCost": billed,
        "ContractedCost": billed,
        "ListCost": decimal_text(charge.listed),
        "ChargeCategory": charge.category,
        "ChargeDescription": safe_text(f"{charge.meter}: {line.provider_slug}/{line.model_name}"),
        "ChargeFrequency": "One-Time",
        "x_RowType": charge.row_type,
    }
    if (metered := charge.metered) is None:
        return row
    sku = f"{line.provider_slug}/{line.model_name}/{charge.meter}"
    list_price, contracted_price = _price_text(metered.list_price), _price_text(metered.contracted_price)
    return row | {
        "ChargeFrequency": "Usage-Based",
        "ConsumedQuantity": decimal_text(metered.consumed, 0),
        "ConsumedUnit": metered.consumed_unit,
        "PricingCategory": "Standard",
        "PricingQuantity": decimal_text(metered.quantity, 6),
        "PricingUnit": metered.unit,
        "ListUnitPrice": list_price,
        "PricingCurrencyListUnitPrice": list_price,
        "ContractedUnitPrice": contracted_price,
        "PricingCurrencyContractedUnitPrice": contracted_price,
        "SkuId": safe_text(sku),
        "SkuMeter": charge.meter,
        "SkuPriceId": f"{line.price_id}/{charge.meter}@{list_price}",
    }


def tags_text(line: LedgerEntry) -> str:
    """Ids only, one level deep, as the key-value format wants it. Unknown ones are left out."""
    tags: dict[str, str | int | None] = {
        "user": line.user_id,
        "key": line.api_key_id or None,
        "team": line.team_id,
        "context": line.context or None,
        "model": line.model_name,
    }
    known = {f"{TAG_PREFIX}{name}": str(value) for name, value in tags.items() if value is not None}
    return json.dumps(known, ensure_ascii=False, separators=(",", ":"))


def decimal_text(amount: int, places: int = PLACES) -> str:
    """``amount`` units of ``10**-places`` as a plain decimal, exact at any size, with one decimal place at least.

    The place keeps readers that guess types, the official validator among them, from taking a column for integers.
    """
    whole, fraction = divmod(abs(amount), 10**places)
    digits = f"{fraction:0{places}d}".rstrip("0") if places else ""
    return f"{'-' if amount < 0 else ''}{whole}.{digits or '0'}"


_price_text = lru_cache(maxsize=4096)(decimal_text)


@lru_cache(maxsize=4096)
def _second_text(instant: datetime) -> str:
    return instant.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
