"""Measured traffic by model, for the pages and endpoints of apps that know nothing of the ledger."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from django.db.models import Avg, Count, Q
from django.utils import timezone

from usage.models import Attempt

WINDOW = timedelta(hours=24)


def by_deployment() -> Mapping[int, tuple[float, float]]:
    """Mean latency in ms of successful calls and success rate (0 to 1) by deployment id, over the last 24 hours.

    Models without a successful call are absent: nothing is known of them. Calls the client left do not count.
    """
    closed = Attempt.objects.filter(dispatched_at__gte=timezone.now() - WINDOW).exclude(status=Attempt.Status.DISPATCHED)
    rows = (
        closed.exclude(error_code="client_closed")
        .order_by()
        .values("deployment_id")
        .annotate(calls=Count("pk"), good=Count("pk", filter=Q(error_code="")), latency_ms=Avg("latency_ms", filter=Q(error_code="")))
    )
    return {row["deployment_id"]: (row["latency_ms"], row["good"] / row["calls"]) for row in rows if row["latency_ms"] is not None}
