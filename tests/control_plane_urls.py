"""The REST surface of the control plane alone, for tests that need no inference and no admin."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.urls import include, path

import preferences.urls
import usage.urls
from aigateway.api import urls as api
from aigateway.process import health
from usage.reports.questions import statistics_for_user

handler400 = "aigateway.api.errors.handler400"
handler403 = "aigateway.api.errors.handler403"
handler404 = "aigateway.api.errors.handler404"
handler500 = "aigateway.api.errors.handler500"


def broken(request: HttpRequest) -> HttpResponse:
    raise RuntimeError("a secret detail")


urlpatterns = [
    *api.urlpatterns,
    path("healthz", health.healthz),
    path("readyz", health.readyz),
    path("api/v1/ai/", include(preferences.urls.patterns(statistics_for_user))),
    path("api/v1/ai/", include(usage.urls)),
    path("api/broken", broken),
    path("broken", broken),
]
