"""What caches, discounts and routing saved, from the card copied into each line. Exact rationals, rounded once per figure.

Measured usage lines count; estimates, corrections and adjustments do not, and how many were left out is said. The figures answer
different questions and are not added up.
"""

# ruff: noqa: S608 - statements are put together from names of ours; values travel as parameters

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from itertools import pairwise
from operator import add
from typing import Any, Final

import msgspec
from django.db import connection

from providers.models import Deployment, Price, Route
from providers.upstream.types import PriceCard, Rates
from usage.models import LedgerEntry, RollUp
from usage.money import (
    BUCKETS,
    INPUT_BUCKETS,
    PPM,
    TOKENS_PER_PRICE,
    UsageUnknown,
    card_at,
    card_from_json,
    cost_of,
    knows_fee,
    rate_of,
    rates_for,
)
from usage.report_sums import Asked, sums
from usage.sql import cards
from usage.sql.totals import Params

WRITE_BUCKETS: Final = ("cache_write_tokens", "cache_write_1h_tokens")


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
    tool_calls: int

    @property
    def share_paid(self) -> Fraction:
        return Fraction(PPM - self.card.discount_ppm, PPM)

    @property
    def listed(self) -> Fraction:
        scaled = sum(self.tokens[bucket] * rate_of(self.rates, bucket) for bucket in BUCKETS)
        return Fraction(scaled, TOKENS_PER_PRICE) + self.count * self.card.request_nano + self.tool_calls * (self.card.tool_call_nano or 0)

    def above_input(self, *buckets: str) -> Fraction:
        """What the tokens of ``buckets`` cost above (negative: below) the input rate, as paid."""
        input_rate = rate_of(self.rates, "input_tokens")
        scaled = sum(self.tokens[bucket] * (rate_of(self.rates, bucket) - input_rate) for bucket in buckets)
        return Fraction(scaled, TOKENS_PER_PRICE) * self.share_paid

    @property
    def is_free(self) -> bool:
        return not (self.card.request_nano or self.card.tool_call_nano) and not any(rate_of(self.rates, bucket) for bucket in BUCKETS)


@dataclass(frozen=True, slots=True)
class _Group:
    """Lines of one model asked for and one that served, of one card and tier; ``card`` is as stored."""

    provider: str
    model: str
    served_id: int
    asked: str
    above_input_tokens: int
    card: str
    sums: tuple[int, ...]


def savings(asked: Asked) -> Savings:
    groups = [*_groups(asked, asked.period.start_at, asked.period.end_at)]
    grouped = [*_priced(groups)]
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
        routing=_routing(asked, groups),
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


def _groups(asked: Asked, start: datetime, end: datetime) -> Iterator[_Group]:
    source, params = _source(asked, start, end)
    statement = (
        f"SELECT provider_slug, model_name, deployment_id, model_asked, above_input_tokens, min(card), {_SUMS} FROM ({source}) p "
        f"GROUP BY 1, 2, 3, 4, 5, card_md5"
    )
    for provider, model, served_id, name, bound, card, *row in _read(statement, params):
        yield _Group(provider, model, served_id, name, int(bound), card, tuple(int(value) for value in row))


def _source(asked: Asked, start: datetime, end: datetime) -> tuple[str, Params]:
    """Whole UTC days from the sums by card, what is left at the edges and was posted since then from the lines.

    The sums know no users and no keys, whose own lines are few.
    """
    conditions = asked.only.conditions
    state = RollUp.objects.filter(pk=1).first()
    upto = (state.cards_entry_id if state is not None else None) or 0
    first, last = _days_inside(start, end)
    if not upto or first >= last or conditions.keys() & {"user_id", "api_key_id"}:
        return cards.from_lines(start, end, conditions)
    parts = [cards.from_sums(first, last, conditions), cards.from_lines(first, last, conditions, upto)]
    parts += [cards.from_lines(*edge, conditions) for edge in ((start, first), (last, end)) if edge[0] < edge[1]]
    return " UNION ALL ".join(statement for statement, _ in parts), [value for _, params in parts for value in params]


def _days_inside(start: datetime, end: datetime) -> tuple[datetime, datetime]:
    """The first and the last midnight UTC of a range."""
    first = (start.astimezone(UTC) + timedelta(days=1, microseconds=-1)).replace(hour=0, minute=0, second=0, microsecond=0)
    return first, end.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def _priced(groups: list[_Group]) -> Iterator[_Lines]:
    for group in groups:
        card = _readable(group.card)
        if card is not None:
            rates = rates_for(card, group.above_input_tokens + 1)
            yield _Lines(group.provider, group.model, card, rates, *_line_sums(group.sums))


