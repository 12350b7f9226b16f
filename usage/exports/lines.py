"""What every export format is made from: ledger lines in a fixed order, read in pieces, with what is looked up for each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Final

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.db import connection
from django.db.models import Max, Q, QuerySet

from usage.exports.months import BillingMonths, MonthSpan
from usage.models import LedgerEntry

CHUNK_LINES: Final = 1000

# What spreadsheets read as the start of a formula or of a command, full-width forms included (S27).
TRIGGERS: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


@dataclass(frozen=True, slots=True)
class LineSource:
    """Lines in order of (``dispatched_at``, ``id``), none newer than ``last_id``.

    ``with_names``: people and teams are named as they are called today. Files of a month never do, so that they stay the same
    whoever is renamed or deleted. ``columns`` is how many a CSV of them has, where that was fixed; ``None``: all.
    """

    lines: QuerySet[LedgerEntry]
    months: BillingMonths
    last_id: int
    with_names: bool = True
    columns: int | None = None


@dataclass(slots=True)
class Tally:
    """What was really written; the control total."""

    lines: int = 0
    late_lines: int = 0
    nano: int = 0


@dataclass(frozen=True, slots=True)
class Names:
    users: dict[int, str] = field(default_factory=dict)
    teams: dict[int, str] = field(default_factory=dict)


def fixed(lines: QuerySet[LedgerEntry], months: BillingMonths, *, with_names: bool = True) -> LineSource:
    """What is posted now, in order of dispatch: lines posted during the download are not in it."""
    last_id = lines.order_by().aggregate(last_id=Max("id"))["last_id"] or 0
    return LineSource(lines.filter(id__lte=last_id).order_by("dispatched_at", "id"), months, last_id, with_names)


def month_source(month: str, months: BillingMonths) -> LineSource:
    """The file of one billing month. Raises ``MonthInvalid``."""
    closed = months.closed(month)
    return replace(fixed(months.lines(month), months, with_names=False), columns=closed.columns if closed else None)


def chunks(source: LineSource, chunk_lines: int, tally: Tally) -> Iterator[tuple[list[tuple[LedgerEntry, MonthSpan]], Names]]:
    """Pieces of the lines, each line with its billing month, and the names they need; counted in ``tally``.

    Each query starts after the last line of the one before, and no database connection is held while a piece is used.
    """
    chunk = _after(source.lines, None, chunk_lines)
    while chunk:
        names = _names(chunk) if source.with_names else Names()
        if not connection.in_atomic_block:
            connection.close()
        placed = [(line, source.months.of(line)) for line in chunk]
        tally.lines += len(chunk)
        tally.nano += sum(line.cost_nano for line in chunk)
        tally.late_lines += sum(line.dispatched_at < period.starts_at for line, period in placed)
        yield placed, names
        chunk = _after(source.lines, chunk[-1], chunk_lines)


def _after(lines: QuerySet[LedgerEntry], last: LedgerEntry | None, chunk_lines: int) -> list[LedgerEntry]:
    if last is not None:
        after = Q(dispatched_at__gt=last.dispatched_at) | Q(dispatched_at=last.dispatched_at, id__gt=last.pk)
        lines = lines.filter(after, dispatched_at__gte=last.dispatched_at)
    return list(lines[:chunk_lines])


def _names(chunk: Iterable[LedgerEntry]) -> Names:
    user_ids = {line.user_id for line in chunk}
    team_ids = {line.team_id for line in chunk if line.team_id is not None}
    users = dict(get_user_model()._default_manager.filter(pk__in=user_ids).values_list("pk", "username"))
    teams = dict(Group.objects.filter(pk__in=team_ids).values_list("pk", "name")) if team_ids else {}
    return Names(users, teams)


def safe_text(text: str) -> str:
    """``text`` with a leading apostrophe when a spreadsheet would run it. Numbers never pass through here."""
    return f"'{text}" if text.startswith(TRIGGERS) else text


def instant_text(instant: datetime) -> str:
    return instant.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
