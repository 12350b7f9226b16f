"""Exports made in the background and months, for finance."""

from __future__ import annotations

from uuid import UUID

from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import status
from rest_framework.exceptions import NotFound
from rest_framework.generics import GenericAPIView
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import ValidationError
from rest_framework.views import APIView

from providers import clock
from usage.errors import ActionRefused
from usage.exports import files, jobs
from usage.exports.closing import CLOSED_AT_ONCE_LINES_MAX, months_until, request_close
from usage.exports.downloads import finished_file, streamed
from usage.exports.lines import month_source
from usage.exports.months import BillingMonths, MonthInvalid
from usage.exports.serializers import (
    ExportRequestSerializer,
    ExportSerializer,
    MonthFileQuerySerializer,
    MonthSerializer,
    MonthsSerializer,
    shown_export,
    shown_month,
    shown_months,
)
from usage.keys import Scope
from usage.models import Export
from usage.rest import FormatParameterNegotiation, IsFinance

FILE = OpenApiResponse(OpenApiTypes.BINARY, description="The file.")


class MayCloseMonths(BasePermission):
    """Finance staff with Django's permission to add closed months, which the group does not have by itself: closing is for ever."""

    message = "Closing a month needs the permission “Can add closed month”."

    def has_permission(self, request: Request, view: APIView) -> bool:  # noqa: ARG002 - the framework's signature
        return bool(request.user.is_active and request.user.has_perm("usage.add_closedmonth"))


class ExportsView(GenericAPIView[Export]):
    scope = Scope.FINANCE_READ
    queryset = Export.objects.order_by("-created_at", "id")
    serializer_class = ExportSerializer
    permission_classes = (IsFinance,)
    filter_backends = ()

    @extend_schema(operation_id="admin_exports", summary="Background exports, newest first", responses=ExportSerializer(many=True))
    def get(self, request: Request) -> Response:  # noqa: ARG002 - the framework's signature
        page = self.paginate_queryset(self.get_queryset()) or []
        listed = self.get_paginated_response([shown_export(export) for export in page])
        return Response(listed.data)

    @extend_schema(
        operation_id="admin_export_request",
        summary="Ask for an export",
        description="For what is too large to wait for, and for Excel. Files are kept for 90 days.",
        request=ExportRequestSerializer,
        responses={202: ExportSerializer},
    )
    def post(self, request: Request) -> Response:
        wanted = ExportRequestSerializer(data=request.data)
        wanted.is_valid(raise_exception=True)
        export = jobs.request_export(wanted.validated_data["format"], wanted.query(), request.user.pk)
        return Response(shown_export(export), status=status.HTTP_202_ACCEPTED)


class ExportView(APIView):
    scope = Scope.FINANCE_READ
    permission_classes = (IsFinance,)

    @extend_schema(operation_id="admin_export", summary="An export and how far it is", responses=ExportSerializer)
    def get(self, request: Request, export_id: UUID) -> Response:  # noqa: ARG002 - the framework's signature
        return Response(shown_export(get_object_or_404(Export, pk=export_id)))


class ExportRestartView(APIView):
    scope = Scope.FINANCE_READ
    permission_classes = (IsFinance,)

    @extend_schema(
        operation_id="admin_export_restart",
        summary="Start a failed export again, or one whose worker died",
        request=None,
        responses={202: ExportSerializer},
    )
    def post(self, request: Request, export_id: UUID) -> Response:  # noqa: ARG002 - the framework's signature
        export = get_object_or_404(Export, pk=export_id)
        try:
            export = jobs.restart_export(export)
        except ActionRefused as error:
            raise ValidationError({"id": [str(error)]}) from error
        return Response(shown_export(export), status=status.HTTP_202_ACCEPTED)


class ExportFileView(APIView):
    scope = Scope.FINANCE_READ
    permission_classes = (IsFinance,)

    @extend_schema(
        operation_id="admin_export_file",
        summary="Download an export",
        description="Its SHA-256 is checked before the first byte is sent.",
        responses={(200, "application/octet-stream"): FILE},
    )
    def get(self, request: Request, export_id: UUID) -> HttpResponseBase:
        try:
            return finished_file(request._request, get_object_or_404(Export, pk=export_id, status=Export.Status.DONE))
        except files.FileDamaged as error:
            raise NotFound(str(error)) from error


class ExportManifestView(APIView):
    scope = Scope.FINANCE_READ
    permission_classes = (IsFinance,)

    @extend_schema(
        operation_id="admin_export_manifest",
        summary="What an export holds: columns, control totals, SHA-256, snapshot",
        responses={200: OpenApiTypes.OBJECT},
    )
    def get(self, request: Request, export_id: UUID) -> Response:  # noqa: ARG002 - the framework's signature
        export = get_object_or_404(Export, pk=export_id, status=Export.Status.DONE)
        try:
            return Response(files.read_manifest(export))
        except files.FileDamaged as error:
            raise NotFound(str(error)) from error


class MonthsView(APIView):
    scope = Scope.FINANCE_READ
    permission_classes = (IsFinance,)

    @extend_schema(
        operation_id="admin_months",
        summary="Every month of the ledger, open and closed",
        description="The costs of all months are the cost of the ledger.",
        responses=MonthsSerializer,
    )
    def get(self, request: Request) -> Response:  # noqa: ARG002 - the framework's signature
        return Response(shown_months(months_until(clock.database_now())))


MONTH = OpenApiParameter("month", OpenApiTypes.STR, OpenApiParameter.PATH, description="Such as `2026-11`.")


class MonthCloseView(APIView):
    scope = Scope.MANAGE_FINANCE
    permission_classes = (IsFinance, MayCloseMonths)

    @extend_schema(
        operation_id="admin_month_close",
        summary="Close a month for ever",
        description="Its files never change again; what is posted later stands in the next open month and is labelled late. "
        f"A month of more than {CLOSED_AT_ONCE_LINES_MAX:,} lines is closed by a worker: the answer is 202 with the month as it is, and "
        "`GET .../months` tells when it is closed.",
        parameters=[MONTH],
        request=None,
        responses={201: MonthSerializer, 202: MonthSerializer},
    )
    def post(self, request: Request, month: str) -> Response:
        now = clock.database_now()
        try:
            closed = request_close(month, request.user.pk, now)
        except (ActionRefused, MonthInvalid) as error:
            raise ValidationError({"month": [str(error)]}) from error
        state = next(state for state in months_until(now) if state.span.month == month)
        answer = status.HTTP_202_ACCEPTED if closed is None else status.HTTP_201_CREATED
        return Response(shown_month(state), status=answer)


class MonthFileView(GenericAPIView[Export]):
    scope = Scope.FINANCE_READ
    queryset = Export.objects.none()
    serializer_class = MonthSerializer
    permission_classes = (IsFinance,)
    content_negotiation_class = FormatParameterNegotiation
    filter_backends = ()

    @extend_schema(
        operation_id="admin_month_file",
        summary="The file of a month, streamed",
        description="Of a closed month the same bytes for ever. It names no people: users and teams are ids.",
        parameters=[MONTH, MonthFileQuerySerializer],
        responses={(200, "text/csv"): FILE},
    )
    def get(self, request: Request, month: str) -> HttpResponseBase:
        wanted = MonthFileQuerySerializer(data=request.query_params.dict())
        wanted.is_valid(raise_exception=True)
        try:
            source = month_source(month, BillingMonths.current())
        except MonthInvalid as error:
            raise ValidationError({"month": [str(error)]}) from error
        options = wanted.validated_data
        return streamed(request._request, source, options["format"], f"costs_{month}", bom=options["bom"])
