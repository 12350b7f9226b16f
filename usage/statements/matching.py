"""Compares what a provider billed with what the ledger booked, and splits the difference by cause, exactly.

Pure: ``compare`` takes lines and calls and answers comparisons whose variances add up to billed less booked, ``summed`` adds them up
by cause. A billed line that names the provider's request id is compared with the call of that id; all others, and the calls left
over, are summed by day, model and key, as far as the file tells them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from typing import Final

import msgspec

from providers.fields import divide_half_even
from providers.upstream.types import JsonObject, TokenUsage
from usage.models import StatementLine
from usage.money import (
    BUCKETS,
    INPUT_BUCKETS,
    PPM,
    RATE_OF_BUCKET,
    TOKENS_PER_PRICE,
    UsageUnknown,
    card_from_json,
    cost_of,
    rate_of,
)
from usage.statements.reading import REQUESTS, BilledLine, ParsedStatement

Finding = StatementLine.Finding
GroupKey = tuple[date, str, str]
ONE_DAY: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerCall:
    """The ledger lines of one attempt, summed. ``model`` is what the provider calls it, ``day`` is in the statement's zone."""

    day: date
    model: str
    key: str = ""
    upstream_id: str = ""
    nano: int
    usage: TokenUsage
    price_card: JsonObject = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One line of the report. ``variance_nano`` is billed less booked on the statement's days; what price and tokens do not explain
    belongs to the finding."""

    finding: Finding
    matched_by: str
    number: int | None = None
    upstream_id: str = ""
    day: date
    model: str
    billed_nano: int | None = None
    ledger_nano: int | None = None
    variance_nano: int = 0
    price_variance_nano: int = 0
    tokens_variance_nano: int = 0
    billed_tokens: Mapping[str, int] = field(default_factory=dict)
    ledger_tokens: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Split:
    """Billed less booked, by cause; the causes add up to ``variance_nano``."""

    price_nano: int
    tokens_nano: int
    missing_nano: int
    extra_nano: int
    zone_nano: int

    @property
    def variance_nano(self) -> int:
        return self.price_nano + self.tokens_nano + self.missing_nano + self.extra_nano + self.zone_nano


@dataclass(slots=True)
class _Side:
    """One side of a group: a sum of billed lines or of calls."""

    nano: int = 0
    tokens: dict[str, int] = field(default_factory=dict)
    lines: int = 0
    number: int | None = None
    price_card: JsonObject = field(default_factory=dict)

    def add(self, nano: int, tokens: Mapping[str, int]) -> None:
        self.nano += nano
        self.lines += 1
        for name, count in tokens.items():
            self.tokens[name] = self.tokens.get(name, 0) + count


@dataclass(frozen=True, slots=True)
class Scope:
    """What of a statement is compared: its days (both included) and what it tells. Without amounts, money has no variance."""

    starts_on: date
    ends_on: date
    measures: tuple[str, ...]
    has_amounts: bool
    has_models: bool
    has_keys: bool

    def holds(self, day: date) -> bool:
        return self.starts_on <= day <= self.ends_on

    def variance(self, billed: int, booked: int) -> int:
        return billed - booked if self.has_amounts else 0


def scope_of(statement: ParsedStatement, starts_on: date | None = None, ends_on: date | None = None) -> Scope:
    """The days named, else those of the file's lines."""
    days = [line.day for line in statement.lines]
    return Scope(
        starts_on or min(days),
        ends_on or max(days),
        tuple(statement.lines[0].tokens),
        statement.has_amounts,
        statement.has_models,
        statement.has_keys,
    )


def compare(billed: Sequence[BilledLine], calls: Iterable[LedgerCall], scope: Scope) -> list[Comparison]:
    """Every billed line and every call of the statement's days, in one comparison each. ``calls`` reach a day further on both sides."""
    ids = {line.upstream_id for line in billed if line.upstream_id}
    if not ids:
        return _groups(billed, calls, scope)
    by_id: dict[str, LedgerCall] = {}
    rest: list[LedgerCall] = []
    for call in calls:
        if call.upstream_id in ids and call.upstream_id not in by_id:
            by_id[call.upstream_id] = call
        else:
            rest.append(call)
    found: list[Comparison] = []
    unnamed: list[BilledLine] = []
    for line in billed:
        if not line.upstream_id:
            unnamed.append(line)
        elif (match := by_id.pop(line.upstream_id, None)) is None:
            found.append(_only_billed(line, scope))
        else:
            found.append(_request(line, match, scope))
    if unnamed:
        return [*found, *_groups(unnamed, rest, scope)]
    return [*found, *(_only_booked(call, scope) for call in rest if scope.holds(call.day) and _counts(call))]


