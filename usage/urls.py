"""Paths below ``/api/v1/ai/``."""

from __future__ import annotations

from django.urls import path

from usage.views import CostsView, OwnUsageView, UsageView
from usage.webhooks import SubscriptionWebhookView

urlpatterns = [
    path("usage", OwnUsageView.as_view(), name="usage"),
    path("admin/usage", UsageView.as_view(), name="admin-usage"),
    path("admin/costs", CostsView.as_view(), name="admin-costs"),
    path("webhooks/subscriptions", SubscriptionWebhookView.as_view(), name="subscription-webhook"),
]
