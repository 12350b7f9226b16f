"""Totals: the ledger summed by quarter of an hour of dispatch. Derived, so rebuilding a day is always safe."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from itertools import islice
from typing import Any, Final

from django.db import connection, transaction
from django.db.models import (
    BigIntegerField,
    Case,
    Count,
    DateTimeField,
    Exists,
    ExpressionWrapper,
    F,
    IntegerField,
    OuterRef,
    Q,
    QuerySet,
    Sum,
    Value,
    When,
)
from django.db.models.functions import Coalesce, ExtractMinute, TruncDate, TruncHour

from usage.models import LedgerEntry, UsageTotal
from usage.money import BUCKETS

GROUP: Final = ("user_id", "api_key_id", "team_id", "context", "provider_slug", "model_name")
SLOT: Final = timedelta(minutes=15)
"""Every offset a time zone has had since 1972 is a multiple of it, so hours and days of all zones are sums of slots."""
INSERT_MAX: Final = 500


def roll_up(day: date) -> int:
    """Rebuilds the totals of one UTC day from the ledger and returns how many rows it has; concurrent calls take turns.

    A request counts in the row of its first line, so ``requests`` add up over any rows. ``attempts`` are the calls that cost
    something, ``estimated_lines`` those of them whose figure is still an estimate. Unknown tokens add nothing.
    """
    start = datetime.combine(day, time(), UTC)
    lines = LedgerEntry.objects.filter(dispatched_at__gte=start, dispatched_at__lt=start + timedelta(days=1)).order_by()
    with transaction.atomic():
        _lock_totals()
        UsageTotal.objects.filter(slot__gte=start, slot__lt=start + timedelta(days=1)).delete()
        rows = (_total(group) for group in _sums(lines).iterator(chunk_size=INSERT_MAX))
        count = 0
        while chunk := [*islice(rows, INSERT_MAX)]:
            count += len(UsageTotal.objects.bulk_create(chunk))
    return count


def roll_up_recent(now: datetime, posted_within: timedelta = timedelta(days=2)) -> list[date]:
    """Rebuilds every UTC day that got a line within ``posted_within`` (late corrections post to old days); returns the days."""
    recent = LedgerEntry.objects.filter(posted_at__gte=now - posted_within).order_by()
    days = sorted(recent.annotate(day=TruncDate("dispatched_at", tzinfo=UTC)).values_list("day", flat=True).distinct())
    for day in days:
        roll_up(day)
    return days


def is_first_line() -> Exists:
    """Negated: whether an earlier line of the same request exists. The condition that counts requests once."""
    return Exists(LedgerEntry.objects.filter(request_id=OuterRef("request_id"), pk__lt=OuterRef("pk")))


def _sums(lines: QuerySet[LedgerEntry]) -> QuerySet[LedgerEntry, dict[str, Any]]:
    usage_line = Q(kind=LedgerEntry.Kind.USAGE)
    estimates = Case(
        When(usage_line & ~Q(basis=LedgerEntry.Basis.MEASURED), then=Value(1)),
        When(kind=LedgerEntry.Kind.CORRECTION, basis=LedgerEntry.Basis.MEASURED, then=Value(-1)),
        default=Value(0),
        output_field=IntegerField(),
    )
    quarter = ExpressionWrapper(ExtractMinute("dispatched_at", tzinfo=UTC) / 15, output_field=IntegerField())
    slotted = lines.annotate(
        hour=TruncHour("dispatched_at", tzinfo=UTC, output_field=DateTimeField()), quarter=quarter, repeats=is_first_line()
    )
    sums: QuerySet[LedgerEntry, dict[str, Any]] = slotted.values("hour", "quarter", *GROUP).annotate(
        request_count=Count("id", filter=Q(repeats=False)),
        attempt_count=Count("id", filter=usage_line),
        line_count=Count("id"),
        estimated_count=Coalesce(Sum(estimates), Value(0)),
        cost_sum=Sum("cost_nano"),
        **{f"sum_{bucket}": Sum(F(bucket), output_field=BigIntegerField()) for bucket in BUCKETS},
    )
    return sums


def _total(group: dict[str, Any]) -> UsageTotal:
    return UsageTotal(
        slot=group["hour"] + group["quarter"] * SLOT,
        **{column: group[column] for column in GROUP if column != "team_id"},
        team_id=group["team_id"] or 0,
        requests=group["request_count"],
        attempts=group["attempt_count"],
        lines=group["line_count"],
        estimated_lines=group["estimated_count"],
        cost_nano=group["cost_sum"],
        **{bucket: group[f"sum_{bucket}"] for bucket in BUCKETS},
    )


def _lock_totals() -> None:
    """Rebuilding deletes and inserts: two at once would collide. SQLite's transactions take turns anyway; readers never wait."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("LOCK TABLE usage_usagetotal IN SHARE ROW EXCLUSIVE MODE")
