"""S23: a field that is not in the document of a write is refused by name, and none of our models' fields gets in by itself."""

from __future__ import annotations

from typing import Any

import pytest
from django.apps import apps
from django.test import Client

from tests.access.principals import People
from tests.access.rest_rules import ROUTES
from tests.access.routes import rest
from tests.access.world import World
from tests.api_contract.document import document
from tests.undone import undone

pytestmark = pytest.mark.django_db

OURS = ("providers", "usage", "preferences", "auth")
READS_ITS_OWN_BYTES = {"webhooks/subscriptions"}
WITHOUT_BODY = {"admin/exports/<uuid:export_id>/restart", "admin/months/<str:month>/close"}


def every_field_name() -> list[str]:
    names = {field.name for app in OURS for model in apps.get_app_config(app).get_models() for field in model._meta.get_fields()}
    return sorted(names | {"role", "spend", "scopes", "user_id", "is_admin", "owner"})


def _described(template: str, method: str) -> set[str]:
    """The fields the OpenAPI document has for this body."""
    path = "/" + template.replace("<uuid:pk>", "{id}").replace("<int:pk>", "{id}")
    for kind in ("str", "int", "uuid"):
        path = path.replace(f"<{kind}:", "{")
    operation = document()["paths"][path.replace(">", "}")][method.lower()]
    schema = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
    schema = document()["components"]["schemas"][schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
    return set(schema.get("properties", {}))


def test_S23_every_field_of_every_model_is_refused_by_name_where_it_is_not_described(people: People, world: World) -> None:
    client = Client(raise_request_exception=False)
    client.force_login(next(who.user for who in people.named if who.name == "superuser"))  # type: ignore[arg-type]
    names, accepted, tried = every_field_name(), [], 0
    for route, key in rest():
        if key not in ROUTES or route.template.startswith(("api/ai", "api/providers")) or key in READS_ITS_OWN_BYTES | WITHOUT_BODY:
            continue
        for method in {"POST", "PUT", "PATCH"} & set(ROUTES[key].offers):
            strange = [name for name in names if name not in _described(route.template, method)]
            tried += len(strange)
            refused = _refused(client, method, world.address(route.template), dict.fromkeys(strange, 1))
            accepted += [f"{method} {key}: {name}" for name in strange if name not in refused]
    assert tried > 2000
    assert accepted == []


def _refused(client: Client, method: str, path: str, body: dict[str, Any]) -> set[str]:
    with undone():
        answer = client.generic(method, path, _json(body), "application/json")
    return set(answer.json().get("error", {}).get("fields", {})) if answer.status_code == 400 else set()


def _json(body: dict[str, Any]) -> bytes:
    return ("{" + ", ".join(f'"{name}": {value}' for name, value in body.items()) + "}").encode()
