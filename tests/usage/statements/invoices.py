"""Seeded invoices: a ledger of known calls, the file a provider would send for it, and discrepancies planted in that file."""

from __future__ import annotations

import csv
import io
import random
from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import msgspec

from providers.upstream.types import PriceCard, TokenUsage
from usage.models import StatementLine
from usage.money import cost_of
from usage.statements.matching import LedgerCall, Scope

Finding = StatementLine.Finding
PLANTED = (Finding.PRICE, Finding.TOKENS, Finding.MISSING, Finding.EXTRA, Finding.ZONE)
EACH = 10
FIRST, LAST = date(2026, 11, 1), date(2026, 11, 30)
ZONES = ("UTC", "America/Los_Angeles", "Asia/Kolkata", "Australia/Lord_Howe")
BUCKETS = ("input_tokens", "cache_read_tokens", "output_tokens")
COLUMNS = {
    "time": "when", "model": "model", "request_id": "request", "amount_usd": "usd", "requests": "requests",
    **{bucket: bucket for bucket in BUCKETS},
}  # fmt: skip


@dataclass(slots=True)
class Row:
    """A line of the invoice."""

    at: datetime
    model: str
    request: str
    nano: int
    tokens: dict[str, int]


@dataclass(slots=True)
class Invoice:
    zone: ZoneInfo
    scope: Scope
    calls: list[LedgerCall] = field(default_factory=list)
    instants: list[datetime] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    planted: dict[tuple[object, ...], Finding] = field(default_factory=dict)

    def csv(self, *, with_ids: bool) -> bytes:
        text = io.StringIO()
        writer = csv.writer(text)
        columns = [column for name, column in COLUMNS.items() if with_ids or name != "request_id"]
        writer.writerow(columns)
        for row in self.rows:
            sign = "-" if row.nano < 0 else ""
            usd = f"{sign}{abs(row.nano) // 10**9}.{abs(row.nano) % 10**9:09d}"
            cells = {"when": row.at.isoformat(), "model": row.model, "request": row.request, "usd": usd, "requests": 1, **row.tokens}
            writer.writerow([cells[column] for column in columns])
        return text.getvalue().encode()

    @property
    def billed_nano(self) -> int:
        return sum(row.nano for row in self.rows)

    @property
    def booked_nano(self) -> int:
        return sum(call.nano for call in self.calls)


def card_of(seed: random.Random) -> PriceCard:
    return PriceCard(
        id=seed.randrange(1, 100),
        input_nano_per_mtok=seed.randrange(1, 5_000) * 1_000_000,
        output_nano_per_mtok=seed.randrange(1, 20_000) * 1_000_000,
        cache_read_nano_per_mtok=seed.randrange(1, 500) * 1_000_000,
        discount_ppm=seed.choice((0, 0, 50_000)),
    )


def _call(seed: random.Random, number: int, model: str, card: PriceCard, at: datetime, zone: ZoneInfo) -> LedgerCall:
    usage = TokenUsage(
        input_tokens=seed.randrange(1, 5_000), cache_read_tokens=seed.choice((None, seed.randrange(1, 9_000))),
        output_tokens=seed.randrange(1, 3_000), reasoning_tokens=seed.choice((None, seed.randrange(1, 2_000))),
    )  # fmt: skip
    return LedgerCall(
        day=at.astimezone(zone).date(),
        model=model,
        upstream_id=f"chatcmpl-{number}",
        nano=cost_of(usage, card),
        usage=usage,
        price_card=msgspec.to_builtins(card),
    )


def _tokens(usage: TokenUsage) -> dict[str, int]:
    """As a provider counts that knows no reasoning apart."""
    return {
        "input_tokens": usage.input_tokens or 0,
        "cache_read_tokens": usage.cache_read_tokens or 0,
        "output_tokens": (usage.output_tokens or 0) + (usage.reasoning_tokens or 0),
    }


