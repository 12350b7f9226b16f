"""A provider that is the gateway itself, directly or by a second gateway: one request makes one attempt, and says what is wrong (C21)."""

from __future__ import annotations

from typing import Any

import pytest

from providers import actions
from providers.audit import SYSTEM
from providers.models import ConfigVersion, Provider
from providers.own_services import own_hop
from providers.registry import provider_spec
from providers.upstream import hops
from providers.upstream.types import Secret
from tests.aigateway.conftest import LiveGateway, price_model
from tests.faults.doors import DOORS
from tests.providers.fake_provider import fake_provider
from tests.providers.simulator.fixtures import SimulatorHandle
from usage.models import Attempt

pytestmark = pytest.mark.both_databases


def leading_to(gateway: LiveGateway, path: str, **fields: Any) -> Provider:
    """A provider at the gateway's own address, with a gateway key as its key."""
    provider = Provider(label="Itself", base_url=gateway.base_url + path, allow_private=True, **fields)
    actions.create_provider(provider, SYSTEM, Secret(gateway.key))
    price_model(provider, "mirror", 1, 1)
    ConfigVersion.bump()
    return provider


@pytest.mark.parametrize(
    ("kind", "path", "wire"), [("openai_compatible", "/v1", "chat"), ("anthropic", "/v1", "messages"), ("gemini", "/v1beta", "gemini")]
)
def test_C21_a_gateway_that_is_its_own_provider_makes_one_attempt(gateway: LiveGateway, kind: str, path: str, wire: str) -> None:
    leading_to(gateway, path, kind=kind)
    answer = gateway.chat(model="mirror")
    assert (answer.status_code, answer.json()["error"]["code"]) == (508, "gateway_loop"), answer.text
    assert answer.headers["X-Should-Retry"] == "false"
    assert [attempt["outcome"] for attempt in answer.json()["error"]["attempts"]] == ["gateway_loop"]
    assert Attempt.objects.count() == 1


def test_C21_another_target_of_the_name_still_answers(gateway: LiveGateway, simulator: SimulatorHandle) -> None:
    provider = leading_to(gateway, "/v1", kind="openai_compatible", priority=1)
    price_model(provider, "sim-small", 1, 1)
    ConfigVersion.bump()
    answer = gateway.chat(model="sim-small")
    assert (answer.status_code, answer.headers["X-Gateway-Provider"]) == (200, "sim"), answer.text
    assert Attempt.objects.count() == 2


@pytest.mark.parametrize("name", DOORS)
def test_C21_every_door_knows_a_request_that_was_here(gateway: LiveGateway, name: str) -> None:
    door = DOORS[name]
    headers = {"Content-Type": "application/json", hops.HEADER: f"somebody, {own_hop()}"}
    answer = gateway.client.post(door.path.format(model="sim-small"), content=door.raw(), headers=headers)
    assert (answer.status_code, door.own_words(answer.json())) == (508, True), answer.text
    assert not Attempt.objects.exists()


@pytest.mark.parametrize(
    ("came_through", "status"), [("", 200), ("other-gateway", 200), (", ".join("abcdefgh"), 508), ("x" * 401, 508), (",,,", 200)]
)
def test_C21_gateways_may_stand_behind_each_other_but_not_too_many(gateway: LiveGateway, came_through: str, status: int) -> None:
    assert gateway.chat(headers={hops.HEADER: came_through}).status_code == status


def test_C21_what_a_request_came_through_goes_on_with_it(gateway: LiveGateway) -> None:
    with fake_provider() as upstream:
        upstream.script.status = 400
        provider = Provider(label="Next", kind="openai_compatible", base_url=upstream.base_url, allow_private=True)
        price_model(actions.create_provider(provider, SYSTEM), "next", 1, 1)
        gateway.chat(model="next", headers={hops.HEADER: "other-gateway"})
        gateway.chat(model="next")
        assert [headers[hops.HEADER] for _, _, headers in upstream.asked] == [f"other-gateway, {own_hop()}", own_hop()]


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("kind", "base_url", "is_signed"),
    [
        ("openai", "https://api.openai.com/v1", False),
        ("openai", "https://api.openai.com/v2", False),
        ("openai", "https://gateway.example/v1", True),
        ("openai_compatible", "https://gateway.example/v1", True),
        ("vllm", "http://127.0.0.1:8765/v1", True),
    ],
)
def test_C21_services_at_their_own_address_are_told_nothing_of_us(kind: str, base_url: str, is_signed: bool) -> None:
    provider = actions.create_provider(Provider(kind=kind, base_url=base_url), SYSTEM)
    assert bool(provider_spec(provider).hop) is is_signed
