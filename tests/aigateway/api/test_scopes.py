"""Every REST address names the scope a key needs for it, and no key without it gets in."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.cache import cache
from django.test import Client, override_settings
from django.urls import URLPattern, URLResolver, get_resolver
from rest_framework.settings import api_settings
from rest_framework.test import APIRequestFactory
from rest_framework.views import APIView

from aigateway.api.authentication import SessionAuthentication
from aigateway.api.scopes import PUBLIC, ScopedAuthentication, needed_scopes
from usage.keys.actions import create_api_key
from usage.keys.scopes import Scope, effective

METHODS = ("get", "post", "put", "patch", "delete")
VALUES = {"int": "1", "str": "x", "uuid": "12345678-1234-5678-1234-567812345678", "path": "x"}


@pytest.fixture(autouse=True)
def _whole_product() -> Iterator[None]:
    cache.clear()
    with override_settings(ROOT_URLCONF="aigateway.urls"):
        yield


def rest_routes() -> Iterator[tuple[str, type[APIView], Any]]:
    """Address, view class and the attributes it was configured with, of every REST view in the product, aliases too."""

    def walk(patterns: Any, prefix: str) -> Iterator[tuple[str, type[APIView], Any]]:
        for pattern in patterns:
            route = prefix + str(pattern.pattern)
            if isinstance(pattern, URLResolver):
                yield from walk(pattern.url_patterns, route)
            elif isinstance(pattern, URLPattern) and isinstance(getattr(pattern.callback, "cls", None), type):
                yield route, pattern.callback.cls, pattern.callback

    yield from walk(get_resolver("aigateway.urls").url_patterns, "/")


def address(route: str) -> str:
    return "/".join(VALUES[part.strip("<>").partition(":")[0]] if part.startswith("<") else part for part in route.split("/"))


ROUTES = [(address(route), view) for route, view, _ in rest_routes()]
OFFERED = [(path, view, method) for path, view in ROUTES for method in METHODS if hasattr(view, method)]


def test_there_are_views_to_look_at() -> None:
    assert len(ROUTES) > 50
    assert {"/api/v1/ai/admin/providers", "/api/providers", "/api/ai/usage", "/api/schema/"} <= {path for path, _ in ROUTES}


@pytest.mark.parametrize(("path", "view", "method"), OFFERED, ids=lambda each: each if isinstance(each, str) else "")
def test_C22_every_method_of_every_view_names_a_scope_there_is(path: str, view: type[APIView], method: str) -> None:
    needed = needed_scopes(view, method.upper())
    assert needed, f"{view.__name__} does not say which scope {method.upper()} needs"
    assert needed <= {*Scope, PUBLIC}


def test_C22_a_view_that_names_none_is_closed_to_keys(db: None) -> None:
    class Forgetful(APIView):
        def get(self, request: Any) -> Any:
            raise AssertionError("a key reached it")

    root = User.objects.create_superuser("root")
    _, key = create_api_key(root, "all", scopes=[*Scope])
    answer = Forgetful.as_view()(APIRequestFactory().get("/", headers={"X-API-Key": key}))
    assert (answer.status_code, answer.data["error"]["code"]) == (403, "scope_missing")


def test_C22_no_view_and_no_default_has_an_authenticator_that_compares_no_scopes() -> None:
    for view in (APIView, *(view for _, view in ROUTES)):
        for kind in view.authentication_classes:
            assert issubclass(kind, ScopedAuthentication | SessionAuthentication), view
    assert any(issubclass(kind, ScopedAuthentication) for kind in api_settings.DEFAULT_AUTHENTICATION_CLASSES)


@pytest.fixture
def root(db: None) -> User:
    return User.objects.create_superuser("root")


@pytest.mark.parametrize("scope", [*Scope])
def test_C22_a_key_of_a_superuser_reaches_what_its_scope_says_and_nothing_else(scope: str, root: User) -> None:
    _, key = create_api_key(root, "one", scopes=[scope])
    client = Client(headers={"Authorization": f"Bearer {key}"})
    wrong = []
    for path, view, method in OFFERED:
        needed = needed_scopes(view, method.upper())
        if needed & {PUBLIC, *effective([scope])}:
            continue
        answer = getattr(client, method)(path, content_type="application/json")
        error = answer.json().get("error", {})
        if (answer.status_code, error.get("code")) != (403, "scope_missing") or not any(f"'{each}'" in error["message"] for each in needed):
            wrong.append((method, path, answer.status_code))
    assert wrong == []


@pytest.mark.parametrize(
    ("scope", "path"),
    [
        ("own_usage", "/api/v1/ai/usage"),
        ("own_usage", "/api/ai/quota"),
        ("own_preferences", "/api/v1/ai/preferences"),
        ("finance_read", "/api/v1/ai/admin/usage"),
        ("manage_finance", "/api/v1/ai/admin/months"),
        ("providers_read", "/api/v1/ai/admin/providers"),
        ("manage_providers", "/api/providers/health"),
    ],
)
def test_C22_a_scope_opens_what_its_owner_may_do_and_adds_no_right(scope: str, path: str, root: User) -> None:
    _, key = create_api_key(root, "one", scopes=[scope])
    client = Client(headers={"X-API-Key": key})
    assert client.get(path).status_code == 200
    assert client.head(path).status_code == 200
    root.is_superuser = False
    root.save()
    mine = scope.startswith("own_")
    assert client.get(path).status_code == (200 if mine else 403)
    if not mine:
        assert client.get(path).json()["error"]["code"] == "permission_denied"


def test_C22_the_first_key_cannot_send_a_providers_key_elsewhere(root: User) -> None:
    _, key = create_api_key(root, "first key", allowed_models=())
    client = Client(headers={"Authorization": f"Bearer {key}"})
    for path in ("/api/v1/ai/admin/providers/1", "/api/providers/1"):
        answer = client.patch(path, {"base_url": "https://evil.example"}, content_type="application/json")
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "scope_missing")


def test_a_session_needs_no_scope(root: User) -> None:
    client = Client()
    client.force_login(root, "django.contrib.auth.backends.ModelBackend")
    assert client.get("/api/v1/ai/admin/providers").status_code == 200


def test_methods_a_view_has_not_are_still_405(root: User) -> None:
    _, key = create_api_key(root, "one", scopes=["inference"])
    assert Client(headers={"X-API-Key": key}).delete("/api/v1/ai/usage").status_code == 405


# ------------------------------------------------------------------ private answers


@pytest.mark.parametrize(("path", "view"), ROUTES, ids=lambda each: each if isinstance(each, str) else "")
def test_C26_no_answer_that_depends_on_the_caller_may_be_stored(path: str, view: type[APIView], root: User) -> None:
    _, key = create_api_key(root, "all", scopes=[*Scope])
    for headers in ({"X-API-Key": key}, {}):
        answer = Client().get(path, headers=headers)
        stored = answer["Cache-Control"]
        if "public" in stored:
            assert headers == {}
            assert {"Authorization", "X-API-Key", "Cookie"} <= {name.strip() for name in answer["Vary"].split(",")}
        else:
            assert stored == "private, no-store"


@pytest.mark.parametrize("path", ["/admin/", "/admin/login/", "/admin/usage/apikey/", "/", "/readyz", "/api/nothing", "/nothing"])
def test_C26_pages_too(path: str, root: User) -> None:
    client = Client()
    client.force_login(root, "django.contrib.auth.backends.ModelBackend")
    assert client.get(path)["Cache-Control"] == "private, no-store"


def test_C26_messages_are_not_in_a_cookie(settings: Any) -> None:
    assert settings.MESSAGE_STORAGE.endswith("SessionStorage")
