"""C09: values no column and no calendar holds are refused by name, wherever a number or an instant enters."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User
from rest_framework.test import APIClient

from tests.api_contract.document import document
from tests.api_contract.world import World, build_world

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db]

HUGE = (2**31, 2**63 - 1, 2**63, 2**64, 10**30, -1, -(2**63) - 1)
INSTANTS = (
    "0001-01-01T00:00:00+14:00",
    "9999-12-31T23:59:59-14:00",
    "0001-01-01",
    "9999-12-31",
    "0000-00-00",
    "2026-02-30",
    "1e400",
    "NaN",
)


@pytest.fixture
def world(db: None, made_up_costs: None) -> World:
    return build_world("http://127.0.0.1:9/v1")


@pytest.fixture
def root(world: World) -> APIClient:
    client = APIClient(raise_request_exception=False)
    client.force_authenticate(User.objects.get(pk=world.root.pk))
    return client


def _parameters() -> Iterator[tuple[str, str, str]]:
    for path, item in document()["paths"].items():
        for method, operation in item.items():
            if path.startswith(("/v1/", "/api/v1/ai/generate")):
                continue
            for parameter in operation.get("parameters", []):
                if parameter["in"] == "query" and method == "get":
                    yield path, parameter["name"], str(parameter["schema"].get("type"))


def _filled(path: str, world: World) -> str:
    for name, value in world.parameters(path).items():
        path = path.replace(f"{{{name}}}", str(value))
    return path


def test_C09_ids_in_addresses_are_never_too_large(root: APIClient) -> None:
    statuses = {}
    for path, item in document()["paths"].items():
        if "{" not in path or path.startswith("/v1/"):
            continue
        for huge in HUGE[:5]:
            filled = path.replace("{id}", str(huge)).replace("{user_id}", str(huge)).replace("{statement_id}", str(huge))
            filled = filled.replace("{month}", str(huge)).replace("{context}", str(huge)).replace("{export_id}", str(huge))
            for method in item:
                statuses[f"{method} {filled}"] = root.generic(method.upper(), filled, b"{}", "application/json").status_code
    assert len(statuses) > 80
    assert {asked: status for asked, status in statuses.items() if status >= 500} == {}


def test_C09_no_query_is_a_failure_of_ours(root: APIClient, world: World) -> None:
    failed = {}
    for path, name, _ in _parameters():
        for value in (*HUGE, *INSTANTS, "\x00", "💥" * 300, "[]", "%"):
            answer = root.get(_filled(path, world), {name: value})
            if answer.status_code >= 500:
                failed[f"{path}?{name}={value!r}"] = answer.status_code
    assert failed == {}


@pytest.mark.parametrize("body", [b"[]", b"[{}]", b'"text"', b"1", b"null", b"true"])
def test_C09_a_body_that_is_no_object_is_400_everywhere(root: APIClient, world: World, body: bytes) -> None:
    wrong = {}
    for path, item in document()["paths"].items():
        for method, operation in item.items():
            if path.startswith(("/v1/", "/api/v1/ai/generate")) or "application/json" not in operation.get("requestBody", {}).get(
                "content", {}
            ):
                continue
            status = root.generic(method.upper(), _filled(path, world), body, "application/json").status_code
            if status not in (400, 404):
                wrong[f"{method} {path}"] = status
    assert wrong == {}


def test_C09_OPTIONS_names_the_methods_everywhere(root: APIClient, world: World) -> None:
    told: dict[str, Any] = {}
    for path in document()["paths"]:
        if not path.startswith(("/v1/", "/api/v1/ai/generate")):
            answer = root.options(_filled(path, world))
            told[path] = set(answer.json()["methods"]) if answer.status_code == 200 else answer.status_code
    offered = {path: {method.upper() for method in item} for path, item in document()["paths"].items() if path in told}
    assert {path: methods for path, methods in told.items() if not isinstance(methods, set) or not offered[path] <= methods} == {}
