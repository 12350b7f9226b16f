"""Closing a month: from then on its files are the same for ever. Nothing opens a closed month again."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import structlog
from celery import current_app
from django.db import IntegrityError, transaction
from django.db.models import Count, Min, Sum
from kombu.exceptions import OperationalError

from usage.errors import ActionRefused
from usage.exports.csv_file import COLUMNS, csv_chunks
from usage.exports.lines import Tally, month_source
from usage.exports.months import BillingMonths, MonthSpan, month_after, month_around, span_of
from usage.models import Attempt, ClosedMonth, LedgerEntry

CUTOFF_BEFORE_NOW: Final = timedelta(minutes=1)
"""A posting transaction takes two seconds at most; the rest is for clocks of several machines that differ."""
CLOSED_AT_ONCE_LINES_MAX: Final = 50_000
"""More take longer to hash than anybody should wait for an answer: a worker closes such a month."""
CLOSE_TASK: Final = "usage.close_month"

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class MonthState:
    """One row of the list of months. ``closed`` is ``None`` for an open month, whose figures are those so far."""

    span: MonthSpan
    closed: ClosedMonth | None
    lines: int
    late_lines: int
    cost_nano: int
    can_close: bool


def request_close(month: str, actor_id: int | None, now: datetime) -> ClosedMonth | None:
    """Closes a month, or asks a worker to when it has many lines (``None``). Raises as ``close_month`` does.

    Raises ``ActionRefused`` too when the worker could not be told; nothing has happened then.
    """
    span, months = span_of(month), BillingMonths.current()
    _check_turn(span, months, now - CUTOFF_BEFORE_NOW)
    if months.lines(month).count() <= CLOSED_AT_ONCE_LINES_MAX:
        return close_month(month, actor_id, now)
    try:
        current_app.send_task(CLOSE_TASK, args=[month, actor_id], retry=False)
    except (OperationalError, OSError) as error:
        log.warning("no worker could be asked to close a month", month=month, error=type(error).__name__)
        raise ActionRefused(f"{month} has many lines and no worker could be asked to close it. Try again later.") from error
    return None


def close_month(month: str, actor_id: int | None, now: datetime) -> ClosedMonth:
    """Fixes ``month`` with everything posted until a minute ago, and the SHA-256 of its CSV.

    Raises ``MonthInvalid``, and ``ActionRefused`` when it is not over, closed already, not the next in turn, or has open attempts.
    """
    span, cutoff_at = span_of(month), now - CUTOFF_BEFORE_NOW
    months = BillingMonths.current()
    _check_turn(span, months, cutoff_at)
    row = ClosedMonth(
        month=month,
        starts_at=span.starts_at,
        ends_at=span.ends_at,
        cutoff_at=cutoff_at,
        columns=len(COLUMNS),
        closed_by_id=actor_id,
        closed_at=now,
    )
    row.sha256, tally = digest_of(month, BillingMonths([*ClosedMonth.objects.order_by("month"), row]))
    row.lines, row.late_lines, row.cost_nano = tally.lines, tally.late_lines, tally.nano
    try:
        with transaction.atomic():
            row.save(force_insert=True)
    except IntegrityError as error:
        raise ActionRefused(f"{month} was closed by somebody else just now.") from error
    return row


def digest_of(month: str, months: BillingMonths) -> tuple[str, Tally]:
    """The SHA-256 of the month's CSV as it is today, and its totals."""
    digest, tally = hashlib.sha256(), Tally()
    for piece in csv_chunks(month_source(month, months), tally=tally):
        digest.update(piece)
    return digest.hexdigest(), tally


def is_unchanged(row: ClosedMonth) -> bool:
    """Whether the month's CSV still has the SHA-256 it was closed with."""
    return digest_of(row.month, BillingMonths.current())[0] == row.sha256


def next_to_close(months: BillingMonths) -> str | None:
    """The oldest open month with lines, or ``None`` while the ledger is empty."""
    if months.last_closed is not None:
        return month_after(months.last_closed)
    first = LedgerEntry.objects.aggregate(first=Min("dispatched_at"))["first"]
    return None if first is None else month_around(first)


def months_until(now: datetime) -> list[MonthState]:
    """Every month from the first line to now, newest first. The costs of all of them are the cost of the ledger."""
    first = LedgerEntry.objects.aggregate(first=Min("dispatched_at"))["first"]
    months = BillingMonths.current()
    if first is None:
        return []
    turn = next_to_close(months)
    names = [min(month_around(first), months.first_closed or month_around(first))]
    last = max(month_around(now), months.last_closed or "", _newest_month())
    while names[-1] < last:
        names.append(month_after(names[-1]))
    return [_state(month, months, turn, now) for month in reversed(names)]


def _newest_month() -> str:
    newest = LedgerEntry.objects.order_by("-dispatched_at").values_list("dispatched_at", flat=True).first()
    return "" if newest is None else month_around(newest)


def _state(month: str, months: BillingMonths, turn: str | None, now: datetime) -> MonthState:
    row = months.closed(month)
    if row is not None:
        return MonthState(MonthSpan(month, row.starts_at, row.ends_at), row, row.lines, row.late_lines, row.cost_nano, False)
    span, lines = span_of(month), months.lines(month).order_by()
    sums = lines.aggregate(lines=Count("id"), cost=Sum("cost_nano"))
    late = lines.filter(dispatched_at__lt=span.starts_at).count()
    can_close = month == turn and span.ends_at <= now - CUTOFF_BEFORE_NOW
    return MonthState(span, None, sums["lines"], late, sums["cost"] or 0, can_close)


def _check_turn(span: MonthSpan, months: BillingMonths, cutoff_at: datetime) -> None:
    turn = next_to_close(months)
    if months.closed(span.month) is not None:
        raise ActionRefused(f"{span.month} is closed already.")
    if span.ends_at > cutoff_at:
        raise ActionRefused(f"{span.month} is not over yet.")
    if turn is None or span.month < turn:
        raise ActionRefused(f"The ledger has nothing to close in {span.month}.")
    if span.month > turn:
        raise ActionRefused(f"Months are closed in turn: close {turn} first.")
    open_attempts = Attempt.objects.filter(status=Attempt.Status.DISPATCHED, dispatched_at__lt=span.ends_at).count()
    if open_attempts:
        raise ActionRefused(f"{open_attempts} calls of {span.month} are still open. Try again when they have ended.")
