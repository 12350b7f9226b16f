"""Statements on the ledger's totals. They are put together from names of ours only; values travel as parameters."""

# ruff: noqa: S608 - see above: no text of a caller ever becomes part of a statement

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from django.db import connection

from usage.money import BUCKETS, MAX_TOKENS

LEDGER: Final = "usage_ledgerentry"
QUARTERS: Final = "usage_usagetotal"
DAYS: Final = "usage_usageday"
TEAM_DAYS: Final = "usage_usageteamday"
HALF_HOURS: Final = "usage_usagehalfhour"
SUM_HALF_HOURS: Final = "usage_usagehalfhoursum"
MONTHS: Final = "usage_usagemonth"
LEFT_OUT: Final[dict[str, dict[str, str]]] = {
    TEAM_DAYS: {"user_id": "0", "api_key_id": "''"},
    HALF_HOURS: {"user_id": "0", "api_key_id": "''", "team_id": "0", "context": "''"},
    SUM_HALF_HOURS: {"user_id": "0", "api_key_id": "''", "team_id": "0", "context": "''", "provider_slug": "''", "model_name": "''"},
}
"""The columns that a table does not tell apart, and what it has in place of them."""
DIMENSIONS: Final = ("user_id", "api_key_id", "team_id", "context", "provider_slug", "model_name")
SUMS: Final = ("requests", "attempts", "lines", "estimated_lines", "cost_nano", *BUCKETS)

# What one line adds. A request counts with its first line, an estimate until a measured correction replaces it.
_OF_LINE: Final = {
    "requests": f"CASE WHEN EXISTS (SELECT 1 FROM {LEDGER} f WHERE f.request_id = e.request_id AND f.id < e.id) THEN 0 ELSE 1 END",
    "attempts": "CASE WHEN e.kind = 'usage' THEN 1 ELSE 0 END",
    "lines": "1",
    "estimated_lines": "CASE WHEN e.kind = 'usage' AND e.basis <> 'measured' THEN 1 "
    "WHEN e.kind = 'correction' AND e.basis = 'measured' THEN -1 ELSE 0 END",
    "team_id": "coalesce(e.team_id, 0)",
}

SUM_MAX: Final = 10**15
"""Tokens in one row of the totals: a million requests as large as any model takes."""

Params = list[Any]


def instant_parameter(instant: datetime) -> Any:
    """As the database keeps it, for a statement that bypasses the ORM."""
    return connection.ops.adapt_datetimefield_value(instant)


class Bins:
    """Spans between ``starts`` (sorted, UTC). Those of one statement need different names."""

    def __init__(self, starts: Sequence[datetime], name: str = "span") -> None:
        self.starts = tuple(starts)
        self._starts = [instant_parameter(start) for start in starts]
        self._name = name
        if connection.vendor == "sqlite":
            connection.ensure_connection()
            connection.connection.create_function(f"{name}_number", 1, self._number, deterministic=True)
            connection.connection.create_function(f"{name}_start", 1, self._start, deterministic=True)

    def number(self, column: str) -> tuple[str, Params]:
        """An expression for which span an instant lies in, from 1."""
        if connection.vendor == "sqlite":
            return f"{self._name}_number({column})", []
        return f"width_bucket({column}, %s::timestamptz[])", [self._starts]

    def start(self, column: str) -> tuple[str, Params]:
        """An expression for the start of the span an instant lies in."""
        if connection.vendor == "sqlite":
            return f"{self._name}_start({column})", []
        return f"(%s::timestamptz[])[width_bucket({column}, %s::timestamptz[])]", [self._starts, self._starts]

    def _number(self, instant: str) -> int:
        return bisect_right(self._starts, instant)

    def _start(self, instant: str) -> str:
        start: str = self._starts[bisect_right(self._starts, instant) - 1]
        return start


