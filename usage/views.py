"""Usage and costs: one's own for everybody, everybody's for finance."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.conf import settings
from django.db.models import QuerySet
from django.http.response import HttpResponseBase
from django.utils import timezone
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework.generics import GenericAPIView
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from providers.fields import dollars
from usage import exports, focus, reports
from usage.export_downloads import streamed
from usage.export_lines import fixed
from usage.export_months import BillingMonths
from usage.models import LedgerEntry
from usage.permissions import IsFinance
from usage.reports import DateRange, Dimension, LineFilter
from usage.serializers import (
    CostReportSerializer,
    CostsQuerySerializer,
    OwnUsageSerializer,
    RangeQuerySerializer,
    UsageQuerySerializer,
    UsageReportSerializer,
    shown_group,
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
        period: DateRange = _query(RangeQuerySerializer, request)["period"]
        lines = reports.lines_in(period, LineFilter(user_id=request.user.pk))
        answer = {
            **_opening(period),
            "totals": shown_totals(reports.totals(lines)),
            "cache_hit_rate": None,
            "by_provider": _breakdown(lines, Dimension.PROVIDER),
            "by_day": _days(lines),
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
        wanted = _query(UsageQuerySerializer, request)
        by: list[Dimension] = wanted["group_by"]
        lines = reports.lines_in(wanted["period"], wanted["only"])
        page = self.paginate_queryset(reports.grouped(lines, by)) or []
        listed = self.get_paginated_response([shown_group(group) for group in reports.named(list(page), by)])
        opening = {**_opening(wanted["period"]), "group_by": by, "totals": shown_totals(reports.totals(lines))}
        return Response({**opening, **listed.data}, headers=PRIVATE)


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
        wanted = _query(CostsQuerySerializer, request)
        lines = reports.lines_in(wanted["period"], wanted["only"])
        if wanted["format"] != "json":
            source = fixed(lines, BillingMonths.current())
            stem = f"costs_{wanted['period'].start}_{wanted['period'].end}"
            return streamed(request._request, source, wanted["format"], stem, bom=wanted["bom"])
        return Response(_cost_report(lines, wanted["period"]), headers=PRIVATE)


def _query(serializer_class: Any, request: Request) -> dict[str, Any]:
    serializer = serializer_class(data=request.query_params.dict())
    serializer.is_valid(raise_exception=True)
    wanted: dict[str, Any] = serializer.validated_data
    return wanted


def _opening(period: DateRange) -> dict[str, Any]:
    return {
        "period": {"start": period.start.isoformat(), "end": period.end.isoformat(), "time_zone": settings.TIME_ZONE},
        "currency": CURRENCY,
    }


def _breakdown(lines: QuerySet[LedgerEntry], dimension: Dimension) -> dict[str, Any]:
    parts = reports.breakdown(lines, dimension)
    return {
        "rows": [shown_group(group) for group in parts.rows],
        "others_count": parts.others_count,
        "others_cost_usd": dollars(parts.others_cost_nano),
    }


def _days(lines: QuerySet[LedgerEntry]) -> list[dict[str, Any]]:
    """At most one row per day of the range, whose length is limited."""
    rows = list(reports.grouped(lines, [Dimension.DAY]))
    return [shown_group(group) for group in reports.named(rows, [Dimension.DAY])]


def _cost_report(lines: QuerySet[LedgerEntry], period: DateRange) -> dict[str, Any]:
    totals = reports.totals(lines)
    projected = reports.projection(totals.cost_nano, period, timezone.now())
    return {
        **_opening(period),
        "totals": shown_totals(totals),
        "by_provider": _breakdown(lines, Dimension.PROVIDER),
        "by_user": _breakdown(lines, Dimension.USER),
        "by_model": _breakdown(lines, Dimension.MODEL),
        "by_day": _days(lines),
        "projection": {
            "method": projected.method,
            "elapsed_s": projected.elapsed_s,
            "period_s": projected.range_s,
            "cost_usd": dollars(projected.cost_nano),
        },
    }
