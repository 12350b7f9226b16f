"""What caches, discounts and routing saved, from the card copied into each line. Exact rationals, rounded once per figure.

Measured usage lines count; estimates, corrections and adjustments do not, and how many were left out is said. The figures answer
different questions and are not added up.
"""

# ruff: noqa: S608 - statements are put together from names of ours; values travel as parameters

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from fractions import Fraction
from typing import Any, Final

import msgspec
from django.db import connection

from providers.models import Deployment, Price, Route
from providers.upstream.types import ContextTier, PriceCard, PriceWindow, Rates
from usage.models import LedgerEntry
from usage.money import BUCKETS, INPUT_BUCKETS, PPM, TOKENS_PER_PRICE, UsageUnknown, card_at, card_from_json, cost_of, rate_of, rates_for
from usage.report_sums import Asked, sums
from usage.sql.totals import LEDGER, Params, instant_parameter, line_value

WRITE_BUCKETS: Final = ("cache_write_tokens", "cache_write_1h_tokens")
_HAS_TIERS: Final = {
    "postgresql": "jsonb_typeof(e.price_card -> 'context_tiers') = 'array' AND e.price_card -> 'context_tiers' <> '[]'",
    "sqlite": "json_array_length(e.price_card, '$.context_tiers') > 0",
}
_CARD: Final = {"postgresql": "e.price_card::text", "sqlite": "e.price_card"}


@dataclass(frozen=True, slots=True)
class CacheSavings:
    """``reads_nano``: cached tokens at the input rate less what was paid. ``writes_nano``: what writing them cost above the input rate."""

    reads_nano: int
    writes_nano: int
    read_tokens: int
    write_tokens: int


@dataclass(frozen=True, slots=True)
class DiscountSavings:
    """Lines whose card has a discount: what they cost at list price, and what was billed."""

    lines: int
    listed_nano: int
    billed_nano: int


@dataclass(frozen=True, slots=True)
class RoutingSavings:
    """Lines that another model served than the one asked for: what the asked one would have cost, and what was billed.

    ``unknown_lines``: what was asked for names no model with a price at that time.
    """

    lines: int
    asked_nano: int
    billed_nano: int
    unknown_lines: int


@dataclass(frozen=True, slots=True)
class FreeUse:
    """Tokens one model served at a price of zero."""

    provider: str
    model: str
    lines: int
    input_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True)
class Savings:
    """``counted_lines`` are the measured ones with a readable card, ``left_out_lines`` all others of the range."""

    counted_lines: int
    left_out_lines: int
    cache: CacheSavings
    discounts: DiscountSavings
    routing: RoutingSavings
    free: tuple[FreeUse, ...]


@dataclass(frozen=True, slots=True)
class _Lines:
    """Lines that one card, in one of its tiers, priced alike: their sums."""

    provider: str
    model: str
    card: PriceCard
    rates: Rates
    count: int
    billed_nano: int
    tokens: Mapping[str, int]

    @property
    def share_paid(self) -> Fraction:
        return Fraction(PPM - self.card.discount_ppm, PPM)

    @property
    def listed(self) -> Fraction:
        scaled = sum(self.tokens[bucket] * rate_of(self.rates, bucket) for bucket in BUCKETS)
        return Fraction(scaled, TOKENS_PER_PRICE) + self.count * self.card.request_nano

    def above_input(self, *buckets: str) -> Fraction:
        """What the tokens of ``buckets`` cost above (negative: below) the input rate, as paid."""
        input_rate = rate_of(self.rates, "input_tokens")
        scaled = sum(self.tokens[bucket] * (rate_of(self.rates, bucket) - input_rate) for bucket in buckets)
        return Fraction(scaled, TOKENS_PER_PRICE) * self.share_paid

    @property
    def is_free(self) -> bool:
        return not self.card.request_nano and not any(rate_of(self.rates, bucket) for bucket in BUCKETS)


