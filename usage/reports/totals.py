"""Totals: the ledger summed by quarter of an hour, day and month of dispatch. Derived, so starting over is always safe.

Totals hold exactly the lines up to ``RollUp.last_entry_id``, and that id moves in the transaction that adds the lines. Whoever
reads totals and the lines after that id from one snapshot therefore has every line once, at any moment: before, while and after
a roll-up runs, whenever a line was posted and whatever day it belongs to.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from typing import Final

from django.db import connection, transaction
from django.db.models import Count, F, Max, Min, Model
from django.utils import timezone

from usage.models import (
    LedgerEntry,
    RollUp,
    UsageByCard,
    UsageDay,
    UsageHalfHour,
    UsageHalfHourSum,
    UsageMonth,
    UsageSums,
    UsageTeamDay,
    UsageTotal,
)
from usage.periods import first_instant
from usage.reports.sql import cards, totals

SLOT: Final = timedelta(minutes=15)
"""Of ``UsageTotal``. Every offset a time zone has had since 1980 is a multiple of it, so hours and days of all zones are sums of slots."""
QUARTER_MINUTES: Final = 15
HALF_HOUR_MINUTES: Final = 30
CHUNK_LINES: Final = 50_000
"""Lines added per transaction."""
RUN_LINES_MAX: Final = 2_000_000
"""Lines added per run; the next one goes on."""
WRITERS_WAIT_S: Final = 5.0
_POLL_S: Final = 0.005

# Who writes to the ledger now. An INSERT takes this lock before it draws the line's id and keeps it until its transaction is visible.
_WRITERS: Final = """
SELECT virtualtransaction FROM pg_locks
WHERE locktype = 'relation' AND mode = 'RowExclusiveLock' AND granted AND pid <> pg_backend_pid()
  AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) AND relation = %s::regclass
