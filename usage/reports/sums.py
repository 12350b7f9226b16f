"""Sums of reports, read from the totals for every line that is in them and from the ledger for the rest: exact at any moment.

A range is made of whole months and days of ``RollUp.time_zone``, of quarters of an hour at its edges, and of the lines after
``RollUp.last_entry_id``. What asks for no user and no key is made of the smaller totals without them. Reports in hours, or in days
of another zone, are made of half hours where they ask for providers and models only, else of quarters.
"""

# ruff: noqa: S608 - statements are put together from names of ours; values travel as parameters

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from django.db import connection, transaction

from usage.models import RollUp
from usage.periods import first_instant
from usage.reports.questions import COLUMN_OF, Breakdown, DateRange, Dimension, LineFilter, Totals, named, totals_of
from usage.reports.sql.totals import (
    DAYS,
    HALF_HOURS,
    LEDGER,
    LEFT_OUT,
    MONTHS,
    QUARTERS,
    SUM_HALF_HOURS,
    SUMS,
    TEAM_DAYS,
    Bins,
    Params,
    instant_parameter,
    line_value,
    one_of,
    total_value,
)
from usage.reports.totals import HALF_HOUR_MINUTES, SLOT, day_starts, month_starts

TOP_ROWS_MAX: Final = 100
FIRST_ROWS: Final = 100
_TIMES: Final = (Dimension.DAY, Dimension.HOUR)


@dataclass(frozen=True, slots=True)
class Asked:
    """Which lines a report is about."""

    period: DateRange
    only: LineFilter = field(default_factory=LineFilter)


@contextmanager
def snapshot() -> Iterator[None]:
    """All sums read inside are of one moment, and nobody waits for them. Within a caller's transaction it is that transaction's."""
    if connection.in_atomic_block:
        yield
    elif connection.vendor == "postgresql":
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            cursor.execute("SET LOCAL jit = off")  # compiling a report takes longer than running it
            yield
    else:
        with connection.cursor() as cursor:
            cursor.execute("BEGIN DEFERRED")  # atomic() would begin a write, which only one may do at a time
            try:
                yield
            finally:
                cursor.execute("ROLLBACK")


def sums(asked: Asked) -> Totals:
    statement, params = _Statement(asked, ()).whole()
    (row,) = _rows(statement, params, SUMS)
    return totals_of(row)


class Groups:
    """The groups of a report, read when they are counted or sliced: by time where grouped by time, else dearest first."""

    def __init__(self, asked: Asked, by: Sequence[Dimension]) -> None:
        self._statement = _Statement(asked, by)
        self._first: list[dict[str, Any]] | None = None

    def count(self) -> int:
        """Whoever counts wants a page next, mostly the first: it is read along, for both cost the same."""
        self._first = self._statement.read(FIRST_ROWS, 0)
        return int(self._first[0]["groups"]) if self._first else 0

    def __getitem__(self, wanted: slice) -> list[dict[str, Any]]:
        start = wanted.start or 0
        if self._first is not None and wanted.stop is not None and wanted.stop <= FIRST_ROWS:
            return self._first[start : wanted.stop]
        return self._statement.read(None if wanted.stop is None else wanted.stop - start, start)


def breakdown(asked: Asked, dimension: Dimension, rows_max: int = TOP_ROWS_MAX) -> Breakdown:
    """The first ``rows_max`` groups; the rest is summed, so that the parts still add up to the whole."""
    rows = _Statement(asked, [dimension]).read(rows_max, 0)
    if not rows:
        return Breakdown((), 0, 0)
    others_nano = int(rows[0]["all_cost_nano"]) - sum(int(row["cost_nano"]) for row in rows)
    return Breakdown(tuple(named(rows, [dimension])), rows[0]["groups"] - len(rows), others_nano)


