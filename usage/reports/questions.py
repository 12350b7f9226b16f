"""What reports are asked in and answered with: ranges of days in any time zone, filters, dimensions, exact sums.

A line belongs to the day its call was dispatched. A request counts with its first line, so retries do not inflate requests and
requests, like costs, add up over any groups.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import date, datetime, timedelta, tzinfo
from enum import StrEnum
from typing import Any, Final

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group as Team
from django.db.models import Case, Count, Exists, IntegerField, Max, OuterRef, Q, QuerySet, Sum, Value, When
from django.utils import timezone

from providers.fields import dollars
from usage.models import ApiKey, LedgerEntry
from usage.money import BUCKETS
from usage.periods import first_instant

RANGE_DAYS_MAX: Final = 1100
STATISTICS_DAYS: Final = 30


class Dimension(StrEnum):
    """What lines can be grouped by; the value is the name in the API."""

    PROVIDER = "provider"
    MODEL = "model"
    USER = "user"
    KEY = "key"
    TEAM = "team"
    CONTEXT = "context"
    DAY = "day"
    HOUR = "hour"


COLUMN_OF: Final = {
    Dimension.PROVIDER: "provider_slug",
    Dimension.MODEL: "model_name",
    Dimension.USER: "user_id",
    Dimension.KEY: "api_key_id",
    Dimension.TEAM: "team_id",
    Dimension.CONTEXT: "context",
    Dimension.DAY: "day",
    Dimension.HOUR: "hour",
}


class RangeInvalid(ValueError):
    """A date range that cannot be reported on; the text says why."""


def report_zone() -> tzinfo:
    """The organisation's time zone, ``settings.TIME_ZONE``."""
    return timezone.get_default_timezone()


@dataclass(frozen=True, slots=True)
class DateRange:
    """Calendar days of ``zone``: ``start`` is included, ``end`` is not."""

    start: date
    end: date
    zone: tzinfo = field(default_factory=report_zone)

    def __post_init__(self) -> None:
        if self.end <= self.start:
            raise RangeInvalid("end must be after start; it is the first day no longer included")
        if (self.end - self.start).days > RANGE_DAYS_MAX:
            raise RangeInvalid(f"at most {RANGE_DAYS_MAX} days can be reported at once")

    @property
    def start_at(self) -> datetime:
        return first_instant(self.start, self.zone)

    @property
    def end_at(self) -> datetime:
        return first_instant(self.end, self.zone)

    @property
    def days(self) -> list[date]:
        return [self.start + timedelta(days=number) for number in range((self.end - self.start).days)]


@dataclass(frozen=True, slots=True)
class LineFilter:
    """Which lines of a range count; ``None`` is no condition. ``team_id`` 0: the lines of no team."""

    provider: str | None = None
    model: str | None = None
    user_id: int | None = None
    key: str | None = None
    context: str | None = None
    team_id: int | None = None

    def of_team(self, team_id: int | None) -> LineFilter:
        return replace(self, team_id=team_id)

    @property
    def conditions(self) -> dict[str, str | int]:
        """Columns of the totals and what they must equal."""
        wanted = {
            "provider_slug": self.provider,
            "model_name": self.model,
            "user_id": self.user_id,
            "api_key_id": self.key,
            "context": self.context,
            "team_id": self.team_id,
        }
        return {column: value for column, value in wanted.items() if value is not None}


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
    image_input_tokens: int | None


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


def month_around(instant: datetime, zone: tzinfo | None = None) -> DateRange:
    """The calendar month of ``instant`` in ``zone``, by default the organisation's."""
    zone = zone or report_zone()
    first = instant.astimezone(zone).date().replace(day=1)
    return DateRange(first, (first + timedelta(days=32)).replace(day=1), zone)


def lines_in(period: DateRange, only: LineFilter) -> QuerySet[LedgerEntry]:
    """The ledger lines a report, its series and its CSV are all made of."""
    conditions: dict[str, Any] = {**only.conditions}
    if only.team_id == 0:
        conditions["team_id"] = None
    return LedgerEntry.objects.filter(dispatched_at__gte=period.start_at, dispatched_at__lt=period.end_at).filter(**conditions)


