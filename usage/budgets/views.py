"""Quotas: one's own for everybody (R111), everybody's for administrators (R124)."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib.auth.models import User
from django.shortcuts import get_object_or_404
from drf_spectacular.utils import extend_schema
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from providers import clock
from providers.fields import dollars
from usage.budgets import quotas, tiers
from usage.budgets.serializers import (
    OwnQuotaSerializer,
    QuotaSerializer,
    QuotaWriteSerializer,
    ResetAnswerSerializer,
    ResetSerializer,
    shown_state,
)
from usage.keys import Scope
from usage.limits import shown_rate_limits
from usage.models import ApiKey, Budget, BudgetAdjustment, UserAccount


class BudgetPermission(BasePermission):
    """Staff with Django's own permission on budgets: view to read, change to write."""

    message = "This needs a staff account with the permission for budgets."

    def has_permission(self, request: Request, view: APIView) -> bool:  # noqa: ARG002 - the framework's signature
        verb = "view" if request.method in ("GET", "HEAD", "OPTIONS") else "change"
        user = request.user
        return bool(user.is_active and getattr(user, "is_staff", False) and user.has_perm(f"usage.{verb}_budget"))


class OwnQuotaView(APIView):
    scope = Scope.OWN_USAGE

    @extend_schema(operation_id="quota_own", summary="Your own limits and what is left of them", responses=OwnQuotaSerializer)
    def get(self, request: Request) -> Response:
        key_id = request.auth.pk if isinstance(request.auth, ApiKey) else ""
        states = quotas.quotas_of(request.user.pk or 0, key_id)
        own = {"tier": _tier_of(request.user.pk or 0), "limits": [shown_state(state) for state in states]}
        return Response({**own, "rate_limits": shown_rate_limits(request.user.pk or 0, key_id)})


class QuotaView(APIView):
    scope: ClassVar = {"GET": Scope.FINANCE_READ, "PUT": Scope.MANAGE_FINANCE}
    permission_classes = (BudgetPermission,)

    @extend_schema(operation_id="admin_quota", summary="A user's tier and limits", responses=QuotaSerializer)
    def get(self, request: Request, user_id: int) -> Response:  # noqa: ARG002 - the framework's signature
        return Response(_quota(_user(user_id)))

    @extend_schema(
        operation_id="admin_quota_set",
        summary="Set a user's tier and own limits",
        description="Replaces both. Counters stay: a limit set in the middle of a period counts what was used in it before.",
        request=QuotaWriteSerializer,
        responses=QuotaSerializer,
    )
    def put(self, request: Request, user_id: int) -> Response:
        user = _user(user_id)
        wanted = QuotaWriteSerializer(data=request.data)
        wanted.is_valid(raise_exception=True)
        tiers.replace_quota(user, wanted.validated_data["limits"], wanted.validated_data["tier"])
        return Response(_quota(user))


class QuotaResetView(APIView):
    scope = Scope.MANAGE_FINANCE
    permission_classes = (BudgetPermission,)

    @extend_schema(
        operation_id="admin_quota_reset",
        summary="Let a user's current periods begin anew",
        description="By opposite entries with your name and reason. The ledger keeps its lines, and costs stay what they were.",
        request=ResetSerializer,
        responses=ResetAnswerSerializer,
    )
    def post(self, request: Request, user_id: int) -> Response:
        user = _user(user_id)
        wanted = ResetSerializer(data=request.data)
        wanted.is_valid(raise_exception=True)
        made = tiers.reset_quota(user, wanted.validated_data["reason"], request.user.pk or 0, wanted.validated_data["periods"])
        return Response({**_quota(user), "adjustments": [_shown(each) for each in made]})


def _user(user_id: int) -> User:
    return get_object_or_404(User, pk=user_id)


def _tier_of(user_id: int) -> str | None:
    return UserAccount.objects.filter(user_id=user_id).values_list("tier__name", flat=True).first()


def _quota(user: User) -> dict[str, Any]:
    budgets = Budget.objects.filter(scope=Budget.Scope.USER, user=user).select_related("user", "tier").order_by("pk")
    return {"tier": _tier_of(user.pk), "limits": [shown_state(state) for state in quotas.states_of(budgets, clock.database_now())]}


def _shown(adjustment: BudgetAdjustment) -> dict[str, Any]:
    return {
        "period_key": adjustment.key,
        "subject": adjustment.subject,
        "cost_usd": dollars(adjustment.amount_nano),
        "tokens": adjustment.tokens,
        "requests": adjustment.requests,
    }