def hour_starts(period: DateRange) -> list[tuple[datetime, str]]:
    """When the clock hours of a range begin, and their names with the offset, which tells the two apart where clocks go back.

    A quarter of an hour belongs to the hour in which it begins; an hour in which clocks change is shorter, or two.
    """
    hours: list[tuple[datetime, str]] = []
    slot = period.start_at
    while slot < period.end_at:
        local = slot.astimezone(period.zone)
        name = f"{local:%Y-%m-%dT%H}:00{local.isoformat()[19:25]}"  # of this instant: at the full hour the offset may be another
        if not hours or hours[-1][1] != name:
            hours.append((slot, name))
        slot += SLOT
    return hours


class _Statement:
    """The statement of one report, put together from its parts: days, quarters at the edges, lines not summed yet."""

    def __init__(self, asked: Asked, by: Sequence[Dimension]) -> None:
        self._asked = asked
        self._by = by
        self._columns = tuple(COLUMN_OF[dimension] for dimension in by)
        self._bins: dict[Dimension, Bins] = {}
        self._labels: dict[Dimension, list[str]] = {}
        self._prepare_times()

    def _prepare_times(self) -> None:
        period = self._asked.period
        for dimension in self._by:
            if dimension is Dimension.DAY:
                starts = [(first_instant(day, period.zone), day.isoformat()) for day in period.days]
            elif dimension is Dimension.HOUR:
                starts = hour_starts(period)
            else:
                continue
            self._bins[dimension] = Bins([start for start, _ in starts], dimension.value)
            self._labels[dimension] = [label for _, label in starts]

    def whole(self) -> tuple[str, Params]:
        parts, params = self._parts()
        return f"SELECT {_SUMS_SQL} FROM ({parts}) p", params

    def read(self, limit: int | None, offset: int) -> list[dict[str, Any]]:
        """Rows by column; ``groups`` counts all groups and ``all_cost_nano`` is what they cost together."""
        keys, key_params = self._keys()
        parts, params = self._parts()
        times = [str(position + 1) for position, dimension in enumerate(self._by) if dimension in _TIMES]
        order = ", ".join([*times, *([] if times else ["sum(p.cost_nano) DESC"]), self._positions()])
        statement = (
            f"SELECT {keys}, {_SUMS_SQL}, count(*) OVER (), sum(sum(p.cost_nano)) OVER () FROM ({parts}) p "
            f"GROUP BY {self._positions()} ORDER BY {order}"
        )
        params = [*key_params, *params]
        if limit is not None:
            statement += " LIMIT %s OFFSET %s"
            params += [limit, offset]
        rows = _rows(statement, params, (*self._columns, *SUMS, "groups", "all_cost_nano"))
        for dimension, labels in self._labels.items():
            for row in rows:
                row[COLUMN_OF[dimension]] = labels[row[COLUMN_OF[dimension]] - 1]
        return rows

    def _positions(self) -> str:
        return ", ".join(str(position + 1) for position in range(len(self._by)))

    def _keys(self) -> tuple[str, Params]:
        keys, params = [], []
        for dimension, column in zip(self._by, self._columns, strict=True):
            bins = self._bins.get(dimension)
            key, key_params = bins.number("p.at") if bins else (f"p.{column}", [])
            keys.append(key)
            params += key_params
        return ", ".join(keys), params

    def _parts(self) -> tuple[str, Params]:
        state = RollUp.objects.filter(pk=1).first()
        statements, params = [], []
        for part, part_params in self._all_parts(state):
            statements.append(part)
            params += part_params
        return " UNION ALL ".join(statements), params

    def _all_parts(self, state: RollUp | None) -> Iterator[tuple[str, Params]]:
        start, end = self._asked.period.start_at, self._asked.period.end_at
        if state is not None:
            yield from self._total_parts(state, start, end)
        fresh = f" AND e.id > {state.last_entry_id if state is not None else 0}"
        yield self._part(LEDGER, "dispatched_at", start, end, (fresh, []))

    def _total_parts(self, state: RollUp, start: datetime, end: datetime) -> Iterator[tuple[str, Params]]:
        other_days = Dimension.DAY in self._by and str(self._asked.period.zone) != state.time_zone
        if Dimension.HOUR not in self._by and not other_days:
            for table, first, last in self._spans(state.time_zone, start, end):
                yield self._part(table, "slot", first, last)
        elif state.half_hours_entry_id == state.last_entry_id and self._tells(HALF_HOURS):
            yield from self._half_hours(SUM_HALF_HOURS if self._tells(SUM_HALF_HOURS) else HALF_HOURS, start, end)
        else:
            yield self._part(QUARTERS, "slot", start, end)

    def _tells(self, table: str) -> bool:
        """Whether a table has all that was asked for."""
        return not {*self._columns, *self._asked.only.conditions} & LEFT_OUT[table].keys()

    def _spans(self, zone: str, start: datetime, end: datetime) -> Iterator[tuple[str, datetime, datetime]]:
        """Tables and what is read from each: the coarsest that tells what was asked, finer ones at the edges."""
        reach = (start, end + timedelta(days=1), ZoneInfo(zone))
        tables: list[tuple[str, list[datetime]]] = []
        if not self._tells(TEAM_DAYS) and Dimension.DAY not in self._by:
            tables.append((MONTHS, [*month_starts(*reach)]))
        tables.append((TEAM_DAYS if self._tells(TEAM_DAYS) else DAYS, [*day_starts(*reach)]))
        return _covered(tables, start, end)

    def _half_hours(self, table: str, start: datetime, end: datetime) -> Iterator[tuple[str, Params]]:
        """All of them, but for those in whose middle a day or an hour of the report begins or ends: of these the quarters."""
        borders = {end, *(border for bins in self._bins.values() for border in bins.starts)}
        cut = sorted({border - SLOT for border in borders if border.minute % HALF_HOUR_MINUTES})
        if not cut:
            yield self._part(table, "slot", start, end)
            return
        halves, half_params = one_of("e.slot", cut)
        yield self._part(table, "slot", start, end, (f" AND NOT ({halves})", half_params))
        quarters, quarter_params = one_of("e.slot", [slot for half in cut for slot in (half, half + SLOT)])
        yield self._part(QUARTERS, "slot", start, end, (f" AND {quarters}", quarter_params))

    def _part(self, table: str, instant: str, start: datetime, end: datetime, also: tuple[str, Params] = ("", [])) -> tuple[str, Params]:
        value = line_value if table == LEDGER else total_value
        columns = [column for dimension, column in zip(self._by, self._columns, strict=True) if dimension not in _TIMES]
        selected = ", ".join(f"{value(column)} AS {column}" for column in (*columns, *SUMS))
        filters = self._asked.only.conditions
        wanted = "".join(f" AND {value(column)} = %s" for column in filters)
        condition, params = also
        statement = f"SELECT e.{instant} AS at, {selected} FROM {table} e WHERE e.{instant} >= %s AND e.{instant} < %s{wanted}{condition}"
        return statement, [instant_parameter(start), instant_parameter(end), *filters.values(), *params]


def _covered(tables: list[tuple[str, list[datetime]]], start: datetime, end: datetime) -> Iterator[tuple[str, datetime, datetime]]:
    """The whole spans of the first table, then what is left before and after them from the next; quarters at last."""
    if start >= end:
        return
    if not tables:
        yield QUARTERS, start, end
        return
    (table, starts), *finer = tables
    inside = [at for at in starts if start <= at <= end]
    if len(inside) < 2:
        yield from _covered(finer, start, end)
        return
    yield table, inside[0], inside[-1]
    yield from _covered(finer, start, inside[0])
    yield from _covered(finer, inside[-1], end)


_SUMS_SQL: Final = ", ".join(f"sum(p.{column})" for column in SUMS)


def _rows(statement: str, params: Params, columns: Sequence[str]) -> list[dict[str, Any]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, params)
        return [dict(zip(columns, row, strict=True)) for row in cursor.fetchall()]
