"""Every address the product answers, read from Django's own URL resolvers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from django.urls import URLPattern, URLResolver

API = "api/v1/ai/"


@dataclass(frozen=True, slots=True)
class Route:
    """``template`` is the whole route from the root, ``name`` with its namespace."""

    template: str
    name: str
    view: Callable[..., Any]


def routes_of(urlconf: str) -> list[Route]:
    return [*_walk(import_module(urlconf).urlpatterns, "", "")]


def _walk(patterns: list[URLPattern | URLResolver], before: str, namespace: str) -> Iterator[Route]:
    for pattern in patterns:
        template = before + str(pattern.pattern).removeprefix("^")
        if isinstance(pattern, URLResolver):
            inner = f"{namespace}{pattern.namespace}:" if pattern.namespace else namespace
            yield from _walk(pattern.url_patterns, template, inner)
        else:
            yield Route(template, f"{namespace}{pattern.name or ''}", pattern.callback)


def control_plane() -> list[Route]:
    return routes_of("aigateway.urls")


def rest() -> list[tuple[Route, str]]:
    """Each address of the REST surface with the route its rule stands under: an alias has its view's."""
    routes = [route for route in control_plane() if not route.template.startswith("admin/")]
    canonical = {route.view: route.template.removeprefix(API) for route in routes if route.template.startswith(API)}
    return [(route, canonical.get(route.view, route.template)) for route in routes]
