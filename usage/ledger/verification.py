"""Proves that the ledger is whole: seals, prices, attempts and budgets, each recomputed from the lines."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from django.db.models import Count, Exists, OuterRef, Q, Sum

from usage.ledger.seals import GENESIS, digest_of
from usage.models import Attempt, BudgetAdjustment, BudgetPeriod, LedgerDay, LedgerEntry
from usage.money import UsageUnknown, card_from_json, cost_of

CHUNK: Final = 2000


@dataclass(frozen=True, slots=True)
class Violation:
    """``rule`` is the rule that does not hold, ``subject`` where, ``detail`` the figures."""

    rule: str
    subject: str
    detail: str


def verify_ledger() -> Iterator[Violation]:
    """Everything that is wrong; nothing when the ledger is sound. Run it on a quiet database or in one snapshot."""
    yield from _seals()
    yield from _prices()
    yield from _attempts()
    yield from _budgets()


def _seals() -> Iterator[Violation]:
    previous, expected_day = GENESIS, None
    for seal in LedgerDay.objects.order_by("day").iterator(chunk_size=CHUNK):
        if expected_day is not None and seal.day != expected_day:
            yield Violation("seals follow each other", str(seal.day), f"the day {expected_day} has no seal")
        if seal.previous_sha256 != previous:
            yield Violation("a seal names the one before", str(seal.day), f"{seal.previous_sha256[:12]} instead of {previous[:12]}")
        found = digest_of(seal.day, seal.previous_sha256)
        if (found.lines, found.cost_nano, found.sha256) != (seal.lines, seal.cost_nano, seal.sha256):
            told = f"sealed {seal.lines} lines of {seal.cost_nano} nano-dollars, found {found.lines} of {found.cost_nano}"
            yield Violation("sealed lines never change", str(seal.day), told)
        previous, expected_day = seal.sha256, seal.day.fromordinal(seal.day.toordinal() + 1)


def _prices() -> Iterator[Violation]:
    """Measured costs follow from the line's own usage and card; an estimate never exceeds what was held."""
    kinds = (LedgerEntry.Kind.USAGE, LedgerEntry.Kind.CORRECTION)
    for line in LedgerEntry.objects.filter(kind__in=kinds).order_by("pk").iterator(chunk_size=CHUNK):
        total = line.cost_nano
        if line.kind == LedgerEntry.Kind.CORRECTION:
            total += LedgerEntry.objects.get(attempt_id=line.attempt_id, kind=LedgerEntry.Kind.USAGE).cost_nano
        if line.basis == LedgerEntry.Basis.MEASURED and (line.kind == LedgerEntry.Kind.USAGE or line.input_tokens is not None):
            yield from _recomputed(line, total)


def _recomputed(line: LedgerEntry, stored_nano: int) -> Iterator[Violation]:
    try:
        cost_nano = cost_of(line.usage, card_from_json(line.price_card))
    except UsageUnknown as reason:
        yield Violation("a measured line has usage", str(line.pk), str(reason))
        return
    if cost_nano != stored_nano:
        yield Violation("cost follows from usage and card", str(line.pk), f"{stored_nano} stored, {cost_nano} computed")


def _attempts() -> Iterator[Violation]:
    usage_lines = LedgerEntry.objects.filter(attempt_id=OuterRef("pk"), kind=LedgerEntry.Kind.USAGE)
    billed = Q(status__in=(Attempt.Status.SETTLED, Attempt.Status.ESTIMATED))
    corrected = LedgerEntry.objects.filter(attempt_id=OuterRef("pk"), kind=LedgerEntry.Kind.CORRECTION)
    attempts = Attempt.objects.annotate(has_line=Exists(usage_lines), is_corrected=Exists(corrected)).order_by()
    for attempt in attempts.filter(billed, has_line=False).iterator(chunk_size=CHUNK):
        yield Violation("a billed attempt has a line", str(attempt.pk), attempt.status)
    for attempt in attempts.filter(~billed, has_line=True, is_corrected=False).iterator(chunk_size=CHUNK):
        yield Violation("an open or voided attempt has no line", str(attempt.pk), attempt.status)
    twice = LedgerEntry.objects.exclude(kind=LedgerEntry.Kind.ADJUSTMENT).order_by().values("attempt_id", "kind")
    for row in twice.annotate(lines=Count("pk")).filter(lines__gt=1).iterator(chunk_size=CHUNK):
        yield Violation("one line per attempt and kind", str(row["attempt_id"]), f"{row['lines']} {row['kind']} lines")
    known = Attempt.objects.filter(pk=OuterRef("attempt_id"))
    for line in LedgerEntry.objects.filter(~Exists(known)).order_by().iterator(chunk_size=CHUNK):
        yield Violation("a line has an attempt", str(line.pk), str(line.attempt_id))


@dataclass(slots=True)
class _Counted:
    posted_nano: int = 0
    held_nano: int = 0
    posted_tokens: int = 0
    held_tokens: int = 0
    requests: int = 0


def _budgets() -> Iterator[Violation]:
    """``posted`` is the sum of lines and adjustments, ``held`` the sum of open holds."""
    counted = _counted_by_period()
    for period in BudgetPeriod.objects.order_by("pk").iterator(chunk_size=CHUNK):
        expected = counted[period.pk]
        given = BudgetAdjustment.objects.filter(budget_id=period.budget_id, key=period.key).aggregate(
            nano=Sum("amount_nano", default=0), tokens=Sum("tokens", default=0), requests=Sum("requests", default=0)
        )
        for name, should in (
            ("posted_nano", expected.posted_nano + given["nano"]),
            ("held_nano", expected.held_nano),
            ("posted_tokens", expected.posted_tokens + given["tokens"]),
            ("held_tokens", expected.held_tokens),
            ("requests", expected.requests + given["requests"]),
        ):
            if getattr(period, name) != should:
                yield Violation(f"{name} is what the lines say", str(period), f"{getattr(period, name)} stored, {should} computed")


def _counted_by_period() -> defaultdict[int, _Counted]:
    counted: defaultdict[int, _Counted] = defaultdict(_Counted)
    posted: dict[UUID, tuple[int, int]] = {}
    lines = LedgerEntry.objects.order_by().values("attempt_id").annotate(nano=Sum("cost_nano"), tokens=Sum("quota_tokens"))
    for row in lines.iterator(chunk_size=CHUNK):
        posted[row["attempt_id"]] = row["nano"], row["tokens"]
    for attempt in Attempt.objects.order_by().iterator(chunk_size=CHUNK):
        nano, tokens = posted.get(attempt.pk, (0, 0))
        is_open = attempt.status == Attempt.Status.DISPATCHED
        for period_id in attempt.budget_period_ids:
            period = counted[period_id]
            period.posted_nano += nano
            period.posted_tokens += tokens
            period.held_nano += attempt.hold_nano if is_open else 0
            period.held_tokens += attempt.hold_tokens if is_open else 0
            period.requests += 1 if attempt.attempt_no == 1 else 0
    return counted