def summed(comparisons: Iterable[Comparison]) -> Split:
    """What price and tokens leave belongs to the finding; of a matched call it is the day on which the ledger has it."""
    price = tokens = 0
    rest = dict.fromkeys((Finding.MISSING, Finding.EXTRA, Finding.ZONE), 0)
    for each in comparisons:
        price += each.price_variance_nano
        tokens += each.tokens_variance_nano
        cause = each.finding if each.finding in rest else Finding.ZONE
        rest[cause] += each.variance_nano - each.price_variance_nano - each.tokens_variance_nano
    return Split(price, tokens, rest[Finding.MISSING], rest[Finding.EXTRA], rest[Finding.ZONE])


def _counts(call: LedgerCall) -> bool:
    return bool(call.nano or any(getattr(call.usage, bucket) for bucket in BUCKETS))


def told(usage: TokenUsage, measures: Collection[str], requests: int = 1) -> dict[str, int]:
    """The counts of ``usage`` in the buckets a statement has: others are part of its input or output, as everywhere else."""
    counts = dict.fromkeys(measures, 0)
    if REQUESTS in counts:
        counts[REQUESTS] = requests
    for bucket in BUCKETS:
        name = _bucket_in(bucket, measures)
        if name is not None:
            counts[name] += getattr(usage, bucket) or 0
    return counts


def _bucket_in(bucket: str, measures: Collection[str]) -> str | None:
    direction = "input_tokens" if bucket in INPUT_BUCKETS else "output_tokens"
    return next((name for name in (bucket, direction) if name in measures), None)


def _only_billed(line: BilledLine, scope: Scope) -> Comparison:
    return Comparison(
        finding=Finding.MISSING,
        matched_by="request",
        number=line.number,
        upstream_id=line.upstream_id,
        day=line.day,
        model=line.model,
        billed_nano=line.nano,
        variance_nano=scope.variance(line.nano or 0, 0),
        billed_tokens=line.tokens,
    )


def _only_booked(call: LedgerCall, scope: Scope) -> Comparison:
    return Comparison(
        finding=Finding.EXTRA,
        matched_by="request",
        upstream_id=call.upstream_id,
        day=call.day,
        model=call.model,
        ledger_nano=call.nano,
        variance_nano=scope.variance(0, call.nano),
        ledger_tokens=told(call.usage, scope.measures),
    )


def _request(line: BilledLine, call: LedgerCall, scope: Scope) -> Comparison:
    booked = told(call.usage, scope.measures)
    apart = scope.variance(line.nano or 0, call.nano)
    by_tokens = 0
    if booked != line.tokens:
        finding = Finding.TOKENS
        by_tokens = _cost_of_more(call, {name: line.tokens[name] - booked[name] for name in booked}, apart) if scope.has_amounts else 0
    elif apart:
        finding = Finding.PRICE
    else:
        finding = Finding.MATCHED if line.day == call.day else Finding.ZONE
    return Comparison(
        finding=finding,
        matched_by="request",
        number=line.number,
        upstream_id=line.upstream_id,
        day=line.day,
        model=line.model,
        billed_nano=line.nano,
        ledger_nano=call.nano,
        variance_nano=scope.variance(line.nano or 0, call.nano if scope.holds(call.day) else 0),
        price_variance_nano=apart - by_tokens,
        tokens_variance_nano=by_tokens,
        billed_tokens=line.tokens,
        ledger_tokens=booked,
    )


def _cost_of_more(call: LedgerCall, more: Mapping[str, int], otherwise: int) -> int:
    """What the call would have cost above its own cost with the billed tokens; ``otherwise`` where its card cannot tell."""
    counts = {bucket: getattr(call.usage, bucket) for bucket in BUCKETS}
    for name, count in more.items():
        if name != REQUESTS:
            counts[name] = (counts[name] or 0) + count
    try:
        card = card_from_json(call.price_card)
        return cost_of(replace(call.usage, **counts), card) - cost_of(call.usage, card)
    except (UsageUnknown, msgspec.ValidationError):
        return otherwise


def _key(day: date, model: str, key: str, scope: Scope) -> GroupKey:
    return day, model if scope.has_models else "", key if scope.has_keys else ""


def _groups(billed: Sequence[BilledLine], calls: Iterable[LedgerCall], scope: Scope) -> list[Comparison]:
    theirs: dict[GroupKey, _Side] = defaultdict(_Side)
    ours: dict[GroupKey, _Side] = defaultdict(_Side)
    for line in billed:
        side = theirs[_key(line.day, line.model, line.key, scope)]
        side.number = line.number if side.number is None else side.number
        side.add(line.nano or 0, line.tokens)
    for call in calls:
        side = ours[_key(call.day, call.model, call.key, scope)]
        side.price_card = call.price_card
        side.add(call.nano, told(call.usage, scope.measures))
    keys = sorted(set(theirs) | set(ours), key=lambda key: (key[1:], key[0]))
    moved = _moved(keys, theirs, ours, scope)
    return [
        _group(key, theirs.get(key), ours.get(key), scope, is_moved=key in moved)
        for key in keys
        if key in theirs or (scope.holds(key[0]) and _is_any(ours[key]))
    ]


