"""URLs of the control plane. Inference paths are answered by ``aigateway.door`` before Django sees them."""

from __future__ import annotations

from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path
from django.views.generic import RedirectView

from aigateway import entitlements, traffic
from aigateway.api import errors
from aigateway.process import health
from aigateway.trials import conformance_views, provider_tests
from preferences.urls import patterns as preferences_patterns
from providers.urls import patterns as providers_patterns
from usage.reports.questions import statistics_for_user
from usage.urls import urlpatterns as usage_patterns

PROVIDERS = "admin/providers"
_rest: list[URLPattern] = [
    *preferences_patterns(statistics_for_user),
    *usage_patterns,
    *providers_patterns(traffic.by_deployment, entitlements.barred_tiers),
    *provider_tests.api_patterns,
    *conformance_views.api_patterns,
]


def _aliases() -> list[URLPattern]:
    """R130: ``/api/providers...`` and ``/api/ai/...``, the same views under shorter names."""
    shorter: list[URLPattern] = []
    for pattern in _rest:
        route = str(pattern.pattern)
        if route.startswith(PROVIDERS):
            shorter.append(path("providers" + route.removeprefix(PROVIDERS), pattern.callback))
        elif not route.startswith("admin/"):
            shorter.append(path("ai/" + route, pattern.callback))
    return shorter


urlpatterns: list[URLPattern | URLResolver] = [
    path("", RedirectView.as_view(pattern_name="admin:index")),
    path("healthz", health.healthz, name="healthz"),
    path("readyz", health.readyz, name="readyz"),
    path("api/health", health.readyz),
    path("", include("aigateway.api.urls")),
    path("api/v1/ai/", include(_rest)),
    path("api/", include((_aliases(), "aliases"))),
    path("", include(provider_tests.urlpatterns)),
    path("", include(conformance_views.urlpatterns)),
    path("admin/", admin.site.urls),
]
handler400 = errors.handler400
handler403 = errors.handler403
handler404 = errors.handler404
handler500 = errors.handler500
