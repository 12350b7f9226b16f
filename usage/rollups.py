"""Daily totals: the ledger summed by UTC day of dispatch. Derived, so rebuilding a day is always safe."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from itertools import islice
from typing import Any, Final

from django.db import connection, transaction
from django.db.models import BigIntegerField, Case, Count, IntegerField, Q, QuerySet, Sum, Value, When
from django.db.models.expressions import CombinedExpression
from django.db.models.functions import Coalesce, TruncDate

from usage.models import DailyTotal, LedgerEntry

GROUP: Final = ("user_id", "api_key_id", "context", "provider_slug", "model_name")
INSERT_MAX: Final = 500
_INPUT: Final = ("input_tokens", "cache_read_tokens", "cache_write_tokens", "cache_write_1h_tokens", "audio_input_tokens")
_OUTPUT: Final = ("output_tokens", "reasoning_tokens", "audio_output_tokens")


def roll_up(day: date) -> int:
    """Rebuilds the totals of one UTC day from the ledger and returns how many rows it has; concurrent calls take turns.

    ``requests`` counts distinct requests of the row's group, ``attempts`` the calls that cost something, ``estimated`` those
    of them whose figure is still an estimate. Unknown tokens add nothing.
    """
    start = datetime.combine(day, time(), UTC)
    lines = LedgerEntry.objects.filter(dispatched_at__gte=start, dispatched_at__lt=start + timedelta(days=1)).order_by()
    with transaction.atomic():
        _lock_totals()
        DailyTotal.objects.filter(day=day).delete()
        rows = (_total(day, group) for group in _sums(lines).iterator(chunk_size=INSERT_MAX))
        count = 0
        while chunk := [*islice(rows, INSERT_MAX)]:
            count += len(DailyTotal.objects.bulk_create(chunk))
    return count


def roll_up_recent(now: datetime, posted_within: timedelta = timedelta(days=2)) -> list[date]:
    """Rebuilds every UTC day that got a line within ``posted_within`` (late corrections post to old days); returns the days."""
    recent = LedgerEntry.objects.filter(posted_at__gte=now - posted_within).order_by()
    days = sorted(recent.annotate(day=TruncDate("dispatched_at", tzinfo=UTC)).values_list("day", flat=True).distinct())
    for day in days:
        roll_up(day)
    return days


def _sums(lines: QuerySet[LedgerEntry]) -> QuerySet[LedgerEntry, dict[str, Any]]:
    usage_line = Q(kind=LedgerEntry.Kind.USAGE)
    estimates = Case(
        When(usage_line & Q(basis=LedgerEntry.Basis.ESTIMATED), then=Value(1)),
        When(kind=LedgerEntry.Kind.CORRECTION, basis=LedgerEntry.Basis.MEASURED, then=Value(-1)),
        default=Value(0),
        output_field=IntegerField(),
    )
    sums: QuerySet[LedgerEntry, dict[str, Any]] = lines.values(*GROUP).annotate(
        request_count=Count("request_id", distinct=True),
        attempt_count=Count("id", filter=usage_line),
        estimated_count=Sum(estimates),
        input_sum=_token_sum(_INPUT),
        output_sum=_token_sum(_OUTPUT),
        cost_sum=Sum("cost_nano"),
    )
    return sums


def _token_sum(columns: tuple[str, ...]) -> CombinedExpression | Coalesce:
    first, *rest = (Coalesce(Sum(column), Value(0), output_field=BigIntegerField()) for column in columns)
    total: CombinedExpression | Coalesce = first
    for each in rest:
        total = total + each
    return total


def _total(day: date, group: dict[str, Any]) -> DailyTotal:
    return DailyTotal(
        day=day,
        user_id=group["user_id"],
        api_key_id=group["api_key_id"],
        context=group["context"],
        provider_slug=group["provider_slug"],
        model_name=group["model_name"],
        requests=group["request_count"],
        attempts=group["attempt_count"],
        estimated=group["estimated_count"],
        input_tokens=group["input_sum"],
        output_tokens=group["output_sum"],
        cost_nano=group["cost_sum"],
    )


def _lock_totals() -> None:
    """Rebuilding deletes and inserts: two at once would collide. SQLite's transactions take turns anyway; readers never wait."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("LOCK TABLE usage_dailytotal IN SHARE ROW EXCLUSIVE MODE")
