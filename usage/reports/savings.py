"""What caches, discounts and routing saved, from the card copied into each line. Exact rationals, rounded once per figure.

Measured usage lines count; estimates, corrections and adjustments do not, and how many were left out is said. The figures answer
different questions and are not added up.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from operator import add
from typing import Final

from usage.money import INPUT_BUCKETS
from usage.reports.savings_lines import CardLines, Choice, Compared, Group, between_prices, choice_of, compare, groups_of, priced
from usage.reports.sums import Asked, sums

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
    """Tokens one model served at a price of zero.

    ``reference_nano`` is what ``compared_lines`` of its lines would have cost elsewhere; ``None``: nobody asked, or nobody knows.
    """

    provider: str
    model: str
    lines: int
    input_tokens: int
    output_tokens: int
    compared_lines: int = 0
    reference_nano: int | None = None


@dataclass(frozen=True, slots=True)
class Savings:
    """``counted_lines`` are the measured ones with a readable card, ``left_out_lines`` all others of the range."""

    counted_lines: int
    left_out_lines: int
    cache: CacheSavings
    discounts: DiscountSavings
    routing: RoutingSavings
    free: tuple[FreeUse, ...]


def savings(asked: Asked, reference: Choice | None = None) -> Savings:
    """``reference`` is the model that what free models did is compared with."""
    groups = [*groups_of(asked, asked.period.start_at, asked.period.end_at)]
    grouped = [lines for _, lines in priced(groups)]
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
        free=_free(asked, groups, reference),
    )


def _free(asked: Asked, groups: list[Group], reference: Choice | None) -> tuple[FreeUse, ...]:
    models: dict[tuple[str, str], list[CardLines]] = defaultdict(list)
    for group, lines in priced(groups):
        if lines.is_free:
            models[group.provider, group.model].append(lines)
    elsewhere = _at_reference(asked, groups, reference) if reference is not None else {}
    return tuple(
        _free_use(provider, model, models[provider, model], elsewhere.get((provider, model), [])) for provider, model in sorted(models)
    )


def _free_use(provider: str, model: str, lines: list[CardLines], elsewhere: list[Compared]) -> FreeUse:
    tokens_in = sum(each.tokens[bucket] for each in lines for bucket in INPUT_BUCKETS)
    return FreeUse(
        provider=provider,
        model=model,
        lines=sum(each.count for each in lines),
        input_tokens=tokens_in,
        output_tokens=sum(sum(each.tokens.values()) for each in lines) - tokens_in,
        compared_lines=sum(each.count for each in elsewhere),
        reference_nano=round(sum((each.cost for each in elsewhere), Fraction())) if any(each.count for each in elsewhere) else None,
    )


def _at_reference(asked: Asked, groups: list[Group], reference: Choice) -> dict[tuple[str, str], list[Compared]]:
    """What the lines of each free model would have cost at the reference's prices of their time, where it had one."""
    found: dict[tuple[str, str], list[Compared]] = defaultdict(list)
    for start, end, inside in between_prices(asked, groups, [reference]):
        card = reference.card_at(start)
        if card is None:
            continue
        for group, lines in priced(inside):
            if lines.is_free and not lines.card.context_tiers:  # of others no column says which lines were free
                of: dict[str, str | int] = {"deployment_id": group.served_id, "price_id": lines.card.id, "model_asked": group.asked}
                found[group.provider, group.model].append(compare(asked, of, group.sums, card, start, end))
    return found


def _routing(asked: Asked, groups: list[Group]) -> RoutingSavings:
    choices = {name: choice_of(name) for name in {name for name, _ in _elsewhere(groups)}}
    compared: list[Compared] = []
    elsewhere = 0
    for start, end, inside in between_prices(asked, groups, [choice for choice in choices.values() if choice is not None]):
        for (name, served_id), row in _elsewhere(inside).items():
            choice = choices[name]
            if choice is not None and choice.deployment_id == served_id:
                continue
            elsewhere += row[0]
            card = choice.card_at(start) if choice is not None else None
            if card is None:
                continue
            compared.append(compare(asked, {"model_asked": name, "deployment_id": served_id}, row, card, start, end))
    counted = sum(part.count for part in compared)
    return RoutingSavings(
        lines=counted,
        asked_nano=round(sum((part.cost for part in compared), Fraction())),
        billed_nano=sum(part.billed_nano for part in compared),
        unknown_lines=elsewhere - counted,
    )


def _elsewhere(groups: Iterable[Group]) -> dict[tuple[str, int], tuple[int, ...]]:
    """Sums of lines whose model is not the one asked for by name, by that name and the deployment that served."""
    found: dict[tuple[str, int], tuple[int, ...]] = {}
    for group in groups:
        if group.asked and group.asked != group.model:
            before = found.get((group.asked, group.served_id), (0,) * len(group.sums))
            found[group.asked, group.served_id] = tuple(map(add, before, group.sums))
    return found
