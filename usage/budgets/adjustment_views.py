"""Credits and charges by hand: a new ledger line with a reason and its author."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from django.shortcuts import get_object_or_404
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import serializers, status
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from providers.fields import dollars, nano_from_dollars
from usage.budgets.adjustments import adjust_attempt
from usage.keys import Scope
from usage.models import Attempt
from usage.rest import StrictSerializer

AMOUNT_MAX = Decimal(1_000_000)


class AdjustmentPermission(BasePermission):
    """Staff with Django's own permission to add ledger entries."""

    message = "This needs a staff account with the permission to add ledger entries."

    def has_permission(self, request: Request, view: APIView) -> bool:  # noqa: ARG002 - the framework's signature
        user = request.user
        return bool(user.is_active and getattr(user, "is_staff", False) and user.has_perm("usage.add_ledgerentry"))


class AdjustmentWriteSerializer(StrictSerializer):
    request_id = serializers.CharField(max_length=64, help_text="As in X-Gateway-Request-ID and in the reports.")
    attempt_no = serializers.IntegerField(min_value=1, max_value=32_767, default=1)
    amount_usd = serializers.DecimalField(
        max_digits=16, decimal_places=9, min_value=-AMOUNT_MAX, max_value=AMOUNT_MAX, help_text="Negative: a credit."
    )
    reason = serializers.CharField(min_length=3, max_length=200)


class AdjustmentLineSerializer(serializers.Serializer[Any]):
    entry_id = serializers.IntegerField()
    request_id = serializers.CharField()
    attempt_no = serializers.IntegerField()
    amount_usd = serializers.CharField()
    reason = serializers.CharField()
    posted_at = serializers.DateTimeField()


class AdjustmentsView(APIView):
    scope = Scope.MANAGE_FINANCE
    permission_classes = (AdjustmentPermission,)

    @extend_schema(
        operation_id="admin_adjust",
        summary="Credit or charge a call by hand",
        description="Adds a ledger line; nothing is changed or deleted. It counts in the budgets the call counted in.",
        request=AdjustmentWriteSerializer,
        responses={201: AdjustmentLineSerializer, 404: OpenApiResponse(description="No call has this request id and attempt number.")},
    )
    def post(self, request: Request) -> Response:
        wanted = AdjustmentWriteSerializer(data=request.data)
        wanted.is_valid(raise_exception=True)
        fields = wanted.validated_data
        attempt = get_object_or_404(Attempt, request_id=fields["request_id"], attempt_no=fields["attempt_no"])
        line = adjust_attempt(attempt, nano_from_dollars(fields["amount_usd"]), fields["reason"], request.user.pk or 0)
        answer = {
            "entry_id": line.pk,
            "request_id": line.request_id,
            "attempt_no": line.attempt_no,
            "amount_usd": dollars(line.cost_nano),
            "reason": line.note,
            "posted_at": line.posted_at,
        }
        return Response(answer, status=status.HTTP_201_CREATED, headers={"Cache-Control": "private, no-store"})