def savings(asked: Asked) -> Savings:
    grouped = [*_grouped(asked)]
    counted = sum(lines.count for lines in grouped)
    discounted = [lines for lines in grouped if lines.card.discount_ppm]
    return Savings(
        counted_lines=counted,
        left_out_lines=sums(asked).lines - counted,
        cache=CacheSavings(
            reads_nano=round(-sum((lines.above_input("cache_read_tokens") for lines in grouped), Fraction())),
            writes_nano=round(sum((lines.above_input(*WRITE_BUCKETS) for lines in grouped), Fraction())),
            read_tokens=sum(lines.tokens["cache_read_tokens"] for lines in grouped),
            write_tokens=sum(lines.tokens[bucket] for lines in grouped for bucket in WRITE_BUCKETS),
        ),
        discounts=DiscountSavings(
            lines=sum(lines.count for lines in discounted),
            listed_nano=round(sum((lines.listed for lines in discounted), Fraction())),
            billed_nano=sum(lines.billed_nano for lines in discounted),
        ),
        routing=_routing(asked),
        free=_free([lines for lines in grouped if lines.is_free]),
    )


def _free(lines: list[_Lines]) -> tuple[FreeUse, ...]:
    uses: dict[tuple[str, str], FreeUse] = {}
    for each in lines:
        before = uses.get((each.provider, each.model), FreeUse(each.provider, each.model, 0, 0, 0))
        tokens_in = sum(each.tokens[bucket] for bucket in INPUT_BUCKETS)
        tokens_out = sum(each.tokens.values()) - tokens_in
        uses[each.provider, each.model] = FreeUse(
            each.provider, each.model, before.lines + each.count, before.input_tokens + tokens_in, before.output_tokens + tokens_out
        )
    return tuple(uses[key] for key in sorted(uses))


def _grouped(asked: Asked) -> Iterator[_Lines]:
    """Measured lines by card and, where the card has tiers, by the size of the input, which chooses the tier."""
    vendor = connection.vendor
    input_tokens = " + ".join(f"coalesce(e.{bucket}, 0)" for bucket in INPUT_BUCKETS)
    size = f"CASE WHEN {_HAS_TIERS[vendor]} THEN {input_tokens} ELSE 0 END"
    where, params = _measured(asked)
    statement = (
        f"SELECT e.provider_slug, e.model_name, {_CARD[vendor]}, {size}, {_LINE_SUMS} FROM {LEDGER} e WHERE {where} "
        f"GROUP BY e.provider_slug, e.model_name, e.price_card, 4"
    )
    for provider, model, stored, tokens, *row in _read(statement, params):
        card = _readable(stored)
        if card is not None:
            yield _Lines(provider, model, card, rates_for(card, tokens), *_line_sums(row))


def _readable(stored: str) -> PriceCard | None:
    try:
        return card_from_json(json.loads(stored))
    except msgspec.ValidationError:
        return None


def _measured(asked: Asked, also: str = "") -> tuple[str, Params]:
    filters = asked.only.conditions
    wanted = "".join(f" AND {line_value(column)} = %s" for column in filters)
    condition = f"e.kind = 'usage' AND e.basis = 'measured' AND e.dispatched_at >= %s AND e.dispatched_at < %s{wanted}{also}"
    return condition, [instant_parameter(asked.period.start_at), instant_parameter(asked.period.end_at), *filters.values()]


_LINE_SUMS: Final = "count(*), sum(e.cost_nano), " + ", ".join(f"coalesce(sum(e.{bucket}), 0)" for bucket in BUCKETS)


def _line_sums(row: list[Any]) -> tuple[int, int, dict[str, int]]:
    count, billed_nano, *tokens = (int(value or 0) for value in row)
    return count, billed_nano, dict(zip(BUCKETS, tokens, strict=True))


def _read(statement: str, params: Params) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, params)
        rows: list[tuple[Any, ...]] = cursor.fetchall()
    return rows


# --------------------------------------------------------------------------- the model asked for, and the one that served


