"""Providers' statements against the ledger, for finance."""

from __future__ import annotations

from typing import Any, ClassVar

from django.http import HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import status
from rest_framework.generics import GenericAPIView
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import ValidationError
from rest_framework.views import APIView

from usage.exports import CONTENT_TYPE
from usage.keys import Scope
from usage.models import Statement, StatementLine
from usage.rest import FormatParameterNegotiation, IsFinance
from usage.statements.actions import reconcile_statement
from usage.statements.reading import StatementInvalid
from usage.statements.report import COLUMNS, findings, report_csv
from usage.statements.serializers import (
    StatementDetailSerializer,
    StatementQuerySerializer,
    StatementSerializer,
    StatementWriteSerializer,
    shown_finding,
    shown_statement,
)


class StatementsView(GenericAPIView[Statement]):
    scope: ClassVar = {"GET": Scope.FINANCE_READ, "POST": Scope.MANAGE_FINANCE}
    queryset = Statement.objects.order_by("-uploaded_at", "-id")
    serializer_class = StatementSerializer
    permission_classes = (IsFinance,)
    parser_classes = (*APIView.parser_classes, MultiPartParser)
    filter_backends = ()

    @extend_schema(operation_id="admin_statements", summary="Statements, newest first", responses=StatementSerializer(many=True))
    def get(self, request: Request) -> Response:  # noqa: ARG002 - the framework's signature
        page = self.paginate_queryset(self.get_queryset()) or []
        listed = self.get_paginated_response([shown_statement(statement) for statement in page])
        return Response(listed.data)

    @extend_schema(
        operation_id="admin_statement_reconcile",
        summary="Compare a provider's usage or cost file with the ledger",
        description="Nothing in the ledger changes. What cannot be read exactly is refused by line and column.",
        request={"application/json": StatementWriteSerializer, "multipart/form-data": StatementWriteSerializer},
        responses={201: StatementSerializer},
    )
    def post(self, request: Request) -> Response:
        sent = {name: request.data[name] for name in request.data} if isinstance(request.data, dict) else request.data
        wanted = StatementWriteSerializer(data=sent)
        wanted.is_valid(raise_exception=True)
        try:
            statement = reconcile_statement(wanted.order(request.user.pk))
        except StatementInvalid as error:
            raise ValidationError({"file": [str(error)]}) from error
        return Response(shown_statement(statement), status=status.HTTP_201_CREATED)


class StatementView(GenericAPIView[StatementLine]):
    scope = Scope.FINANCE_READ
    queryset = StatementLine.objects.none()
    serializer_class = StatementDetailSerializer
    permission_classes = (IsFinance,)
    content_negotiation_class = FormatParameterNegotiation
    filter_backends = ()

    @extend_schema(
        operation_id="admin_statement",
        summary="A statement and its findings, differences first",
        description=f"With `format=csv` all findings as a file. Columns: {', '.join(COLUMNS)}.",
        parameters=[StatementQuerySerializer],
        responses={
            (200, "application/json"): StatementDetailSerializer,
            (200, "text/csv"): OpenApiResponse(OpenApiTypes.STR, description="One record per finding."),
        },
    )
    def get(self, request: Request, statement_id: int) -> HttpResponseBase:
        query = StatementQuerySerializer(data=request.query_params.dict())
        query.is_valid(raise_exception=True)
        wanted: dict[str, Any] = query.validated_data
        statement = get_object_or_404(Statement, pk=statement_id)
        lines = findings(statement, wanted.get("finding"))
        if wanted["format"] == "csv":
            return report_response(statement, report_csv(lines))
        page = self.paginate_queryset(lines) or []
        listed = self.get_paginated_response([shown_finding(line) for line in page])
        return Response({**shown_statement(statement), **listed.data})


def report_response(statement: Statement, content: bytes) -> HttpResponse:
    """The report as an attachment."""
    headers = {"X-Content-Type-Options": "nosniff"}
    response = HttpResponse(content, content_type=CONTENT_TYPE, headers=headers)
    response["Content-Disposition"] = f'attachment; filename="statement_{statement.pk}.csv"'
    return response
