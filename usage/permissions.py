"""Who may read everybody's usage and costs."""

from __future__ import annotations

from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.views import APIView

from usage.models import FINANCE_GROUP


class IsFinance(BasePermission):
    """Members of the group ``finance``, superusers, and staff who may view the ledger."""

    message = "Usage and costs of all users are open to finance staff only."

    def has_permission(self, request: Request, view: APIView) -> bool:  # noqa: ARG002 - the framework's signature
        user = request.user
        if not user.is_authenticated or not user.is_active:
            return False
        if user.is_staff and user.has_perm("usage.view_ledgerentry"):
            return True
        return user.is_superuser or user.groups.filter(name=FINANCE_GROUP).exists()
