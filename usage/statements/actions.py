"""Reconciles a provider's file with the ledger and keeps what was found. The ledger is only read."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from itertools import groupby
from typing import Any, Final
from zoneinfo import ZoneInfo

from django.db import transaction
from django.utils import timezone

from providers.models import Deployment, Provider
from providers.text import plain
from providers.upstream.types import JsonObject, TokenUsage
from usage.models import LedgerEntry, Statement, StatementLine
from usage.money import COUNTS
from usage.statements.matching import ONE_DAY, Comparison, Finding, LedgerCall, Scope, compare, scope_of, summed
from usage.statements.reading import ParsedStatement, StatementInvalid, parse_statement

DAYS_MAX: Final = 400
CALLS_BY_ID_MAX: Final = 200_000
"""Calls held in memory while request ids are looked up; sums by day need none."""
_SNAPSHOT_DATE: Final = re.compile(r"-(?:latest|20\d{6}|20\d{2}-\d{2}-\d{2})$")
_COLUMNS: Final = (
    "attempt_id",
    "kind",
    "dispatched_at",
    "upstream_id",
    "model_name",
    "api_key_id",
    "cost_nano",
    "price_id",
    "price_card",
    *COUNTS,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class StatementOrder:
    """A file and how to read it. ``columns``: for the generic layout. ``models``: names on the file -> names in the gateway."""

    provider_slug: str
    content: bytes
    file_name: str
    layout: str
    time_zone: str = "UTC"
    columns: Mapping[str, str] = field(default_factory=dict)
    models: Mapping[str, str] = field(default_factory=dict)
    starts_on: date | None = None
    ends_on: date | None = None
    user_id: int | None = None


class ModelNames:
    """How the provider calls the gateway's models, so that both sides of a comparison say the same.

    A billed name means, in this order: what the caller says; the provider's own name of a model; the gateway's name; the one
    model that is left when dates of snapshots, case and separators are put aside (``Claude Haiku 4.5``, ``claude-haiku-4-5-20251001``).
    """

    def __init__(self, models: Iterable[tuple[str, str]], said: Mapping[str, str]) -> None:
        self._upstream = dict(models)
        self._said = said
        self._alike: dict[str, set[str]] = {}
        for upstream in self._upstream.values():
            self._alike.setdefault(_plain(upstream), set()).add(upstream)

    def booked(self, name: str) -> str:
        return self._upstream.get(name, name)

    def billed(self, name: str) -> str:
        if name in self._said:
            return self.booked(self._said[name])
        if name in self._upstream.values():
            return name
        if name in self._upstream:
            return self._upstream[name]
        alike = self._alike.get(_plain(name), set())
        return next(iter(alike)) if len(alike) == 1 else name


def _plain(name: str) -> str:
    """Order of the words put aside too: vendors write ``claude-3-5-haiku`` and ``Claude Haiku 3.5``."""
    plain = re.sub(r"[\s._/-]+", "-", name.lower())
    return "-".join(sorted(_SNAPSHOT_DATE.sub("", plain).split("-")))


def reconcile_statement(order: StatementOrder) -> Statement:
    """Compares the file with the ledger and stores statement and findings. Raises ``StatementInvalid``."""
    zone = _zone(order.time_zone)
    parsed = parse_statement(order.content, order.layout, zone, order.columns)
    scope = _checked(scope_of(parsed, order.starts_on, order.ends_on), parsed)
    names = _names(order)
    billed = [replace(line, model=names.billed(line.model) if line.model else "") for line in parsed.lines]
    with transaction.atomic():
        calls = ledger_calls(order.provider_slug, scope, zone, names)
        found = compare(billed, _bounded(calls) if any(line.upstream_id for line in billed) else calls, scope)
        statement = Statement.objects.create(
            provider_slug=order.provider_slug,
            layout=order.layout,
            columns=dict(order.columns),
            time_zone=order.time_zone,
            file_name=plain(order.file_name[-200:], 200),
            file_sha256=parsed.sha256,
            starts_on=scope.starts_on,
            ends_on=scope.ends_on,
            summary=_summary(found, parsed, order),
            uploaded_by_id=order.user_id,
            uploaded_at=timezone.now(),
        )
        StatementLine.objects.bulk_create((_stored(statement, each) for each in found), batch_size=1000)
    return statement


def has_differences(statement: Statement) -> bool:
    return any(count for finding, count in statement.summary["lines"].items() if finding != Finding.MATCHED)


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise StatementInvalid("The time zone is one such as UTC or America/Los_Angeles.") from None


def _checked(scope: Scope, parsed: ParsedStatement) -> Scope:
    outside = next((line for line in parsed.lines if not scope.holds(line.day)), None)
    if outside is not None:
        raise StatementInvalid(f"Line {outside.number}: {outside.day} is not within {scope.starts_on} to {scope.ends_on}.")
    if scope.ends_on - scope.starts_on >= timedelta(days=DAYS_MAX):
        raise StatementInvalid(f"A statement is of at most {DAYS_MAX} days; this one goes from {scope.starts_on} to {scope.ends_on}.")
    return scope


def _names(order: StatementOrder) -> ModelNames:
    slug = order.provider_slug
    known = Provider.objects.filter(slug=slug).exists() or LedgerEntry.objects.filter(provider_slug=slug).exists()
    if not known:
        raise StatementInvalid(f"There is no provider {slug!r}.")
    return ModelNames(Deployment.objects.filter(provider__slug=slug).values_list("name", "upstream_model"), order.models)


def ledger_calls(provider_slug: str, scope: Scope, zone: tzinfo, names: ModelNames) -> Iterator[LedgerCall]:
    """The provider's calls from a day before to a day after, each with its corrections and adjustments, in order of dispatch."""
    start, end = _instant(scope.starts_on - ONE_DAY, zone), _instant(scope.ends_on + 2 * ONE_DAY, zone)
    lines = LedgerEntry.objects.filter(provider_slug=provider_slug, dispatched_at__gte=start, dispatched_at__lt=end)
    rows = lines.order_by("dispatched_at", "attempt_id", "id").values(*_COLUMNS).iterator(chunk_size=2000)
    cards: dict[int, JsonObject] = {}
    for _, entries in groupby(rows, key=lambda row: row["attempt_id"]):
        yield _call([*entries], zone, names, cards)


