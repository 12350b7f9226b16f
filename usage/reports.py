"""Sums over the ledger: exact integers, in days of ``settings.TIME_ZONE``, one source for API, CSV and pages.

A line belongs to the day its call was dispatched. Requests are counted by request id, so retries do not inflate them; the
requests of groups therefore need not add up to the total when one request touched two groups. Costs always add up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from enum import StrEnum
from itertools import islice
from typing import Any

from django.contrib.auth import get_user_model
from django.db.models import Count, Max, Q, QuerySet, Sum
from django.db.models.functions import TruncDate
from django.utils import timezone

from providers.fields import dollars
from usage.models import ApiKey, LedgerEntry

GroupRows = QuerySet[LedgerEntry, dict[str, Any]]

RANGE_DAYS_MAX = 1100
STATISTICS_DAYS = 30
TOP_ROWS_MAX = 100
TOKEN_COLUMNS = (
    "input_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "cache_write_1h_tokens",
    "output_tokens",
    "reasoning_tokens",
    "audio_input_tokens",
    "audio_output_tokens",
)


class Dimension(StrEnum):
    """What lines can be grouped by; the value is the name in the API."""

    PROVIDER = "provider"
    MODEL = "model"
    USER = "user"
    KEY = "key"
    CONTEXT = "context"
    DAY = "day"


COLUMN_OF = {
    Dimension.PROVIDER: "provider_slug",
    Dimension.MODEL: "model_name",
    Dimension.USER: "user_id",
    Dimension.KEY: "api_key_id",
    Dimension.CONTEXT: "context",
    Dimension.DAY: "day",
}


class RangeInvalid(ValueError):
    """A date range that cannot be reported on; the text says why."""


@dataclass(frozen=True, slots=True)
class DateRange:
    """Calendar days of ``settings.TIME_ZONE``: ``start`` is included, ``end`` is not."""

    start: date
    end: date

    def __post_init__(self) -> None:
        if self.end <= self.start:
            raise RangeInvalid("end must be after start; it is the first day no longer included")
        if (self.end - self.start).days > RANGE_DAYS_MAX:
            raise RangeInvalid(f"at most {RANGE_DAYS_MAX} days can be reported at once")

    @property
    def start_at(self) -> datetime:
        return _midnight(self.start)

    @property
    def end_at(self) -> datetime:
        return _midnight(self.end)


@dataclass(frozen=True, slots=True)
class LineFilter:
    """Which lines of a range count; ``None`` is no condition."""

    provider: str | None = None
    model: str | None = None
    user_id: int | None = None
    key: str | None = None
    context: str | None = None


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums of some ledger lines. A token sum is ``None`` when no line knows that bucket."""

    requests: int
    attempts: int
    lines: int
    estimated_lines: int
    cost_nano: int
    input_tokens: int | None
    cache_read_tokens: int | None
    cache_write_tokens: int | None
    cache_write_1h_tokens: int | None
    output_tokens: int | None
    reasoning_tokens: int | None
    audio_input_tokens: int | None
    audio_output_tokens: int | None


@dataclass(frozen=True, slots=True)
class Group:
    """One row of a report: the values of its dimensions as shown, and its sums."""

    values: Mapping[str, str | None]
    totals: Totals


@dataclass(frozen=True, slots=True)
class Breakdown:
    """The dearest groups of one dimension, and what the others cost together."""

    rows: tuple[Group, ...]
    others_count: int
    others_cost_nano: int


@dataclass(frozen=True, slots=True)
class Projection:
    """Run rate: the cost so far, stretched evenly over the whole range. ``cost_nano`` is ``None`` before the range began."""

    method: str
    elapsed_s: int
    range_s: int
    cost_nano: int | None


def report_zone() -> tzinfo:
    return timezone.get_default_timezone()


def _midnight(day: date) -> datetime:
    """The first instant of a local day, in UTC: where midnight is skipped, the instant of the jump."""
    return datetime.combine(day, time.min, tzinfo=report_zone()).astimezone(UTC)


def month_around(instant: datetime) -> DateRange:
    """The calendar month of ``instant``."""
    first = instant.astimezone(report_zone()).date().replace(day=1)
    return DateRange(first, (first + timedelta(days=32)).replace(day=1))


def lines_in(period: DateRange, only: LineFilter) -> QuerySet[LedgerEntry]:
    """The ledger lines a report, its series and its CSV are all made of."""
    lines = LedgerEntry.objects.filter(dispatched_at__gte=period.start_at, dispatched_at__lt=period.end_at)
    wanted = {
        "provider_slug": only.provider,
        "model_name": only.model,
        "user_id": only.user_id,
        "api_key_id": only.key,
        "context": only.context,
    }
    return lines.filter(**{column: value for column, value in wanted.items() if value is not None})