def slot_start(column: str, minutes: int) -> str:
    """An expression for when the slot of so many minutes, at most 60, begins that an instant lies in."""
    if connection.vendor == "sqlite":
        hour, minute = f"strftime('%%Y-%%m-%%d %%H:', {column})", f"strftime('%%M', {column})"
        return f"{hour} || printf('%%02d', {minute} / {minutes} * {minutes}) || ':00'"
    return f"date_bin('{minutes} minutes', {column}, TIMESTAMPTZ '1970-01-01 00:00+00')"


def one_of(column: str, instants: Sequence[datetime]) -> tuple[str, Params]:
    """A condition: the column is one of the instants."""
    values = [instant_parameter(instant) for instant in instants]
    if connection.vendor == "sqlite":
        return f"{column} IN ({', '.join('%s' for _ in values)})", values
    return f"{column} = ANY(%s::timestamptz[])", [values]


def add_lines_to_slots(table: str, minutes: int, after: int, upto: int) -> None:
    """To quarters or half hours."""
    _add_lines(table, slot_start("e.dispatched_at", minutes), [], after, upto)


def add_lines_to_spans(table: str, spans: Bins, after: int, upto: int) -> None:
    """To days or months."""
    _add_lines(table, *spans.start("e.dispatched_at"), after, upto)


def fill_spans(table: str, spans: Bins) -> None:
    """From quarters into an empty table of days or months."""
    _fill(table, *spans.start("t.slot"))


def fill_slots(table: str, minutes: int) -> None:
    """From quarters into an empty table of longer slots."""
    _fill(table, slot_start("t.slot", minutes), [])


def _fill(table: str, slot: str, params: Params) -> None:
    left_out = LEFT_OUT.get(table, {})
    columns = ", ".join(left_out.get(column, f"t.{column}") for column in DIMENSIONS)
    sums = ", ".join(f"sum({total_value(column, 't')})" for column in SUMS)
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {table} (slot, {', '.join((*DIMENSIONS, *SUMS))}) SELECT {slot}, {columns}, {sums} FROM {QUARTERS} t "
            f"GROUP BY {_POSITIONS}",
            params,
        )


def line_value(column: str) -> str:
    """What the ledger line ``e`` says or adds in a column of the totals. A count beyond belief is unknown: one line that an older
    release took from a provider must not make the sum of all overflow."""
    if column in BUCKETS:
        return f"CASE WHEN e.{column} BETWEEN -{MAX_TOKENS} AND {MAX_TOKENS} THEN e.{column} END"
    return _OF_LINE.get(column, f"e.{column}")


def total_value(column: str, row: str = "e") -> str:
    """The same of a row of the totals, which an older release may have summed from such lines."""
    if column in BUCKETS:
        return f"CASE WHEN {row}.{column} BETWEEN -{SUM_MAX} AND {SUM_MAX} THEN {row}.{column} END"
    return f"{row}.{column}"


_POSITIONS: Final = ", ".join(str(position + 1) for position in range(len(DIMENSIONS) + 1))


def _add_lines(table: str, slot: str, params: Params, after: int, upto: int) -> None:
    left_out = LEFT_OUT.get(table, {})
    columns = ", ".join(left_out.get(column) or line_value(column) for column in DIMENSIONS)
    sums = ", ".join(f"sum({line_value(column)})" for column in SUMS)
    added = ", ".join(f"{column} = {_added(table, column)}" for column in SUMS)
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {table} (slot, {', '.join((*DIMENSIONS, *SUMS))}) SELECT {slot}, {columns}, {sums} FROM {LEDGER} e "
            f"WHERE e.id > %s AND e.id <= %s GROUP BY {_POSITIONS} "
            f"ON CONFLICT (slot, {', '.join(DIMENSIONS)}) DO UPDATE SET {added}",
            [*params, after, upto],
        )


def _added(table: str, column: str) -> str:
    """Unknown and unknown stays unknown; unknown and a figure is the figure."""
    total = f"{table}.{column} + excluded.{column}"
    if column not in BUCKETS:
        return total
    fits = f"CASE WHEN {table}.{column} BETWEEN -{SUM_MAX} AND {SUM_MAX} THEN {total} END"
    return f"coalesce({fits}, {table}.{column}, excluded.{column})"