"""


def roll_up(now: datetime, lines_max: int = RUN_LINES_MAX) -> int:
    """Adds the lines posted since the last run to the totals; returns how many. Concurrent calls take turns."""
    settled_id = last_settled_id()
    if settled_id is None:
        return 0
    added = _all_chunks(lambda: _add_chunk(settled_id, now), lines_max)
    if RollUp.objects.exclude(cards_entry_id=F("last_entry_id")).exists():
        _all_chunks(_add_card_chunk, lines_max)
    return added


def _all_chunks(add: Callable[[], int], lines_max: int) -> int:
    added = 0
    while added < lines_max and (lines := add()):
        added += lines
    return added


def start_over() -> None:
    """Empties the totals; the next runs rebuild them from the ledger. Reports stay exact meanwhile, only slower."""
    with transaction.atomic():
        state = _locked_state()
        tables: tuple[type[Model], ...] = (UsageTotal, UsageByCard, *_HALF_HOURS, *_SPANS)
        for table in tables:
            table._default_manager.all().delete()
        state.last_entry_id = state.half_hours_entry_id = state.cards_entry_id = 0
        state.save()


def last_settled_id() -> int | None:
    """The highest id below which no line can appear any more; ``None``: a transaction on the ledger does not end.

    Ids are drawn before lines become visible, so a line may appear below one that is visible already. This waits, without
    holding anybody up, until the transactions that could do so have ended. On SQLite there is one writer at a time.
    """
    last_id: int = LedgerEntry.objects.aggregate(last_id=Max("id"))["last_id"] or 0
    if connection.vendor != "postgresql":
        return last_id
    deadline = time.monotonic() + WRITERS_WAIT_S
    writers = _writers()
    while writers:
        if time.monotonic() > deadline:
            return None
        time.sleep(_POLL_S)
        writers &= _writers()
    return last_id


def day_starts(first: datetime, last: datetime, zone: tzinfo) -> Iterator[datetime]:
    """When the days of ``zone`` from that of ``first`` to that of ``last`` begin, in UTC; a day the calendar skipped is left out."""
    # The day before too: where clocks go back over midnight, an instant of the first midnight's day has the date before.
    day, before = first.astimezone(zone).date() - timedelta(days=1), None
    end = last.astimezone(zone).date() + timedelta(days=1)
    while day <= end:
        start = first_instant(day, zone)
        if start != before:
            yield start
        day, before = day + timedelta(days=1), start


def month_starts(first: datetime, last: datetime, zone: tzinfo) -> Iterator[datetime]:
    """When the months of ``zone`` begin, likewise."""
    month = (first.astimezone(zone).date() - timedelta(days=1)).replace(day=1)
    end = last.astimezone(zone).date() + timedelta(days=1)
    while month <= end:
        yield first_instant(month, zone)
        month = (month + timedelta(days=32)).replace(day=1)


def _writers() -> set[str]:
    with connection.cursor() as cursor:
        cursor.execute(_WRITERS, [totals.LEDGER])
        return {row[0] for row in cursor.fetchall()}


@dataclass(frozen=True, slots=True)
class _Chunk:
    """Lines with ids above ``after`` up to ``upto``."""

    after: int
    upto: int
    lines: int
    first_at: datetime
    last_at: datetime


def _next_chunk(after: int, settled_id: int) -> _Chunk | None:
    fresh = LedgerEntry.objects.filter(pk__gt=after, pk__lte=settled_id).order_by()
    first_id = fresh.aggregate(first=Min("pk"))["first"]
    if first_id is None:
        return None
    upto = min(settled_id, first_id + CHUNK_LINES - 1)
    reach = fresh.filter(pk__lte=upto).aggregate(first=Min("dispatched_at"), last=Max("dispatched_at"), lines=Count("pk"))
    return _Chunk(first_id - 1, upto, reach["lines"], reach["first"], reach["last"])


def _add_chunk(settled_id: int, now: datetime) -> int:
    """How many lines it added; 0: there is none left."""
    with transaction.atomic():
        state = _locked_state()
        _follow_time_zone(state)
        _catch_up_half_hours(state)
        chunk = _next_chunk(state.last_entry_id, settled_id)
        if chunk is None:
            return 0
        totals.add_lines_to_slots(totals.QUARTERS, QUARTER_MINUTES, chunk.after, chunk.upto)
        for half_hours in _HALF_HOURS:
            totals.add_lines_to_slots(half_hours._meta.db_table, HALF_HOUR_MINUTES, chunk.after, chunk.upto)
        for table, spans in _spans(chunk.first_at, chunk.last_at):
            totals.add_lines_to_spans(table._meta.db_table, spans, chunk.after, chunk.upto)
        if (state.cards_entry_id or 0) == state.last_entry_id:
            cards.add_lines(chunk.after, chunk.upto)
            state.cards_entry_id = chunk.upto
        state.last_entry_id = state.half_hours_entry_id = chunk.upto
        state.rolled_up_at = now
        state.save()
    return chunk.lines


def _add_card_chunk() -> int:
    """Likewise, for sums by card that are behind the totals because a release that did not know them has added lines."""
    with transaction.atomic():
        state = _locked_state()
        chunk = _next_chunk(state.cards_entry_id or 0, state.last_entry_id)
        if chunk is None:
            return 0
        cards.add_lines(chunk.after, chunk.upto)
        state.cards_entry_id = chunk.upto
        state.save()
    return chunk.lines


def _locked_state() -> RollUp:
    RollUp.objects.get_or_create(pk=1, defaults={"time_zone": str(timezone.get_default_timezone())})
    return RollUp.objects.select_for_update().get(pk=1)


def _follow_time_zone(state: RollUp) -> None:
    """Sums the days anew after ``settings.TIME_ZONE`` was changed."""
    zone = timezone.get_default_timezone()
    if state.time_zone == str(zone):
        return
    reach = UsageTotal.objects.aggregate(first=Min("slot"), last=Max("slot"))
    for table, spans in _spans(reach["first"], reach["last"]) if reach["first"] is not None else ():
        table._default_manager.all().delete()
        totals.fill_spans(table._meta.db_table, spans)
    state.time_zone = str(zone)
    state.save()


def _catch_up_half_hours(state: RollUp) -> None:
    """Sums the half hours anew after a release that did not know them has added lines."""
    if state.half_hours_entry_id == state.last_entry_id:
        return
    for table in _HALF_HOURS:
        table._default_manager.all().delete()
        totals.fill_slots(table._meta.db_table, HALF_HOUR_MINUTES)
    state.half_hours_entry_id = state.last_entry_id
    state.save()


_HALF_HOURS: Final[tuple[type[UsageSums], ...]] = (UsageHalfHour, UsageHalfHourSum)
_SPANS: Final[tuple[type[UsageSums], ...]] = (UsageDay, UsageTeamDay, UsageMonth)


def _spans(first: datetime, last: datetime) -> Iterator[tuple[type[UsageSums], totals.Bins]]:
    """The tables of days and months, and when those begin that lines from ``first`` to ``last`` lie in."""
    days = [*day_starts(first, last, timezone.get_default_timezone())]
    months = [*month_starts(first, last, timezone.get_default_timezone())]
    for table in _SPANS:
        yield table, totals.Bins(months if table is UsageMonth else days)
