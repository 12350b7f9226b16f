"""Paths below ``/api/v1/ai/``."""

from __future__ import annotations

from collections.abc import Callable

from django.urls import URLPattern, path

from preferences.views import PreferencesView, PreferenceView, UsageByModel, no_statistics


def patterns(usage_statistics: Callable[[int], UsageByModel]) -> list[URLPattern]:
    """The routes, with the source of usage statistics the composition root chooses."""
    return [
        path("preferences", PreferencesView.as_view(usage_statistics=usage_statistics), name="preferences"),
        path("preferences/<str:context>", PreferenceView.as_view(), name="preference"),
    ]


urlpatterns = patterns(no_statistics)
