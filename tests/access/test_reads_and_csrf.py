"""S25: reading writes nothing, anywhere; what writes wants a POST and, from a browser, its token. S22: forged posts change nothing."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import Permission
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import NoReverseMatch, reverse

from aigateway.signin import session_store
from tests.access.admin_rules import MODELS
from tests.access.principals import People
from tests.access.rest_rules import OPEN, ROUTES, SIGNED_IN
from tests.access.routes import control_plane, rest
from tests.access.world import World
from tests.undone import undone

pytestmark = [pytest.mark.django_db, pytest.mark.timeout(600)]

WRITES = re.compile(r"^\s*(INSERT|UPDATE|DELETE|REPLACE|CREATE|ALTER|DROP|TRUNCATE)\b", re.IGNORECASE)
NOT_STAFFS_OWN = ("admin:logout",)
UNSIGNED = {"webhooks/subscriptions", "auth/token/refresh", "auth/token/revoke"}
"""Writes that no browser can be made to send usefully: a signature or a token in the body is the authentication."""


def _root(people: People) -> Any:
    return next(who.user for who in people.named if who.name == "superuser")


def pages(world: World) -> list[str]:
    """One address of every page and endpoint of the control plane."""
    found = [world.address(route.template) for route, _ in rest()]
    for label in MODELS:
        for name in ("changelist", "add", "change", "delete", "history"):
            try:
                args = [] if name in ("changelist", "add") else [world.row_of(label)]
                found.append(reverse(f"admin:{label.replace('.', '_')}_{name}", args=args))
            except NoReverseMatch:
                continue
    own = [route.template for route in control_plane() if route.template.startswith("admin/") and "<path:" not in route.template]
    return [*found, *(world.address(template) for template in own if "(?P" not in template)]


def test_S25_GET_and_HEAD_write_nothing_anywhere(people: People, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_store, "SEEN_EVERY_S", float("inf"))  # once a minute a session notes that it is used, on purpose
    client = Client(raise_request_exception=False)
    client.force_login(_root(people))
    wrote: list[str] = []
    asked = pages(world)
    for path in asked:
        for method in ("GET", "HEAD", "OPTIONS"):
            with CaptureQueriesContext(connection) as captured:
                answer = client.generic(method, path)
                if answer.streaming:
                    b"".join(answer.streaming_content)
            assert answer.status_code < 500, (path, answer.status_code)
            wrote += [f"{method} {path}: {query['sql'][:120]}" for query in captured if WRITES.match(query["sql"])]
    assert len(asked) > 200
    assert wrote == []


def test_S25_every_write_of_a_session_wants_the_token(people: People, world: World) -> None:
    client = Client(enforce_csrf_checks=True, raise_request_exception=False)
    client.force_login(_root(people))
    passed: list[str] = []
    for route, key in rest():
        if key in SIGNED_IN:
            for method in set(SIGNED_IN[key]) - {"GET"}:
                status = client.generic(method, world.address(route.template)).status_code
                passed += [] if status == 403 else [f"{method} /{route.template}: {status}"]
            continue
        if key in OPEN or key in UNSIGNED:
            continue
        for method in set(ROUTES[key].offers) - {"GET"}:
            with CaptureQueriesContext(connection) as captured, undone():
                answer = client.generic(method, world.address(route.template), b"{}", "application/json")
            if answer.status_code != 403 or answer.json()["error"]["code"] != "csrf_failed":
                passed.append(f"{method} /{route.template}: {answer.status_code}")
            passed += [f"{route.template}: {query['sql'][:80]}" for query in captured if WRITES.match(query["sql"])]
    for path in (path for path in pages(world) if path.startswith("/admin/")):
        with CaptureQueriesContext(connection) as captured:
            status = client.post(path, {"action": "delete_selected", "post": "yes"}).status_code
        if status not in (403, 405):
            passed.append(f"POST {path}: {status}")
        passed += [f"{path}: {query['sql'][:80]}" for query in captured if WRITES.match(query["sql"])]
    assert passed == []


def test_S25_no_address_allows_other_origins(people: People, world: World) -> None:
    client = Client(raise_request_exception=False)
    client.force_login(_root(people))
    for path in pages(world)[:60]:
        answer = client.get(path, headers={"Origin": "https://evil.example"})
        assert not [name for name in answer.headers if name.lower().startswith("access-control-")], path


def test_S22_staff_that_may_only_look_changes_nothing_by_a_forged_form(people: People, world: World) -> None:
    """Every list, with every action and the fields of an editable list, and every page with its inlines, as the browser never would."""
    changed: list[str] = []
    assert people.staff is not None
    for model, own in admin.site._registry.items():
        label = model._meta.label_lower
        people.staff.user_permissions.set(_views_of(model, own))
        client = Client(raise_request_exception=False)
        client.force_login(people.staff)
        pk = world.row_of(label)
        forged = {"form-TOTAL_FORMS": "1", "form-INITIAL_FORMS": "1", "form-0-id": str(pk), "form-0-enabled": "on", "_save": "Save"}
        for inline in own.inlines:
            prefix = inline.model._meta.model_name
            forged |= {f"{prefix}_set-TOTAL_FORMS": "1", f"{prefix}_set-INITIAL_FORMS": "0", f"{prefix}_set-0-name": "forged"}
        posts = [(reverse(f"admin:{label.replace('.', '_')}_changelist"), forged)]
        posts += [
            (posts[0][0], {"action": action, "_selected_action": [str(pk)], "post": "yes"})
            for action in MODELS[label].actions
            if action not in {"restart_exports"}  # whoever may see exports may start failed ones again
        ]
        for name in ("add", "change", "delete"):
            try:
                url = reverse(f"admin:{label.replace('.', '_')}_{name}", args=[] if name == "add" else [pk])
            except NoReverseMatch:
                continue
            posts.append((url, {**forged, "post": "yes", "name": "forged", "label": "forged"}))
        for url, body in posts:
            with CaptureQueriesContext(connection) as captured, undone():
                client.post(url, body)
            wrote = [query["sql"] for query in captured if WRITES.match(query["sql"]) and "django_session" not in query["sql"]]
            changed += [f"{url} {body.get('action', '')}: {sql[:100]}" for sql in wrote]
    assert changed == []


def _views_of(model: Any, own: Any) -> Any:
    shown = {model._meta.model_name, *(inline.model._meta.model_name for inline in own.inlines)}
    return Permission.objects.filter(codename__in=[f"view_{name}" for name in shown])