def clean(number: int) -> Invoice:
    """Thirty days of three models with one to four calls each day, and an invoice that agrees with all of them."""
    seed = random.Random(number)
    zone = ZoneInfo(seed.choice(ZONES))
    invoice = Invoice(zone, Scope(FIRST, LAST, ("requests", *BUCKETS), True, True, False))
    cards = {model: card_of(seed) for model in ("large", "small", "tiny")}
    for day in range(30):
        for model, card in cards.items():
            for _ in range(seed.randrange(1, 5)):
                local = datetime.combine(FIRST + timedelta(days=day), time(), zone)
                at = (local.astimezone(UTC) + timedelta(seconds=seed.randrange(23 * 3600))).replace(microsecond=0)
                call = _call(seed, len(invoice.calls), model, card, at, zone)
                invoice.calls.append(call)
                invoice.instants.append(at)
                invoice.rows.append(Row(at, model, call.upstream_id, call.nano, _tokens(call.usage)))
    return invoice


def with_discrepancies(number: int, *, by_id: bool) -> Invoice:
    """The invoice with ten discrepancies of each kind. By groups, one to a group (a zone's takes two), so that each can be told."""
    invoice = clean(number)
    seed = random.Random(number + 1_000_000)
    taken: set[tuple[date, str]] = set()
    for finding in PLANTED:
        for planted in range(EACH):
            place = _free_place(invoice, seed, taken, finding, by_id=by_id)
            _plant(invoice, seed, place, finding, f"{finding}-{planted}", by_id=by_id)
    assert Counter(invoice.planted.values()) == {finding: EACH * (2 if finding == Finding.ZONE and not by_id else 1) for finding in PLANTED}
    return invoice


def _free_place(invoice: Invoice, seed: random.Random, taken: set[tuple[date, str]], finding: Finding, *, by_id: bool) -> int:
    """A row whose group, and the next day's for a zone, has no discrepancy yet; by id any row may be next to another."""
    while True:
        place = seed.randrange(len(invoice.rows))
        row = invoice.rows[place]
        day = row.at.astimezone(invoice.zone).date()
        if not row.request.startswith("chatcmpl-") or ("row", row.request) in invoice.planted:
            continue
        if finding == Finding.ZONE and day == LAST:
            continue
        needed = {(day, row.model)} | ({(day + timedelta(days=1), row.model)} if finding == Finding.ZONE else set())
        if by_id or not needed & taken:
            taken |= needed
            return place


def _plant(invoice: Invoice, seed: random.Random, place: int, finding: Finding, name: str, *, by_id: bool) -> None:
    row = invoice.rows[place]
    day = row.at.astimezone(invoice.zone).date()
    invoice.planted[("row", row.request) if by_id else (day, row.model)] = finding
    if finding == Finding.PRICE:
        row.nano += seed.choice((-1, 1)) * seed.randrange(10, 10_000_000)
    elif finding == Finding.TOKENS:
        bucket = seed.choice(BUCKETS)
        call = next(call for call in invoice.calls if call.upstream_id == row.request)
        card = msgspec.convert(call.price_card, PriceCard)
        row.tokens = {**row.tokens, bucket: row.tokens[bucket] + seed.randrange(1, 5_000)}
        changed = replace(call.usage, **{bucket: (getattr(call.usage, bucket) or 0) + row.tokens[bucket] - _tokens(call.usage)[bucket]})
        row.nano = cost_of(changed, card)
    elif finding == Finding.MISSING:
        if by_id:
            del invoice.planted["row", row.request]
            invoice.planted["row", name] = finding
        invoice.rows.append(replace(row, request=name, tokens=dict(row.tokens)))
    elif finding == Finding.EXTRA:
        invoice.rows.remove(row)
    else:
        row.at += timedelta(days=1)
        if not by_id:
            invoice.planted[day + timedelta(days=1), row.model] = finding