_SUMS: dict[str, Any] = {
    "requests": Count("request_id", distinct=True),
    "attempts": Count("attempt_id", distinct=True),
    "lines": Count("id"),
    "estimated_lines": Count("id", filter=Q(basis=LedgerEntry.Basis.ESTIMATED)),
    "sum_cost_nano": Sum("cost_nano"),
    **{f"sum_{column}": Sum(column) for column in TOKEN_COLUMNS},
}


def totals(lines: QuerySet[LedgerEntry]) -> Totals:
    return _totals(lines.order_by().aggregate(**_SUMS))


def _totals(row: Mapping[str, Any]) -> Totals:
    sums = {f.name: row[f.name] if f.name in row else row[f"sum_{f.name}"] for f in fields(Totals)}
    return Totals(**{**sums, "cost_nano": sums["cost_nano"] or 0})


def grouped(lines: QuerySet[LedgerEntry], by: Sequence[Dimension]) -> GroupRows:
    """One row per group, in stable order: by day where grouped by day, else dearest first."""
    columns = [COLUMN_OF[dimension] for dimension in by]
    if Dimension.DAY in by:
        lines = lines.annotate(day=TruncDate("dispatched_at", tzinfo=report_zone()))
    order = ["day"] if Dimension.DAY in by else ["-sum_cost_nano"]
    rows: GroupRows = lines.order_by().values(*columns).annotate(**_SUMS).order_by(*order, *columns)
    return rows


def named(rows: Sequence[Mapping[str, Any]], by: Sequence[Dimension]) -> list[Group]:
    """Report rows with the names people know; a user or key deleted since then has none."""
    usernames = _usernames(rows) if Dimension.USER in by else {}
    key_names = _key_names(rows) if Dimension.KEY in by else {}
    groups = []
    for row in rows:
        values: dict[str, str | None] = {str(dimension): str(row[COLUMN_OF[dimension]]) for dimension in by}
        if Dimension.USER in by:
            values["user_name"] = usernames.get(row["user_id"])
        if Dimension.KEY in by:
            values["key_name"] = key_names.get(row["api_key_id"])
        groups.append(Group(values, _totals(row)))
    return groups


def _usernames(rows: Sequence[Mapping[str, Any]]) -> dict[int, str]:
    user_model = get_user_model()
    found = user_model._default_manager.filter(pk__in={row["user_id"] for row in rows})
    return dict(found.values_list("pk", "username"))


def _key_names(rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    return dict(ApiKey.objects.filter(pk__in={row["api_key_id"] for row in rows}).values_list("pk", "name"))


def breakdown(lines: QuerySet[LedgerEntry], dimension: Dimension, rows_max: int = TOP_ROWS_MAX) -> Breakdown:
    """The first ``rows_max`` groups; the rest is summed, so that the parts still add up to the whole."""
    rows = grouped(lines, [dimension]).iterator(chunk_size=1000)
    shown = list(islice(rows, rows_max))
    others_count = others_cost_nano = 0
    for row in rows:
        others_count += 1
        others_cost_nano += row["sum_cost_nano"]
    return Breakdown(tuple(named(shown, [dimension])), others_count, others_cost_nano)


def projection(cost_nano: int, period: DateRange, now: datetime) -> Projection:
    """What the range costs when the rest goes like the part that has passed."""
    range_s = int((period.end_at - period.start_at).total_seconds())
    elapsed_s = min(max(0, int((now - period.start_at).total_seconds())), range_s)
    projected_nano = (2 * cost_nano * range_s + elapsed_s) // (2 * elapsed_s) if elapsed_s else None
    return Projection("run_rate", elapsed_s, range_s, projected_nano)


def statistics_for_user(user_id: int) -> dict[str, dict[str, int | str | None]]:
    """A user's own use of each model in the last 30 days by ``provider/model``: requests, tokens, cost, last use."""
    since = timezone.now() - timedelta(days=STATISTICS_DAYS)
    lines = LedgerEntry.objects.filter(user_id=user_id, dispatched_at__gte=since).order_by()
    columns = ("provider_slug", "model_name")
    rows: Any = lines.values(*columns).annotate(**_SUMS, last_used_at=Max("dispatched_at"))
    return {
        f"{row['provider_slug']}/{row['model_name']}": {
            "requests": row["requests"],
            "input_tokens": row["sum_input_tokens"],
            "output_tokens": row["sum_output_tokens"],
            "cost_usd": dollars(row["sum_cost_nano"]),
            "last_used_at": row["last_used_at"].isoformat(),
        }
        for row in rows
    }
