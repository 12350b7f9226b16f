"""Paths below ``/api/v1/ai/``."""

from __future__ import annotations

from django.urls import path

from usage.quota_views import OwnQuotaView, QuotaResetView, QuotaView
from usage.report_views import LinesView, SavingsView
from usage.views import CostsView, OwnUsageView, UsageView
from usage.webhooks import SubscriptionWebhookView

urlpatterns = [
    path("usage", OwnUsageView.as_view(), name="usage"),
    path("admin/usage", UsageView.as_view(), name="admin-usage"),
    path("admin/usage/lines", LinesView.as_view(), name="admin-usage-lines"),
    path("admin/savings", SavingsView.as_view(), name="admin-savings"),
    path("admin/costs", CostsView.as_view(), name="admin-costs"),
    path("quota", OwnQuotaView.as_view(), name="quota"),
    path("admin/quotas/<int:user_id>", QuotaView.as_view(), name="admin-quota"),
    path("admin/quotas/<int:user_id>/reset", QuotaResetView.as_view(), name="admin-quota-reset"),
    path("webhooks/subscriptions", SubscriptionWebhookView.as_view(), name="subscription-webhook"),
]
