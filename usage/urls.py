"""Paths below ``/api/v1/ai/``."""

from __future__ import annotations

from django.urls import path

from usage.budgets.adjustment_views import AdjustmentsView
from usage.budgets.views import OwnQuotaView, QuotaResetView, QuotaView
from usage.exports.cost_views import CostsView
from usage.exports.views import (
    ExportFileView,
    ExportManifestView,
    ExportRestartView,
    ExportsView,
    ExportView,
    MonthCloseView,
    MonthFileView,
    MonthsView,
)
from usage.reports.line_views import LinesView
from usage.reports.savings_views import SavingsView
from usage.reports.views import OwnUsageView, UsageView
from usage.statements.views import StatementsView, StatementView
from usage.subscriptions.webhooks import SubscriptionWebhookView
from usage.whatif.views import WhatIfView

urlpatterns = [
    path("usage", OwnUsageView.as_view(), name="usage"),
    path("admin/usage", UsageView.as_view(), name="admin-usage"),
    path("admin/usage/lines", LinesView.as_view(), name="admin-usage-lines"),
    path("admin/savings", SavingsView.as_view(), name="admin-savings"),
    path("admin/costs", CostsView.as_view(), name="admin-costs"),
    path("admin/exports", ExportsView.as_view(), name="admin-exports"),
    path("admin/exports/<uuid:export_id>", ExportView.as_view(), name="admin-export"),
    path("admin/exports/<uuid:export_id>/restart", ExportRestartView.as_view(), name="admin-export-restart"),
    path("admin/exports/<uuid:export_id>/file", ExportFileView.as_view(), name="admin-export-file"),
    path("admin/exports/<uuid:export_id>/manifest", ExportManifestView.as_view(), name="admin-export-manifest"),
    path("admin/months", MonthsView.as_view(), name="admin-months"),
    path("admin/months/<str:month>/close", MonthCloseView.as_view(), name="admin-month-close"),
    path("admin/months/<str:month>/file", MonthFileView.as_view(), name="admin-month-file"),
    path("admin/statements", StatementsView.as_view(), name="admin-statements"),
    path("admin/statements/<int:statement_id>", StatementView.as_view(), name="admin-statement"),
    path("admin/what-if", WhatIfView.as_view(), name="admin-what-if"),
    path("admin/adjustments", AdjustmentsView.as_view(), name="admin-adjustments"),
    path("quota", OwnQuotaView.as_view(), name="quota"),
    path("admin/quotas/<int:user_id>", QuotaView.as_view(), name="admin-quota"),
    path("admin/quotas/<int:user_id>/reset", QuotaResetView.as_view(), name="admin-quota-reset"),
    path("webhooks/subscriptions", SubscriptionWebhookView.as_view(), name="subscription-webhook"),
]
