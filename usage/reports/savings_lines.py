"""Ledger lines summed for the savings report: by models asked for and served, card and tier, and at other models' prices."""

# ruff: noqa: S608 - statements are put together from names of ours; values travel as parameters

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from itertools import pairwise
from typing import Any, Final

import msgspec
from django.db import connection
from django.db.models import F

from providers.models import Deployment, Price, Route
from providers.upstream.types import PriceCard, Rates
from usage.models import LedgerEntry, RollUp
from usage.money import BUCKETS, PPM, TOKENS_PER_PRICE, UsageUnknown, card_at, card_from_json, cost_of, knows_fee, rate_of, rates_for
from usage.reports.sql import cards
from usage.reports.sql.totals import Params
from usage.reports.sums import Asked

_IN_USE_FIRST: Final = F("provider__deleted_at").asc(nulls_first=True)
"""A deleted provider's name may have been given again."""


@dataclass(frozen=True, slots=True)
class CardLines:
    """Lines that one card, in one of its tiers, priced alike: their sums."""

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
class Group:
    """Lines of one model asked for and one that served, of one card and tier; ``card`` is as stored."""

    provider: str
    model: str
    served_id: int
    asked: str
    above_input_tokens: int
    card: str
    sums: tuple[int, ...]


def groups_of(asked: Asked, start: datetime, end: datetime) -> Iterator[Group]:
    source, params = _source(asked, start, end)
    statement = (
        f"SELECT provider_slug, model_name, deployment_id, model_asked, above_input_tokens, min(card), {_SUMS} FROM ({source}) p "
        f"GROUP BY 1, 2, 3, 4, 5, card_md5"
    )
    for provider, model, served_id, name, bound, card, *row in _read(statement, params):
        yield Group(provider, model, served_id, name, int(bound), card, tuple(int(value) for value in row))


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


def priced(groups: Iterable[Group]) -> Iterator[tuple[Group, CardLines]]:
    """Each group with a readable card."""
    for group in groups:
        card = _readable(group.card)
        if card is not None:
            yield group, CardLines(card, rates_for(card, group.above_input_tokens + 1), *_counts(group.sums))


def _readable(stored: str) -> PriceCard | None:
    try:
        return card_from_json(json.loads(stored))
    except msgspec.ValidationError:
        return None


_SUMS: Final = ", ".join(f"coalesce(sum({column}), 0)" for column in cards.SUMS)


def _counts(row: Sequence[int]) -> tuple[int, int, dict[str, int], int]:
    count, billed_nano, *tokens, tool_calls = (int(value) for value in row)
    return count, billed_nano, dict(zip(BUCKETS, tokens, strict=True)), tool_calls


def _read(statement: str, params: Params) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, params)
        rows: list[tuple[Any, ...]] = cursor.fetchall()
    return rows


@dataclass(frozen=True, slots=True)
class Choice:
    """The model a name stands for, and its cards with the instants from which they are in force, in order."""

    deployment_id: int
    cards: tuple[tuple[datetime, PriceCard], ...]

    def card_at(self, instant: datetime) -> PriceCard | None:
        return next((card for start, card in reversed(self.cards) if start <= instant), None)


def between_prices(asked: Asked, groups: list[Group], choices: list[Choice]) -> Iterator[tuple[datetime, datetime, Iterable[Group]]]:
    """The range in parts in which no price changes, and the groups of each."""
    start, end = asked.period.start_at, asked.period.end_at
    changes = {at for choice in choices for at, _ in choice.cards if start < at < end}
    if not changes:
        yield start, end, groups
        return
    for first, last in pairwise([start, *sorted(changes), end]):
        yield first, last, groups_of(asked, first, last)


def choice_of(name: str) -> Choice | None:
    """``None``: nobody can say which model it is."""
    wanted = _deployment_asked(name)
    if wanted is None:
        return None
    prices = Price.objects.filter(deployment=wanted).order_by("valid_from", "id")
    return Choice(wanted.pk, tuple((price.valid_from, price.card(wanted.provider.discount_ppm)) for price in prices))


def _deployment_asked(name: str) -> Deployment | None:
    """The first choice of a route, ``provider/model``, or a model that only one provider has; else nobody can say its price."""
    route = Route.objects.filter(name=name).first()
    if route is not None:
        first = route.choices.select_related("deployment__provider").order_by("priority", "id").first()
        return first.deployment if first is not None else None
    slug, _, model = name.partition("/")
    found = [*Deployment.objects.filter(provider__slug=slug, name=model).select_related("provider").order_by(_IN_USE_FIRST)[:1]]
    named = Deployment.objects.filter(name=name).select_related("provider")
    found = found or [*named.filter(provider__deleted_at=None)[:2]] or [*named[:2]]
    return found[0] if len(found) == 1 else None


@dataclass(frozen=True, slots=True)
class Compared:
    """``count`` lines were billed ``billed_nano`` and would have cost ``cost``, both in nano-dollars."""

    count: int
    billed_nano: int
    cost: Fraction


def compare(asked: Asked, of: Mapping[str, str | int], row: Sequence[int], card: PriceCard, start: datetime, end: datetime) -> Compared:
    """Lines with the columns ``of``, whose sums are ``row``, at the price ``card``."""
    lines = CardLines(card, card, *_counts(row))
    if card.windows or card.context_tiers or not knows_fee(card, lines.tool_calls):
        return _line_by_line(asked, of, card, start, end)
    return Compared(lines.count, lines.billed_nano, lines.listed * lines.share_paid)


def _line_by_line(asked: Asked, of: Mapping[str, str | int], card: PriceCard, start: datetime, end: datetime) -> Compared:
    """Where the time of day or the size of the input chooses the price, or calls of tools have none."""
    where, params = cards.of_lines(start, end, {**asked.only.conditions, **of})
    ids = [row[0] for row in _read(f"SELECT e.id FROM {where}", params)]
    lines = [line for first in range(0, len(ids), 1000) for line in LedgerEntry.objects.filter(pk__in=ids[first : first + 1000])]
    costs = [(cost, line.cost_nano) for line in lines if (cost := _cost_at(card, line)) is not None]
    return Compared(len(costs), sum(billed for _, billed in costs), Fraction(sum(cost for cost, _ in costs)))


def _cost_at(card: PriceCard, line: LedgerEntry) -> int | None:
    if not knows_fee(card, line.provider_tool_calls):
        return None
    try:
        return cost_of(line.usage, card_at(card, line.dispatched_at))
    except UsageUnknown:
        return None
