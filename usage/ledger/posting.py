"""One posting transaction: closes attempts, then admits reservations, for a whole batch in a constant number of statements.

It runs in the calling thread on that thread's connection and knows nothing of queues. The attempt id makes it idempotent:
a batch whose commit is uncertain may be applied again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from time import monotonic
from typing import Final
from uuid import UUID

import msgspec
from django.db import InterfaceError, OperationalError, connection, transaction
from django.db.backends.utils import CursorWrapper
from django.utils.timezone import get_default_timezone

from providers.clock import Reading
from providers.upstream.types import TokenUsage
from usage.ledger.failed_attempts import FailedAttempt, give_back
from usage.ledger.sql.postgresql import PostgresStatements
from usage.ledger.sql.rows import ORPHANED, AttemptRow, ClosedAttempt, ClosingRow, LockedPeriod, PeriodChange, Statements
from usage.ledger.sql.sqlite import SqliteStatements
from usage.ledger.types import MEASURED, AttemptConflict, LedgerError, ReserveOrder, Settlement, StaleConfiguration, UnpricedTarget, Void
from usage.money import BUCKETS, COUNTS, MAX_TOKENS, card_json
from usage.periods import period_key

KNOWN_PERIODS_MAX: Final = 10_000
MAX_QUOTA_TOKENS: Final = len(BUCKETS) * MAX_TOKENS

PeriodKey = tuple[int, str]
"""Budget id and period key."""
PeriodIds = dict[PeriodKey, int]

_STATEMENTS: dict[str, Statements] = {"postgresql": PostgresStatements(), "sqlite": SqliteStatements()}


class BatchConflict(Exception):
    """The conditional update met another cap than admission did; nothing was written."""


class CommitUncertain(Exception):
    """The connection failed while committing: the batch may or may not have been written."""


@dataclass(frozen=True, slots=True)
class Work:
    """A batch. ``orders`` are admitted first come, first served, after ``closings`` returned what they held."""

    process_id: UUID
    now: datetime
    orders: Sequence[ReserveOrder] = ()
    closings: Sequence[ClosingRow] = ()


@dataclass(slots=True)
class Outcome:
    """``refusals`` by attempt id (an order without one is reserved); ``closed`` are the attempts this batch closed.

    ``reading`` is what the database's clock showed meanwhile; ``None`` where it has none of its own.
    """

    refusals: dict[UUID, LedgerError] = field(default_factory=dict)
    closed: set[UUID] = field(default_factory=set)
    reading: Reading | None = None


def current_statements() -> Statements:
    return _STATEMENTS[connection.vendor]


def apply_batch(work: Work, known: PeriodIds) -> Outcome:
    """Applies ``work`` in one transaction. ``known`` caches period ids between calls and is brought up to date.

    Raises ``CommitUncertain``, ``BatchConflict`` and ``django.db.Error``; then all or, where uncertain, maybe nothing was written.
    """
    reached_commit = False
    if len(known) > KNOWN_PERIODS_MAX:
        known.clear()
    try:
        with transaction.atomic(durable=True):
            with connection.cursor() as cursor:
                posting = _Posting(cursor, work, known)
                outcome = posting.run()
            reached_commit = True
    except (OperationalError, InterfaceError) as error:
        if reached_commit:
            raise CommitUncertain from error
        raise
    known.update(posting.resolved)
    for key in posting.gone:
        known.pop(key, None)
    return outcome


def closing_row(closing: Settlement | Void) -> ClosingRow:
    if isinstance(closing, Void):
        return ClosingRow(
            attempt_id=closing.attempt_id.hex,
            status="voided",
            error_code=stored_text(closing.error_code, 60),
            latency_ms=closing.latency_ms,
        )
    usage = closing.usage if closing.basis == MEASURED else stored_usage(closing.usage)
    return ClosingRow(
        attempt_id=closing.attempt_id.hex,
        status="settled" if closing.basis == MEASURED else "estimated",
        cost_nano=closing.cost_nano,
        basis=closing.basis,
        upstream_id=stored_text(closing.upstream_id, 200),
        error_code=stored_text(closing.error_code, 60),
        note=stored_text(closing.note, 200),
        latency_ms=closing.latency_ms,
        first_byte_ms=closing.first_byte_ms,
        input_tokens=usage.input_tokens,
        cache_read_tokens=usage.cache_read_tokens,
        cache_write_tokens=usage.cache_write_tokens,
        cache_write_1h_tokens=usage.cache_write_1h_tokens,
        output_tokens=usage.output_tokens,
        reasoning_tokens=usage.reasoning_tokens,
        audio_input_tokens=usage.audio_input_tokens,
        audio_output_tokens=usage.audio_output_tokens,
        image_input_tokens=usage.image_input_tokens,
        quota_tokens=_quota_tokens(usage),
        reported_cost_nano=usage.reported_cost_nano,
        provider_tool_calls=usage.provider_tool_calls,
    )


def _quota_tokens(usage: TokenUsage) -> int | None:
    """What the provider counted in both directions; ``None`` where one is unknown or the figures are absurd."""
    counted = [usage.total_input_tokens, usage.total_output_tokens]
    known = [count for count in counted if count is not None and 0 <= count <= MAX_QUOTA_TOKENS]
    return sum(known) if len(known) == len(counted) else None


def stored_usage(usage: TokenUsage) -> TokenUsage:
    """What the database can keep and add up of foreign counts: one beyond belief is unknown. A measured cost has none of these."""
    lost = {name: None for name in COUNTS if not 0 <= (getattr(usage, name) or 0) <= MAX_TOKENS}
    return replace(usage, **lost) if lost else usage


def stored_text(text: str, limit: int) -> str:
    """What the database can keep of a foreign string: no NUL, no lone surrogate, at most ``limit`` characters."""
    text = text[:limit]
    if text.isascii() and "\0" not in text:
        return text
    return text.replace("\0", "\N{SYMBOL FOR NULL}").encode("utf-8", "replace").decode()


class _Posting:
    """The steps of one transaction, in lock order: attempts by id, then periods by id."""

    def __init__(self, cursor: CursorWrapper, work: Work, known: PeriodIds) -> None:
        self._cursor = cursor
        self._sql = current_statements()
        self._work = work
        self._known = known
        self._outcome = Outcome()
        self._changes: dict[int, PeriodChange] = {}
        self._failed: list[FailedAttempt] = []
        self._locked: dict[int, LockedPeriod] = {}
        self.resolved: PeriodIds = {}
        self.gone: set[PeriodKey] = set()

    def run(self) -> Outcome:
        opening = self._sql.open(self._cursor)
        version = opening.version
        if opening.database_now is not None:
            self._outcome.reading = Reading(opening.database_now, monotonic())
        self._close()
        orders = self._orders_of(version)
        keys = {order.attempt_id: _period_keys(order) for order in orders}
        self._resolve({key for each in keys.values() for key in each})
        self._lock(keys.values())
        self._give_back_failed()
        admitted = [(order, ids) for order in orders if (ids := self._admit(order, keys[order.attempt_id], version)) is not None]
        self._insert(admitted)
        self._accept_replays()
        self._apply_changes()
        return self._outcome

    def _close(self) -> None:
        rows = [*{row.attempt_id: row for row in reversed(self._work.closings)}.values()]
        if not rows:
            return
        self._record_closed(self._sql.close_attempts(self._cursor, rows, self._work.now), rows)
        # An estimate never corrects another sweeper's estimate.
        late = [row for row in rows if row.error_code != ORPHANED and UUID(hex=row.attempt_id) not in self._outcome.closed]
        if late:
            self._record_closed(self._sql.correct_orphans(self._cursor, late, self._work.now), late)

    def _record_closed(self, closed: Iterable[ClosedAttempt], rows: Iterable[ClosingRow]) -> None:
        closings = {UUID(hex=row.attempt_id): row for row in rows}
        for attempt in closed:
            self._outcome.closed.add(attempt.id)
            if (closing := closings[attempt.id]).has_failed:
                self._failed.append(FailedAttempt(closing, attempt))
            for period_id in attempt.period_ids:
                change = self._change(period_id)
                change.held_nano -= attempt.released_nano
                change.posted_nano += attempt.posted_nano
                change.held_tokens -= attempt.released_tokens
                change.posted_tokens += attempt.posted_tokens

    def _change(self, period_id: int) -> PeriodChange:
        return self._changes.setdefault(period_id, PeriodChange(period_id))

    def _orders_of(self, version: int) -> list[ReserveOrder]:
        """The orders worth admitting, each attempt once; refuses stale and unpriced ones."""
        orders: dict[UUID, ReserveOrder] = {}
        for order in self._work.orders:
            if order.config_version < version:
                self._outcome.refusals[order.attempt_id] = StaleConfiguration(version)
            elif order.card is None:
                self._outcome.refusals[order.attempt_id] = UnpricedTarget(order.target.address)
            else:
                orders.setdefault(order.attempt_id, order)
        return [*orders.values()]

    def _resolve(self, keys: set[PeriodKey]) -> None:
        unknown = sorted(keys - self._known.keys())
        if unknown:
            self.resolved = self._sql.resolve_periods(self._cursor, unknown)

    def _period_id(self, key: PeriodKey) -> int | None:
        return self._known.get(key) or self.resolved.get(key)

    def _lock(self, keys: Iterable[tuple[PeriodKey, ...]]) -> None:
        ids = {*self._changes, *(period_id for each in keys for key in each if (period_id := self._period_id(key)) is not None)}
        if ids:
            self._locked = self._sql.lock_periods(self._cursor, ids)
        for period in self._locked.values():
            if change := self._changes.get(period.id):
                period.held_nano += change.held_nano
                period.posted_nano += change.posted_nano
                period.held_tokens += change.held_tokens
                period.posted_tokens += change.posted_tokens

    def _give_back_failed(self) -> None:
        """To the budgets that do not charge failed attempts, before anything is admitted to them."""
        for period, entry in give_back(self._failed, self._locked, self._work.now):
            change = self._change(period.id)
            change.posted_nano += entry.amount_nano
            change.posted_tokens += entry.tokens
            period.posted_nano += entry.amount_nano
            period.posted_tokens += entry.tokens

    def _admit(self, order: ReserveOrder, keys: tuple[PeriodKey, ...], version: int) -> list[int] | None:
        """The ids of the periods that now hold the order; ``None`` when it was refused. All scopes or none."""
        periods: list[LockedPeriod] = []
        for key in keys:
            period = self._locked.get(self._period_id(key) or 0)
            if period is None:
                self.gone.add(key)
                self._outcome.refusals[order.attempt_id] = StaleConfiguration(version)
                return None
            periods.append(period)
        for period in periods:
            refusal = period.refusal_of(order.hold_nano, order.hold_tokens, order.requests)
            if refusal is not None:
                self._outcome.refusals[order.attempt_id] = refusal
                return None
        for period in periods:
            period.held_nano += order.hold_nano
            period.held_tokens += order.hold_tokens
            period.requests += order.requests
        return [period.id for period in periods]

    def _insert(self, admitted: list[tuple[ReserveOrder, list[int]]]) -> None:
        if not admitted:
            return
        rows = [_attempt_row(order, ids, self._work.process_id) for order, ids in admitted]
        inserted = self._sql.insert_attempts(self._cursor, rows)
        for order, ids in admitted:
            if order.attempt_id not in inserted:
                self._outcome.refusals[order.attempt_id] = AttemptConflict(f"{order.request_id} #{order.attempt_no} exists")
                continue
            for period_id in ids:
                change = self._change(period_id)
                change.held_nano += order.hold_nano
                change.wanted_nano += order.hold_nano
                change.held_tokens += order.hold_tokens
                change.wanted_tokens += order.hold_tokens
                change.requests += order.requests

    def _accept_replays(self) -> None:
        """An attempt that was reserved before keeps its first outcome, whatever happened since."""
        if self._outcome.refusals:
            for attempt_id in self._sql.existing_attempts(self._cursor, self._outcome.refusals.keys()):
                del self._outcome.refusals[attempt_id]

    def _apply_changes(self) -> None:
        changes = [change for period_id, change in self._changes.items() if period_id in self._locked and not change.is_empty]
        if changes and self._sql.change_periods(self._cursor, changes) != len(changes):
            raise BatchConflict


def _period_keys(order: ReserveOrder) -> tuple[PeriodKey, ...]:
    tz = get_default_timezone()
    return tuple((ref.budget_id, period_key(order.dispatched_at, ref.unit, tz)) for ref in order.budgets)


def _attempt_row(order: ReserveOrder, period_ids: list[int], process_id: UUID) -> AttemptRow:
    target, card = order.target, order.card
    assert card is not None, "an unpriced order was refused before"
    return AttemptRow(
        id=order.attempt_id.hex,
        request_id=stored_text(order.request_id, 64),
        attempt_no=order.attempt_no,
        process_id=process_id.hex,
        user_id=order.user_id,
        api_key_id=stored_text(order.api_key_id, 12),
        team_id=order.team_id,
        context=stored_text(order.context, 50),
        dialect=stored_text(order.dialect, 30),
        model_asked=stored_text(order.model_asked, 200),
        provider_id=target.provider.id,
        provider_slug=target.provider.slug,
        deployment_id=target.id,
        model_name=target.name,
        price_id=card.id,
        price_card=msgspec.Raw(card_json(card).encode()),
        stream=order.stream,
        hold_nano=order.hold_nano,
        hold_tokens=order.hold_tokens,
        budget_period_ids=period_ids,
        dispatched_at=str(order.dispatched_at.astimezone(UTC).replace(tzinfo=None)),
    )
