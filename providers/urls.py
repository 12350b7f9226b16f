"""Paths below ``/api/v1/ai/``."""

from __future__ import annotations

from django.urls import URLPattern, path

from providers import views
from providers.prices import views as price_views


def patterns(traffic_statistics: views.TrafficStatistics, barred_tiers: views.BarredTiers) -> list[URLPattern]:
    """The routes, with the sources of traffic statistics and subscriptions the composition root chooses."""
    models = views.ModelListView.as_view(traffic_statistics=traffic_statistics, barred_tiers=barred_tiers)
    return [
        path("models", models, name="models"),
        path("admin/prices", price_views.PricesView.as_view(), name="admin-prices"),
        path("admin/price-proposals", price_views.PriceProposalsView.as_view(), name="price-proposals"),
        path("admin/price-proposals/<int:pk>/decision", price_views.PriceDecisionView.as_view(), name="price-decision"),
        path("admin/providers", views.ProvidersView.as_view(), name="admin-providers"),
        path("admin/providers/health", views.ProvidersHealthView.as_view(), name="providers-health"),
        path("admin/providers/status", views.StatusView.as_view(), name="providers-status"),
        path("admin/providers/health-check", views.HealthCheckJobsView.as_view(), name="provider-health-check"),
        path("admin/providers/health-check/<uuid:pk>", views.HealthCheckJobView.as_view(), name="provider-health-check-job"),
        path("admin/providers/<int:pk>", views.ProviderView.as_view(), name="admin-provider"),
        path("admin/providers/<int:pk>/toggle", views.ProviderToggleView.as_view(), name="provider-toggle"),
        path("admin/providers/<int:pk>/import", views.ModelImportView.as_view(), name="provider-import-models"),
        path("admin/providers/<int:pk>/health", views.ProviderHealthView.as_view(), name="provider-health"),
        path("admin/providers/<int:pk>/health/history", views.HealthHistoryView.as_view(), name="provider-health-history"),
    ]


urlpatterns = patterns(views.no_statistics, views.no_tiers)