def _routing(asked: Asked) -> RoutingSavings:
    where, params = _measured(asked)
    pairs = _read(
        f"SELECT a.model_asked, e.deployment_id, e.model_name, count(*) FROM {LEDGER} e JOIN usage_attempt a ON a.id = e.attempt_id "
        f"WHERE {where} GROUP BY 1, 2, 3",
        params,
    )
    rerouted = [pair for pair in pairs if pair[0] != pair[2]]
    parts: list[_Compared] = []
    elsewhere = 0
    for name, served_id, _, count in rerouted:
        wanted = _deployment_asked(name)
        if wanted is None or wanted.pk != served_id:
            elsewhere += count
            parts += _costs_as(asked, name, served_id, wanted) if wanted is not None else ()
    compared = sum(part.count for part in parts)
    return RoutingSavings(
        lines=compared,
        asked_nano=round(sum((part.asked for part in parts), Fraction())),
        billed_nano=sum(part.billed_nano for part in parts),
        unknown_lines=elsewhere - compared,
    )


def _deployment_asked(name: str) -> Deployment | None:
    """The first choice of a route, ``provider/model``, or a model that only one provider has; else nobody can say its price."""
    route = Route.objects.filter(name=name).first()
    if route is not None:
        first = route.choices.select_related("deployment__provider").order_by("priority", "id").first()
        return first.deployment if first is not None else None
    slug, _, model = name.partition("/")
    found = [*Deployment.objects.filter(provider__slug=slug, name=model).select_related("provider")[:1]]
    found = found or [*Deployment.objects.filter(name=name).select_related("provider")[:2]]
    return found[0] if len(found) == 1 else None


@dataclass(frozen=True, slots=True)
class _Compared:
    count: int
    billed_nano: int
    asked: Fraction


def _costs_as(asked: Asked, name: str, served_id: int, wanted: Deployment) -> Iterator[_Compared]:
    """The lines of one pair, per price of the model asked for that was in force in the range."""
    prices = [*Price.objects.filter(deployment=wanted, valid_from__lt=asked.period.end_at).order_by("valid_from", "id")]
    ends = [*(price.valid_from for price in prices), asked.period.end_at][1:]
    for price, end in zip(prices, ends, strict=True):
        start = max(price.valid_from, asked.period.start_at)
        if start < end:
            yield _compared(asked, (name, served_id), card_of(price, wanted.provider.discount_ppm), start, end)


def _compared(asked: Asked, pair: tuple[str, int], card: PriceCard, start: datetime, end: datetime) -> _Compared:
    also = " AND a.model_asked = %s AND e.deployment_id = %s AND e.dispatched_at >= %s AND e.dispatched_at < %s"
    where, params = _measured(asked, also)
    params += [*pair, instant_parameter(start), instant_parameter(end)]
    joined = f"FROM {LEDGER} e JOIN usage_attempt a ON a.id = e.attempt_id WHERE {where}"
    if card.windows or card.context_tiers:
        ids = [row[0] for row in _read(f"SELECT e.id {joined}", params)]
        return _compared_line_by_line(ids, card)
    lines = _Lines("", "", card, card, *_line_sums([*_read(f"SELECT {_LINE_SUMS} {joined}", params)[0]]))
    return _Compared(lines.count, lines.billed_nano, lines.listed * lines.share_paid)


def _compared_line_by_line(ids: list[int], card: PriceCard) -> _Compared:
    """Where the time of day or the size of the input chooses the price."""
    lines = [line for start in range(0, len(ids), 1000) for line in LedgerEntry.objects.filter(pk__in=ids[start : start + 1000])]
    costs = [(cost, line.cost_nano) for line in lines if (cost := _cost_at(card, line)) is not None]
    return _Compared(len(costs), sum(billed for _, billed in costs), Fraction(sum(cost for cost, _ in costs)))


def _cost_at(card: PriceCard, line: LedgerEntry) -> int | None:
    try:
        return cost_of(line.usage, card_at(card, line.dispatched_at))
    except UsageUnknown:
        return None


def card_of(price: Price, discount_ppm: int) -> PriceCard:
    """The card of a price row, with its windows."""
    return PriceCard(
        id=price.pk,
        **{rate.name: getattr(price, rate.name) for rate in fields(Rates)},
        request_nano=price.request_nano,
        context_tiers=tuple(msgspec.convert(price.context_tiers, list[ContextTier])),
        windows=tuple(msgspec.convert(price.windows, list[PriceWindow])),
        discount_ppm=discount_ppm,
    )
