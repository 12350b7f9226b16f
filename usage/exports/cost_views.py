"""Costs of everybody, as a report or as the ledger lines themselves."""

from __future__ import annotations

from django.http.response import HttpResponseBase
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework.generics import GenericAPIView
from rest_framework.request import Request
from rest_framework.response import Response

from providers import clock
from usage.exports import csv_file, focus
from usage.exports.downloads import streamed
from usage.exports.lines import fixed
from usage.exports.months import BillingMonths
from usage.exports.serializers import CostsQuerySerializer
from usage.keys import Scope
from usage.models import LedgerEntry
from usage.reports import Asked, CostReportSerializer, cost_report, lines_in, snapshot
from usage.rest import NO_SUCH_TEAM, FormatParameterNegotiation, SeesReports, checked_query, team_for


class CostsView(GenericAPIView[LedgerEntry]):
    """Costs of everybody, as a report or as the ledger lines themselves."""

    scope = Scope.FINANCE_READ
    queryset = LedgerEntry.objects.none()
    serializer_class = CostReportSerializer
    permission_classes = (SeesReports,)
    content_negotiation_class = FormatParameterNegotiation
    filter_backends = ()

    @extend_schema(
        operation_id="admin_costs",
        summary="Costs by provider, user, model and day",
        description=f"With `format=csv` the ledger lines, streamed.\n\n{csv_file.__doc__}\n\nColumns: {', '.join(csv_file.COLUMNS)}.\n\n"
        f"With `format=focus` (newest profile), `focus-1.2` or `focus-1.4` the same lines for FinOps tools.\n\n{focus.__doc__}",
        parameters=[CostsQuerySerializer],
        responses={
            (200, "application/json"): CostReportSerializer,
            (200, "text/csv"): OpenApiResponse(OpenApiTypes.STR, description="One record per ledger line, then the control total."),
            **NO_SUCH_TEAM,
        },
    )
    def get(self, request: Request) -> HttpResponseBase:
        wanted = checked_query(CostsQuerySerializer, request)
        asked = Asked(wanted["period"], wanted["only"].of_team(team_for(request, wanted["only"].team_id)))
        if wanted["format"] != "json":
            source = fixed(lines_in(asked.period, asked.only), BillingMonths.current())
            stem = f"costs_{asked.period.start}_{asked.period.end}"
            return streamed(request._request, source, wanted["format"], stem, bom=wanted["bom"])
        with snapshot():
            return Response(cost_report(asked, clock.database_now()))
