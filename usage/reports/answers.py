"""Reports as the API answers them."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

from providers.fields import dollars
from usage.reports import projections, questions
from usage.reports.questions import DateRange, Dimension
from usage.reports.serializers import shown_group, shown_projection, shown_totals
from usage.reports.sums import Asked, Groups, breakdown, sums

CURRENCY = "USD"


def opening(period: DateRange) -> dict[str, Any]:
    return {
        "period": {"start": period.start.isoformat(), "end": period.end.isoformat(), "time_zone": str(period.zone)},
        "currency": CURRENCY,
    }


def breakdown_answer(asked: Asked, dimension: Dimension) -> dict[str, Any]:
    parts = breakdown(asked, dimension)
    return {
        "rows": [shown_group(group) for group in parts.rows],
        "others_count": parts.others_count,
        "others_cost_usd": dollars(parts.others_cost_nano),
    }


def day_rows(asked: Asked) -> list[dict[str, Any]]:
    """At most one row per day of the range, whose length is limited."""
    return [shown_group(group) for group in questions.named(Groups(asked, [Dimension.DAY])[:], [Dimension.DAY])]


def cost_report(asked: Asked, now: datetime) -> dict[str, Any]:
    totals = sums(asked)
    today = now.astimezone(asked.period.zone).date()
    projected = projections.projections(totals.cost_nano, asked.period, now, _history(asked, today))
    return {
        **opening(asked.period),
        "totals": shown_totals(totals),
        "by_provider": breakdown_answer(asked, Dimension.PROVIDER),
        "by_user": breakdown_answer(asked, Dimension.USER),
        "by_model": breakdown_answer(asked, Dimension.MODEL),
        "by_day": day_rows(asked),
        "projection": shown_projection(projected[0]),
        "projections": [shown_projection(each) for each in projected],
    }


def _history(asked: Asked, today: date) -> projections.History:
    rows = Groups(Asked(projections.history_range(today, asked.period), asked.only), [Dimension.DAY])[:]
    return projections.history_of({date.fromisoformat(row["day"]): int(row["cost_nano"]) for row in rows}, today)
