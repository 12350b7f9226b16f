"""Usage and costs: one's own for everybody, everybody's for finance."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime
from typing import Any

from django.http.response import HttpResponseBase
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework.exceptions import ValidationError
from rest_framework.generics import GenericAPIView
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from providers import clock
from providers.fields import dollars
from usage import exports, focus, projections, reports
from usage.export_downloads import streamed
from usage.export_lines import fixed
from usage.export_months import BillingMonths
from usage.models import LedgerEntry
from usage.permissions import IsFinance
from usage.report_sums import Asked, Groups, breakdown, snapshot, sums
from usage.reports import DateRange, Dimension, LineFilter
from usage.serializers import (
    CostReportSerializer,
    CostsQuerySerializer,
    OwnUsageSerializer,
    RangeQuerySerializer,
    UsageQuerySerializer,
    UsageReportSerializer,
    shown_group,
    shown_projection,
    shown_totals,
)

CURRENCY = "USD"
PRIVATE = {"Cache-Control": "private, no-store"}


class FormatParameterNegotiation(DefaultContentNegotiation):
    """``format`` is a parameter of the report, checked like the others, and not the framework's choice of a renderer."""

    def select_renderer(
        self,
        request: Request,  # noqa: ARG002 - the framework's signature
        renderers: Iterable[BaseRenderer],
        format_suffix: str | None = None,  # noqa: ARG002 - the framework's signature
    ) -> tuple[BaseRenderer, str]:
        renderer = next(iter(renderers))
        return renderer, str(renderer.media_type)


class OwnUsageView(GenericAPIView[LedgerEntry]):
    queryset = LedgerEntry.objects.none()
    serializer_class = OwnUsageSerializer
    filter_backends = ()

    @extend_schema(
        operation_id="usage_own", summary="Your own usage and cost", parameters=[RangeQuerySerializer], responses=OwnUsageSerializer
    )
    def get(self, request: Request) -> Response:
        period: DateRange = checked_query(RangeQuerySerializer, request)["period"]
        asked = Asked(period, LineFilter(user_id=request.user.pk))
        with snapshot():
            answer = {
                **opening(period),
                "totals": shown_totals(sums(asked)),
                "cache_hit_rate": None,
                "by_provider": _breakdown(asked, Dimension.PROVIDER),
                "by_day": _days(asked),
            }
        return Response(answer, headers=PRIVATE)


class UsageView(GenericAPIView[LedgerEntry]):
    """Everybody's usage in groups."""

    queryset = LedgerEntry.objects.none()
    serializer_class = UsageReportSerializer
    permission_classes = (IsFinance,)
    filter_backends = ()

    @extend_schema(
        operation_id="admin_usage",
        summary="Usage of all users, grouped",
        parameters=[UsageQuerySerializer],
        responses=UsageReportSerializer,
    )
    def get(self, request: Request) -> Response:
        wanted = checked_query(UsageQuerySerializer, request)
        by: list[Dimension] = wanted["group_by"]
        asked = Asked(wanted["period"], wanted["only"])
        with snapshot():
            page: Any = self.paginate_queryset(Groups(asked, by))  # type: ignore[arg-type] # it counts and slices
            listed = self.get_paginated_response([shown_group(group) for group in reports.named(page, by)])
            totals = shown_totals(sums(asked))
        return Response({**opening(asked.period), "group_by": by, "totals": totals, **listed.data}, headers=PRIVATE)


class CostsView(GenericAPIView[LedgerEntry]):
    """Costs of everybody, as a report or as the ledger lines themselves."""

    queryset = LedgerEntry.objects.none()
    serializer_class = CostReportSerializer
    permission_classes = (IsFinance,)
    content_negotiation_class = FormatParameterNegotiation
    filter_backends = ()

    @extend_schema(
        operation_id="admin_costs",
        summary="Costs by provider, user, model and day",
        description=f"With `format=csv` the ledger lines, streamed.\n\n{exports.__doc__}\n\nColumns: {', '.join(exports.COLUMNS)}.\n\n"
        f"With `format=focus` (newest profile), `focus-1.2` or `focus-1.4` the same lines for FinOps tools.\n\n{focus.__doc__}",
        parameters=[CostsQuerySerializer],
        responses={
            (200, "application/json"): CostReportSerializer,
            (200, "text/csv"): OpenApiResponse(OpenApiTypes.STR, description="One record per ledger line, then the control total."),
        },
    )
    def get(self, request: Request) -> HttpResponseBase:
        wanted = checked_query(CostsQuerySerializer, request)
        asked = Asked(wanted["period"], wanted["only"])
        if wanted["format"] != "json":
            source = fixed(reports.lines_in(asked.period, asked.only), BillingMonths.current())
            stem = f"costs_{asked.period.start}_{asked.period.end}"
            return streamed(request._request, source, wanted["format"], stem, bom=wanted["bom"])
        with snapshot():
            return Response(_cost_report(asked, clock.database_now()), headers=PRIVATE)


def checked_query(serializer_class: Any, request: Request) -> dict[str, Any]:
    """The checked parameters; ``group_by`` may be sent twice instead of with a comma. Raises ``ValidationError``."""
    sent = dict(request.query_params.lists())
    twice = [name for name, values in sent.items() if len(values) > 1 and name != "group_by"]
    if twice:
        raise ValidationError({name: ["Send it once."] for name in twice})
    serializer = serializer_class(data={name: ",".join(values) for name, values in sent.items()})
    serializer.is_valid(raise_exception=True)
    wanted: dict[str, Any] = serializer.validated_data
    return wanted


def opening(period: DateRange) -> dict[str, Any]:
    return {
        "period": {"start": period.start.isoformat(), "end": period.end.isoformat(), "time_zone": str(period.zone)},
        "currency": CURRENCY,
    }


def _breakdown(asked: Asked, dimension: Dimension) -> dict[str, Any]:
    parts = breakdown(asked, dimension)
    return {
        "rows": [shown_group(group) for group in parts.rows],
        "others_count": parts.others_count,
        "others_cost_usd": dollars(parts.others_cost_nano),
    }


def _days(asked: Asked) -> list[dict[str, Any]]:
    """At most one row per day of the range, whose length is limited."""
    return [shown_group(group) for group in reports.named(Groups(asked, [Dimension.DAY])[:], [Dimension.DAY])]


def _cost_report(asked: Asked, now: datetime) -> dict[str, Any]:
    totals = sums(asked)
    today = now.astimezone(asked.period.zone).date()
    projected = projections.projections(totals.cost_nano, asked.period, now, _history(asked, today))
    return {
        **opening(asked.period),
        "totals": shown_totals(totals),
        "by_provider": _breakdown(asked, Dimension.PROVIDER),
        "by_user": _breakdown(asked, Dimension.USER),
        "by_model": _breakdown(asked, Dimension.MODEL),
        "by_day": _days(asked),
        "projection": shown_projection(projected[0]),
        "projections": [shown_projection(each) for each in projected],
    }


def _history(asked: Asked, today: date) -> projections.History:
    rows = Groups(Asked(projections.history_range(today, asked.period), asked.only), [Dimension.DAY])[:]
    return projections.history_of({date.fromisoformat(row["day"]): int(row["cost_nano"]) for row in rows}, today)