def _readable(stored: str) -> PriceCard | None:
    try:
        return card_from_json(json.loads(stored))
    except msgspec.ValidationError:
        return None


_SUMS: Final = ", ".join(f"coalesce(sum({column}), 0)" for column in cards.SUMS)


def _line_sums(row: Sequence[int]) -> tuple[int, int, dict[str, int], int]:
    count, billed_nano, *tokens, tool_calls = (int(value) for value in row)
    return count, billed_nano, dict(zip(BUCKETS, tokens, strict=True)), tool_calls


def _read(statement: str, params: Params) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, params)
        rows: list[tuple[Any, ...]] = cursor.fetchall()
    return rows


# --------------------------------------------------------------------------- the model asked for, and the one that served


@dataclass(frozen=True, slots=True)
class _Choice:
    """The model a name stands for, and its cards with the instants from which they are in force, in order."""

    deployment_id: int
    cards: tuple[tuple[datetime, PriceCard], ...]

    def card_at(self, instant: datetime) -> PriceCard | None:
        return next((card for start, card in reversed(self.cards) if start <= instant), None)


def _routing(asked: Asked, groups: list[_Group]) -> RoutingSavings:
    choices = {name: _choice(name) for name in {name for name, _ in _elsewhere(groups)}}
    compared: list[_Compared] = []
    elsewhere = 0
    for start, end, inside in _between_prices(asked, groups, [choice for choice in choices.values() if choice is not None]):
        for (name, served_id), row in _elsewhere(inside).items():
            choice = choices[name]
            if choice is not None and choice.deployment_id == served_id:
                continue
            elsewhere += row[0]
            card = choice.card_at(start) if choice is not None else None
            if card is None:
                continue
            lines = _Lines("", "", card, card, *_line_sums(row))
            if card.windows or card.context_tiers or not knows_fee(card, lines.tool_calls):
                compared.append(_compared_line_by_line(asked, {"model_asked": name, "deployment_id": served_id}, card, start, end))
            else:
                compared.append(_Compared(lines.count, lines.billed_nano, lines.listed * lines.share_paid))
    counted = sum(part.count for part in compared)
    return RoutingSavings(
        lines=counted,
        asked_nano=round(sum((part.asked for part in compared), Fraction())),
        billed_nano=sum(part.billed_nano for part in compared),
        unknown_lines=elsewhere - counted,
    )


def _elsewhere(groups: Iterable[_Group]) -> dict[tuple[str, int], tuple[int, ...]]:
    """Sums of lines whose model is not the one asked for by name, by that name and the deployment that served."""
    found: dict[tuple[str, int], tuple[int, ...]] = {}
    for group in groups:
        if group.asked and group.asked != group.model:
            before = found.get((group.asked, group.served_id), (0,) * len(group.sums))
            found[group.asked, group.served_id] = tuple(map(add, before, group.sums))
    return found


def _between_prices(asked: Asked, groups: list[_Group], choices: list[_Choice]) -> Iterator[tuple[datetime, datetime, Iterable[_Group]]]:
    """The range in parts in which no price changes, and the groups of each."""
    start, end = asked.period.start_at, asked.period.end_at
    changes = {at for choice in choices for at, _ in choice.cards if start < at < end}
    if not changes:
        yield start, end, groups
        return
    for first, last in pairwise([start, *sorted(changes), end]):
        yield first, last, _groups(asked, first, last)


def _choice(name: str) -> _Choice | None:
    wanted = _deployment_asked(name)
    if wanted is None:
        return None
    prices = Price.objects.filter(deployment=wanted).order_by("valid_from", "id")
    return _Choice(wanted.pk, tuple((price.valid_from, price.card(wanted.provider.discount_ppm)) for price in prices))


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


def _compared_line_by_line(asked: Asked, pair: Mapping[str, str | int], card: PriceCard, start: datetime, end: datetime) -> _Compared:
    """Where the time of day or the size of the input chooses the price, or calls of tools have none."""
    where, params = cards.of_lines(start, end, {**asked.only.conditions, **pair})
    ids = [row[0] for row in _read(f"SELECT e.id FROM {where}", params)]
    lines = [line for first in range(0, len(ids), 1000) for line in LedgerEntry.objects.filter(pk__in=ids[first : first + 1000])]
    costs = [(cost, line.cost_nano) for line in lines if (cost := _cost_at(card, line)) is not None]
    return _Compared(len(costs), sum(billed for _, billed in costs), Fraction(sum(cost for cost, _ in costs)))


def _cost_at(card: PriceCard, line: LedgerEntry) -> int | None:
    if not knows_fee(card, line.provider_tool_calls):
        return None
    try:
        return cost_of(line.usage, card_at(card, line.dispatched_at))
    except UsageUnknown:
        return None
