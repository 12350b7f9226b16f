"""C11: a preferred model that does not answer is named, with the reason, wherever the caller looks."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.contrib.auth.models import User

from preferences.actions import set_preference
from providers import actions
from providers.audit import SYSTEM
from providers.models import ConfigVersion, Price, Provider
from providers.upstream.types import HealthStatus
from tests.aigateway.conftest import LiveGateway, deployment, events, register_simulator
from tests.providers.simulator.fixtures import SimulatorHandle
from usage.keys.actions import update_api_key
from usage.models import ApiKey


@pytest.fixture
def preferring(gateway: LiveGateway, simulator: SimulatorHandle, user: User) -> LiveGateway:
    """A caller who prefers ``wish/sim-large``."""
    register_simulator(simulator, "wish", priority=200)
    set_preference(user, "default", "wish", "sim-large")
    assert gateway.chat(model="auto").headers["X-Gateway-Provider"] == "wish"
    return gateway


def disable(user: User) -> None:
    actions.toggle_provider(Provider.objects.get(slug="wish").pk, False, SYSTEM)


def switch_off(user: User) -> None:
    actions.toggle_deployments([deployment("sim-large", "wish").pk], False, SYSTEM)


def unprice(user: User) -> None:
    Price.objects.filter(deployment__provider__slug="wish").delete()
    ConfigVersion.bump()


def fall_ill(user: User) -> None:
    Provider.objects.filter(slug="wish").update(health=HealthStatus.RED)
    ConfigVersion.bump()


def forbid(user: User) -> None:
    update_api_key(ApiKey.objects.get(name="test"), name="test", allowed_models=["sim/*"], allowed_contexts=[], expires_at=None)


CASES: dict[str, tuple[Callable[[User], None], str]] = {
    "provider disabled": (disable, "it is disabled or gone"),
    "model disabled": (switch_off, "it is disabled or gone"),
    "no price": (unprice, "nobody set a price for it"),
    "unhealthy": (fall_ill, "its last health check failed"),
    "not allowed": (forbid, "this caller may not use it"),
}


@pytest.mark.parametrize("case", CASES)
def test_C11_a_preference_that_is_passed_over_is_named(preferring: LiveGateway, user: User, case: str) -> None:
    spoil, reason = CASES[case]
    spoil(user)
    preferring.chat(model="nothing")  # whoever is refused looks at the configuration of the moment
    said = f"wish/sim-large is preferred, but {reason}"
    answer = preferring.chat(model="auto")
    assert answer.headers["X-Gateway-Provider"] == "sim"
    assert f"preference: {said}" in answer.headers["X-Gateway-Degraded"]
    assert said in answer.headers["X-Gateway-Why"]
    body = preferring.generate(model="auto").json()
    assert [note for note in body["degraded"] if said in note] != []
    assert said in str(body["why"])
    with preferring.client.stream("POST", "/api/v1/ai/generate", json={"prompt": "Hello", "stream": True}) as streamed:
        assert said in streamed.headers["X-Gateway-Degraded"]
        assert said in str(events(streamed.read()))


@pytest.mark.parametrize("case", ["provider disabled", "model disabled", "unhealthy", "not allowed"])
def test_C11_the_preference_itself_says_that_it_cannot_serve(preferring: LiveGateway, user: User, case: str) -> None:
    CASES[case][0](user)
    shown = preferring.client.get("/api/v1/ai/preferences").json()
    for each in (*shown["results"], shown["effective_default"]):
        assert each["available"] is False
        assert each["unavailable_reason"]


def test_C11_a_preferred_model_that_was_tried_in_vain_is_named(preferring: LiveGateway, user: User) -> None:
    provider = Provider.objects.get(slug="wish")
    provider.base_url = "http://127.0.0.1:9/v1"
    actions.update_provider(provider, SYSTEM)
    preferring.chat(model="nothing")
    answer = preferring.chat(model="auto")
    assert (answer.status_code, answer.headers["X-Gateway-Provider"]) == (200, "sim")
    assert "preference: wish/sim-large is preferred, but it failed (" in answer.headers["X-Gateway-Degraded"]


def test_C11_nothing_is_said_where_the_preference_does_not_count(preferring: LiveGateway, user: User) -> None:
    assert "X-Gateway-Degraded" not in preferring.chat(model="auto").headers
    disable(user)
    preferring.chat(model="nothing")
    for asked in ({"model": "sim-small"}, {"model": "sim/sim-large"}):
        assert "X-Gateway-Degraded" not in preferring.chat(**asked).headers
    for fields in ({"provider": "sim"}, {"policy": "cost"}):
        assert preferring.generate(model="auto", **fields).json()["degraded"] == []
    assert "wish/sim-large" in preferring.chat(model="sim-large").headers["X-Gateway-Degraded"]
