from __future__ import annotations

import pytest
from django.test import Client

from providers import actions
from providers.audit import SYSTEM
from providers.models import Deployment, Price, Route, RoutingConfiguration
from providers.prices import actions as price_actions
from providers.registry import build_snapshot
from tests.providers.admin_pages import form_of
from tests.providers.conftest import browser, make_provider

pytestmark = pytest.mark.django_db


def model_page(model: Deployment) -> str:
    return f"/admin/providers/deployment/{model.pk}/change/"


@pytest.fixture
def model(db) -> Deployment:
    return actions.save_deployment(Deployment(provider=make_provider(), name="m", upstream_model="m", capabilities=["chat"]), SYSTEM)


def model_form(client: Client, model: Deployment, **fields: str) -> dict[str, str]:
    empty = {f"{prefix}-{count}_FORMS": "0" for prefix in ("prices", "prices-2", "conformance") for count in ("TOTAL", "INITIAL")}
    form = form_of(client, model_page(model))
    return {**{name: value for name, value in form.items() if not name.startswith("deployments")}, **empty, **fields}


def price_row(**fields: str) -> dict[str, str]:
    row = {
        "input_nano_per_mtok": "2.5", "output_nano_per_mtok": "10", "request_nano": "0", "source": "price page",
        "valid_from_0": "2026-01-01", "valid_from_1": "00:00:00",
    }  # fmt: skip
    return {"prices-TOTAL_FORMS": "1", **{f"prices-0-{name}": value for name, value in {**row, **fields}.items()}}


def test_R505_a_price_is_added_in_dollars_and_shown_with_the_old_ones(superuser, model):
    client = browser(superuser)
    client.post(model_page(model), model_form(client, model, **price_row()))
    price = Price.objects.get()
    assert (price.input_nano_per_mtok, price.output_nano_per_mtok) == (2_500_000_000, 10_000_000_000)
    client.post(model_page(model), model_form(client, model, **price_row(input_nano_per_mtok="3")))
    assert Price.objects.count() == 2
    text = client.get(model_page(model)).content.decode()
    assert "input $2.50, output $10.00" in text
    assert "input $3.00" in text
    assert "2500000000" not in text


@pytest.mark.parametrize(
    ("field", "value"),
    [("input_nano_per_mtok", "-1"), ("input_nano_per_mtok", "0.0000000001"), ("source", ""), ("source", "import: genai-prices 1")],
)
def test_a_wrong_price_is_refused_at_its_field(superuser, model, field, value):
    client = browser(superuser)
    answer = client.post(model_page(model), model_form(client, model, **price_row(**{field: value})))
    assert answer.status_code == 200
    assert field in answer.content.decode()
    assert not Price.objects.exists()


def test_M13_an_existing_price_cannot_be_changed_by_a_forged_form(superuser, model):
    price = price_actions.set_price(Price(deployment=model, input_nano_per_mtok=5, output_nano_per_mtok=5, source="page"), SYSTEM)
    client = browser(superuser)
    forged = {**price_row(input_nano_per_mtok="0.000000001"), "prices-INITIAL_FORMS": "1", "prices-0-id": str(price.pk)}
    client.post(model_page(model), model_form(client, model, **forged))
    price.refresh_from_db()
    assert price.input_nano_per_mtok == 5


def test_models_are_switched_off_and_not_deleted(superuser, model):
    client = browser(superuser)
    client.post("/admin/providers/deployment/", {"action": "disable", "_selected_action": [str(model.pk)]})
    model.refresh_from_db()
    assert not model.enabled
    assert client.post(f"/admin/providers/deployment/{model.pk}/delete/", {"post": "yes"}).status_code == 403


def test_a_route_is_built_with_its_targets_and_removed(superuser, model):
    client = browser(superuser)
    target = {
        "choices-TOTAL_FORMS": "1",
        "choices-INITIAL_FORMS": "0",
        "choices-0-deployment": str(model.pk),
        "choices-0-priority": "5",
        "choices-0-weight": "1",
    }
    client.post("/admin/providers/route/add/", {"name": "fast", "enabled": "on", **target})
    route = Route.objects.get()
    assert build_snapshot().routes["fast"].choices[0].target_id == model.pk
    choice = route.choices.get()
    drop = {
        **target,
        "choices-INITIAL_FORMS": "1",
        "choices-0-id": str(choice.pk),
        "choices-0-route": str(route.pk),
        "choices-0-DELETE": "on",
    }
    client.post(f"/admin/providers/route/{route.pk}/change/", {"name": "fast", "enabled": "on", **drop})
    assert not route.choices.exists()
    client.post(f"/admin/providers/route/{route.pk}/delete/", {"post": "yes"})
    assert not Route.objects.exists()


def test_the_routing_configuration_is_edited_as_one_page(superuser):
    client = browser(superuser)
    url = "/admin/providers/routingconfiguration/1/change/"
    assert client.get("/admin/providers/routingconfiguration/")["Location"] == url
    client.post(url, {**form_of(client, url), "max_attempts": "7"})
    assert RoutingConfiguration.objects.get().max_attempts == 7
    assert build_snapshot().routing.max_attempts == 7
    assert client.get("/admin/providers/routingconfiguration/2/change/").status_code == 302
