"""``/api/schema/`` and ``/api/docs/``."""

from __future__ import annotations

from django.urls import path
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView


class DocumentationView(SpectacularSwaggerSplitView):
    """Swagger UI from the installed package, with a page of our own that keeps the content security policy strict."""

    template_name = "api/docs.html"


urlpatterns = [
    path("api/schema/", SpectacularAPIView.as_view(), name="schema"),
    path("api/docs/", DocumentationView.as_view(url_name="schema"), name="docs"),
]