def _is_any(side: _Side) -> bool:
    return bool(side.nano or any(side.tokens.values()))


def _moved(keys: Iterable[GroupKey], theirs: Mapping[GroupKey, _Side], ours: Mapping[GroupKey, _Side], scope: Scope) -> set[GroupKey]:
    """Groups whose difference stands with the opposite sign on a neighbouring day: the same calls, cut at another midnight."""
    moved: set[GroupKey] = set()
    nothing = _Side()
    apart = {key: _difference(theirs.get(key, nothing), ours.get(key, nothing), scope) for key in keys}
    for key, one in apart.items():
        if key in moved or not any(one):
            continue
        after: GroupKey = (key[0] + ONE_DAY, *key[1:])
        other = apart.get(after)
        if other is None or one[1:] != tuple(-each for each in other[1:]):
            continue
        lines = ours.get(key, nothing).lines + ours.get(after, nothing).lines
        if one[0] * other[0] <= 0 and _is_rounding(one[0] + other[0], lines) and not _is_rounding_only(one, lines):
            moved |= {key, after}
    return moved


def _difference(billed: _Side, booked: _Side, scope: Scope) -> tuple[int, ...]:
    tokens = (billed.tokens.get(name, 0) - booked.tokens.get(name, 0) for name in scope.measures)
    return scope.variance(billed.nano, booked.nano), *tokens


def _is_rounding(nano: int, lines: int) -> bool:
    """Every ledger line is rounded once, by at most half a nano-dollar; a provider may round only the sum."""
    return 2 * abs(nano) <= lines


def _is_rounding_only(difference: tuple[int, ...], lines: int) -> bool:
    return not any(difference[1:]) and _is_rounding(difference[0], lines)


def _group(key: GroupKey, billed: _Side | None, booked: _Side | None, scope: Scope, *, is_moved: bool) -> Comparison:
    theirs, ours = billed or _Side(), booked or _Side()
    shown = Comparison(
        finding=Finding.MATCHED,
        matched_by="group",
        number=theirs.number,
        day=key[0],
        model=key[1],
        billed_nano=theirs.nano if billed and scope.has_amounts else None,
        ledger_nano=ours.nano if booked else None,
        variance_nano=scope.variance(theirs.nano, ours.nano if scope.holds(key[0]) else 0),
        billed_tokens=theirs.tokens,
        ledger_tokens=ours.tokens,
    )
    if is_moved:
        return replace(shown, finding=Finding.ZONE)
    if booked is None:
        return replace(shown, finding=Finding.MISSING)
    if billed is None:
        return replace(shown, finding=Finding.EXTRA)
    return _both(shown, ours, scope)


def _both(shown: Comparison, ours: _Side, scope: Scope) -> Comparison:
    """A group both sides have. Another number of requests tells calls that one side lacks from calls with other tokens."""
    more = {name: shown.billed_tokens[name] - ours.tokens.get(name, 0) for name in scope.measures}
    requests = more.pop(REQUESTS, 0)
    if requests:
        return replace(shown, finding=Finding.MISSING if requests > 0 else Finding.EXTRA)
    if not any(more.values()):
        apart = shown.variance_nano
        finding = Finding.MATCHED if _is_rounding(apart, ours.lines) else Finding.PRICE
        return replace(shown, finding=finding, price_variance_nano=apart)
    by_tokens = _at_listed_rates(more, ours.price_card, shown.variance_nano) if scope.has_amounts else 0
    return replace(
        shown,
        finding=Finding.TOKENS,
        price_variance_nano=shown.variance_nano - by_tokens,
        tokens_variance_nano=by_tokens,
    )


def _at_listed_rates(more: Mapping[str, int], price_card: JsonObject, otherwise: int) -> int:
    """So many tokens more at the rates of the group's last call, without its tiers; ``otherwise`` where there is no card."""
    try:
        card = card_from_json(price_card)
    except msgspec.ValidationError:
        return otherwise
    if card.is_ceiling:
        return otherwise
    listed = sum(count * rate_of(card, name) for name, count in more.items() if name in RATE_OF_BUCKET)
    return divide_half_even(listed * (PPM - card.discount_ppm), TOKENS_PER_PRICE * PPM)
