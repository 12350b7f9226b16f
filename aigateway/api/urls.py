"""``/api/schema/`` and ``/api/docs/``."""

from __future__ import annotations

from django.urls import path
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView

from aigateway.api.scopes import PUBLIC


class SchemaView(SpectacularAPIView):
    scope = PUBLIC


class DocumentationView(SpectacularSwaggerSplitView):
    """Swagger UI from the installed package, with a page of our own that keeps the content security policy strict."""

    template_name = "api/docs.html"
    scope = PUBLIC


urlpatterns = [
    path("api/schema/", SchemaView.as_view(), name="schema"),
    path("api/docs/", DocumentationView.as_view(url_name="schema"), name="docs"),
]