_REPEATS = Exists(LedgerEntry.objects.filter(request_id=OuterRef("request_id"), pk__lt=OuterRef("pk")))
_IS_USAGE = Q(kind=LedgerEntry.Kind.USAGE)
_ESTIMATES = Case(
    When(_IS_USAGE & ~Q(basis=LedgerEntry.Basis.MEASURED), then=Value(1)),
    When(kind=LedgerEntry.Kind.CORRECTION, basis=LedgerEntry.Basis.MEASURED, then=Value(-1)),
    default=Value(0),
    output_field=IntegerField(),
)


def totals(lines: QuerySet[LedgerEntry]) -> Totals:
    """Straight from the lines, however many: what reports must equal. ``usage.reports.sums`` answers faster."""
    row = (
        lines.order_by()
        .annotate(repeats=_REPEATS)
        .aggregate(
            requests=Count("id", filter=Q(repeats=False)),
            attempts=Count("id", filter=_IS_USAGE),
            lines=Count("id"),
            estimated_lines=Sum(_ESTIMATES, default=0),
            sum_cost_nano=Sum("cost_nano", default=0),
            **{f"sum_{bucket}": Sum(bucket) for bucket in BUCKETS},
        )
    )
    return totals_of({name.removeprefix("sum_"): value for name, value in row.items()})


def totals_of(row: Mapping[str, Any]) -> Totals:
    """From sums by their names; databases answer with other kinds of numbers, and with nothing for no lines."""
    sums = {each.name: None if row[each.name] is None else int(row[each.name]) for each in fields(Totals)}
    return Totals(**{name: value if name in BUCKETS else value or 0 for name, value in sums.items()})  # type: ignore[arg-type]


def named(rows: Sequence[Mapping[str, Any]], by: Sequence[Dimension]) -> list[Group]:
    """Report rows with the names people know; a user, key or team deleted since then has none."""
    names = {dimension: _names(rows, dimension) for dimension in by if dimension in _NAMED}
    groups = []
    for row in rows:
        values: dict[str, str | None] = {str(dimension): str(row[COLUMN_OF[dimension]]) for dimension in by}
        if Dimension.TEAM in by and row["team_id"] == 0:
            values["team"] = None
        for dimension, known in names.items():
            values[f"{dimension}_name"] = known.get(row[COLUMN_OF[dimension]])
        groups.append(Group(values, totals_of(row)))
    return groups


_NAMED = (Dimension.USER, Dimension.KEY, Dimension.TEAM)


def _names(rows: Sequence[Mapping[str, Any]], dimension: Dimension) -> dict[Any, str]:
    ids = {row[COLUMN_OF[dimension]] for row in rows}
    match dimension:
        case Dimension.USER:
            return dict(get_user_model()._default_manager.filter(pk__in=ids).values_list("pk", "username"))
        case Dimension.TEAM:
            return dict(Team.objects.filter(pk__in=ids).values_list("pk", "name"))
    return dict(ApiKey.objects.filter(pk__in=ids).values_list("pk", "name"))


def statistics_for_user(user_id: int) -> dict[str, dict[str, int | str | None]]:
    """A user's own use of each model in the last 30 days by ``provider/model``: requests, tokens, cost, last use."""
    since = timezone.now() - timedelta(days=STATISTICS_DAYS)
    lines = LedgerEntry.objects.filter(user_id=user_id, dispatched_at__gte=since).order_by()
    rows: Any = lines.values("provider_slug", "model_name").annotate(
        requests=Count("request_id", distinct=True),
        sum_input_tokens=Sum("input_tokens"),
        sum_output_tokens=Sum("output_tokens"),
        sum_cost_nano=Sum("cost_nano"),
        last_used_at=Max("dispatched_at"),
    )
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
