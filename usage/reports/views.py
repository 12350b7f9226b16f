"""Usage and costs: one's own for everybody, everybody's for finance."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework.generics import GenericAPIView
from rest_framework.request import Request
from rest_framework.response import Response

from usage.keys import Scope
from usage.models import LedgerEntry
from usage.reports import questions
from usage.reports.answers import breakdown_answer, day_rows, opening
from usage.reports.questions import DateRange, Dimension, LineFilter
from usage.reports.serializers import (
    OwnUsageSerializer,
    RangeQuerySerializer,
    UsageQuerySerializer,
    UsageReportSerializer,
    shown_group,
    shown_totals,
)
from usage.reports.sums import Asked, Groups, snapshot, sums
from usage.rest import NO_SUCH_TEAM, SeesReports, checked_query, team_for


class OwnUsageView(GenericAPIView[LedgerEntry]):
    scope = Scope.OWN_USAGE
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
                "by_provider": breakdown_answer(asked, Dimension.PROVIDER),
                "by_day": day_rows(asked),
            }
        return Response(answer)


class UsageView(GenericAPIView[LedgerEntry]):
    """Everybody's usage in groups."""

    scope = Scope.FINANCE_READ
    queryset = LedgerEntry.objects.none()
    serializer_class = UsageReportSerializer
    permission_classes = (SeesReports,)
    filter_backends = ()

    @extend_schema(
        operation_id="admin_usage",
        summary="Usage of all users, grouped",
        parameters=[UsageQuerySerializer],
        responses={200: UsageReportSerializer, **NO_SUCH_TEAM},
    )
    def get(self, request: Request) -> Response:
        wanted = checked_query(UsageQuerySerializer, request)
        by: list[Dimension] = wanted["group_by"]
        asked = Asked(wanted["period"], wanted["only"].of_team(team_for(request, wanted["only"].team_id)))
        with snapshot():
            page: Any = self.paginate_queryset(Groups(asked, by))  # type: ignore[arg-type] # it counts and slices
            listed = self.get_paginated_response([shown_group(group) for group in questions.named(page, by)])
            totals = shown_totals(sums(asked))
        return Response({**opening(asked.period), "group_by": by, "totals": totals, **listed.data})