def _instant(day: date, zone: tzinfo) -> datetime:
    return datetime.combine(day, time(), zone).astimezone(UTC)


def _call(entries: list[dict[str, Any]], zone: tzinfo, names: ModelNames, cards: dict[int, JsonObject]) -> LedgerCall:
    """Costs add up; a correction's counts replace those of the estimate."""
    first = entries[0]
    measured = next((entry for entry in entries if entry["kind"] == LedgerEntry.Kind.CORRECTION), first)
    card = cards.setdefault(first["price_id"], first["price_card"])
    return LedgerCall(
        day=first["dispatched_at"].astimezone(zone).date(),
        model=names.booked(first["model_name"]),
        key=first["api_key_id"],
        upstream_id=next((entry["upstream_id"] for entry in entries if entry["upstream_id"]), ""),
        nano=sum(entry["cost_nano"] for entry in entries),
        usage=TokenUsage(**{name: measured[name] for name in COUNTS}),
        price_card=card if card == first["price_card"] else first["price_card"],
    )


def _bounded(calls: Iterable[LedgerCall]) -> Iterator[LedgerCall]:
    for read, call in enumerate(calls, 1):
        if read > CALLS_BY_ID_MAX:
            raise StatementInvalid(f"The ledger has more than {CALLS_BY_ID_MAX} calls on these days; reconcile fewer days at once.")
        yield call


def _summary(found: list[Comparison], parsed: ParsedStatement, order: StatementOrder) -> dict[str, Any]:
    split = summed(found)
    billed = sum(line.nano or 0 for line in parsed.lines)
    counts = Counter(each.finding for each in found)
    return {
        "lines": {finding.value: counts[finding] for finding in Finding},
        "file_lines": len(parsed.lines),
        "rounded_lines": parsed.rounded_lines,
        "has_amounts": parsed.has_amounts,
        "billed_nano": billed if parsed.has_amounts else None,
        "ledger_nano": billed - split.variance_nano if parsed.has_amounts else None,
        "variance_nano": split.variance_nano,
        "split_nano": {each.name.removesuffix("_nano"): getattr(split, each.name) for each in fields(split)},
        "models": dict(order.models),
    }


def _stored(statement: Statement, each: Comparison) -> StatementLine:
    return StatementLine(
        statement=statement,
        number=each.number,
        finding=each.finding,
        matched_by=each.matched_by,
        upstream_id=each.upstream_id,
        day=each.day,
        model_name=each.model,
        billed_nano=each.billed_nano,
        ledger_nano=each.ledger_nano,
        variance_nano=each.variance_nano,
        price_variance_nano=each.price_variance_nano,
        tokens_variance_nano=each.tokens_variance_nano,
        billed_tokens=dict(each.billed_tokens),
        ledger_tokens=dict(each.ledger_tokens),
    )
