"""What a key may do on the inference plane, and what it is shown there and in the list of the REST surface."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.cache import cache

from providers import actions
from providers.audit import SYSTEM
from providers.models import ManagedPreset, Provider, Route, RouteTarget
from tests.aigateway.conftest import LiveGateway, deployment, register_simulator
from tests.providers.simulator.fixtures import SimulatorHandle
from usage.keys.actions import create_api_key
from usage.models import Entitlement
from usage.subscriptions import save_entitlement

LISTINGS = {
    "openai": ("/v1/models", {}),
    "alias": ("/api/v1/ai/v1/models", {}),
    "anthropic": ("/v1/models", {"anthropic-version": "2023-06-01"}),
    "google": ("/v1beta/models", {}),
    "rest": ("/api/v1/ai/models", {}),
    "rest alias": ("/api/ai/models", {}),
}
MESSAGES = [{"role": "user", "content": "Hello"}]
CALLS = {
    "/v1/chat/completions": {"model": "sim-small", "messages": MESSAGES},
    "/v1/responses": {"model": "sim-small", "input": "Hello"},
    "/v1/messages": {"model": "sim-small", "max_tokens": 9, "messages": MESSAGES},
    "/v1/messages/count_tokens": {"model": "sim-small", "messages": MESSAGES},
    "/v1/embeddings": {"model": "sim-small", "input": "Hello"},
    "/api/v1/ai/generate": {"prompt": "Hello"},
    "/v1beta/models/sim-small:generateContent": {"contents": [{"parts": [{"text": "Hello"}]}]},
    "/v1beta/models/sim-small:streamGenerateContent": {"contents": [{"parts": [{"text": "Hello"}]}]},
}


@pytest.fixture(autouse=True)
def _no_throttle_left_over() -> None:
    cache.clear()


def names(gateway: LiveGateway, listing: str, key: str) -> set[str]:
    path, headers = LISTINGS[listing]
    body = gateway.client.get(path, headers={"Authorization": f"Bearer {key}", **headers}).json()
    rows = body.get("data") or body.get("models") or body.get("results") or []
    return {(row.get("id") or row["name"]).removeprefix("models/") for row in rows}


def test_C22_a_key_without_inference_asks_no_model_and_lists_none(gateway: LiveGateway, simulator: SimulatorHandle, user: User) -> None:
    _, key = create_api_key(user, "reports", scopes=["own_usage"])
    headers = {"Authorization": f"Bearer {key}"}
    answers = [gateway.client.post(path, json=body, headers=headers) for path, body in CALLS.items()]
    answers += [gateway.client.get(path, headers={**headers, **more}) for path, more in LISTINGS.values() if not path.endswith("ai/models")]
    for answer in answers:
        assert answer.status_code == 403, answer.url
        assert "lacks the scope 'inference'" in answer.text
        assert answer.headers["Cache-Control"] == "private, no-store"
    assert simulator.journal() == []
    assert gateway.client.get("/api/v1/ai/usage", headers=headers).status_code == 200


@pytest.mark.parametrize("listing", LISTINGS)
def test_C14_listings_show_what_the_key_may_use(gateway: LiveGateway, user: User, listing: str) -> None:
    everything = names(gateway, listing, gateway.key)
    assert {"sim-small", "sim-large", "sim-claude"} <= everything
    for allowed, shown in (
        (["sim-small"], {"sim-small"}),
        (["sim/sim-large"], {"sim-large"}),
        (["*-LARGE", "sim/sim-s*"], {"sim-large", "sim-small"}),
        (["sim/*"], everything),
        (["*"], everything),
    ):
        _, key = create_api_key(user, "narrow", allowed_models=allowed)
        assert names(gateway, listing, key) == shown, allowed


@pytest.mark.parametrize("listing", LISTINGS)
def test_C14_listings_leave_out_what_nobody_subscribed_to(start_gateway: Any, simulator: SimulatorHandle, user: User, listing: str) -> None:
    register_simulator(simulator)
    product = register_simulator(simulator, "product")
    product.deployments.exclude(name="sim-small").delete()
    row = product.deployments.get()
    row.name = "product-one"
    actions.save_deployment(row, SYSTEM)
    preset = ManagedPreset.objects.create(provider=product, upstream_kind="simulator", required_tier="gold", system_prompt="Be brief.")
    assert preset.required_tier == "gold"
    route = actions.save_route(Route(name="golden"), SYSTEM)
    actions.save_route_choices([RouteTarget(route=route, deployment=row)], [], SYSTEM)
    gateway = start_gateway()
    shown = names(gateway, listing, gateway.key)
    assert "sim-small" in shown
    assert not shown & {"product-one", "golden"}
    save_entitlement(Entitlement(user=user, tier="gold", status="active"))
    gateway.chat(model="nothing")  # whoever is refused looks at the configuration of the moment
    assert "product-one" in names(gateway, listing, gateway.key)


def test_C04_patterns_are_what_the_data_plane_checks_too(gateway: LiveGateway, user: User) -> None:
    route = actions.save_route(Route(name="Fast"), SYSTEM)
    actions.save_route_choices([RouteTarget(route=route, deployment=deployment("sim-claude"))], [], SYSTEM)
    _, key = create_api_key(user, "narrow", allowed_models="SIM/*-small, fast", allowed_contexts='["default", "app-*"]')
    headers = {"Authorization": f"Bearer {key}"}

    def asked(model: str, context: str = "default") -> tuple[int, str]:
        answer = gateway.chat(model=model, headers={**headers, "X-Gateway-Context": context})
        return answer.status_code, answer.json().get("error", {}).get("code", "")

    assert [asked("sim-small"), asked("sim/sim-small"), asked("Fast"), asked("auto"), asked("sim-small", "app-7")] == [(200, "")] * 5
    assert [asked("sim-large"), asked("sim-claude")] == [(403, "model_not_allowed")] * 2
    assert asked("sim-small", "other") == (403, "context_not_allowed")


def test_C22_tests_of_providers_stay_within_the_key_they_are_asked_with(
    gateway: LiveGateway, user: User, simulator: SimulatorHandle
) -> None:
    user.is_superuser = user.is_staff = True
    user.save()
    provider = Provider.objects.get(slug="sim")
    _, key = create_api_key(user, "k", scopes=["manage_providers"], allowed_models=["sim-large"], allowed_contexts=["provider-*"])
    _, elsewhere = create_api_key(user, "e", scopes=["manage_providers"], allowed_contexts=["writing"])
    path = f"/api/v1/ai/admin/providers/{provider.pk}"
    tested = gateway.client.post(f"{path}/test", json={}, headers={"Authorization": f"Bearer {key}"})
    assert tested.json()["model"] == "sim/sim-large"
    refused = gateway.client.post(f"{path}/conform", json={"model": "sim-small"}, headers={"Authorization": f"Bearer {key}"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "model_not_allowed")
    refused = gateway.client.post(f"{path}/test", json={}, headers={"Authorization": f"Bearer {elsewhere}"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "context_not_allowed")
    assert {json.loads(entry["body"])["model"] if "body" in entry else entry["model"] for entry in simulator.journal()} <= {"sim-large"}
