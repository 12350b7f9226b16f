"""C10: what an administrator has just mended is not refused from the configuration before."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pytest

from aigateway import runtime
from providers import actions, credentials
from providers.audit import SYSTEM
from providers.models import ConfigVersion, Price, Provider, Route, RouteTarget
from providers.prices.actions import set_price
from providers.simulator.catalogue import MODELS
from providers.upstream.types import Secret
from tests.aigateway.conftest import LiveGateway, _listing_of, deployment
from tests.providers.simulator.fixtures import SimulatorHandle, start_in_thread
from usage.keys.actions import create_api_key, update_api_key
from usage.limits.actions import set_rate_limit
from usage.models import ApiKey

pytestmark = pytest.mark.both_databases
PLAIN: dict[str, Any] = {"name": "test", "allowed_models": [], "allowed_contexts": [], "expires_at": None}


@pytest.fixture(autouse=True)
def _nobody_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The watcher, which would find out half a second later, sleeps: only the refusal itself can find out."""
    monkeypatch.setattr(runtime, "POLL_S", 3600.0)


@dataclass
class Case:
    """What is wrong, how it is asked for, how it is refused, and what mends it."""

    spoil: Callable[[LiveGateway], None]
    code: str
    mend: Callable[[LiveGateway], None]
    fields: dict[str, Any] = field(default_factory=dict)


def own_key(gateway: LiveGateway, **limits: Any) -> None:
    update_api_key(ApiKey.objects.get(name="test"), **{**PLAIN, **limits})


def narrow(**limits: Any) -> Callable[[LiveGateway], None]:
    return lambda gateway: own_key(gateway, **limits)


def toggle(enabled: bool) -> Callable[[LiveGateway], None]:
    return lambda gateway: actions.toggle_provider(Provider.objects.get(slug="sim").pk, enabled, SYSTEM) and None


def unprice(gateway: LiveGateway) -> None:
    Price.objects.filter(deployment__name="sim-small").delete()
    ConfigVersion.bump()


def price(gateway: LiveGateway) -> None:
    card = Price(deployment=deployment("sim-small"), input_nano_per_mtok=1, output_nano_per_mtok=1, source="page")
    set_price(card, SYSTEM)


def route(gateway: LiveGateway) -> None:
    made = actions.save_route(Route(name="fast"), SYSTEM)
    actions.save_route_choices([RouteTarget(route=made, deployment=deployment("sim-small"))], [], SYSTEM)


def rename(gateway: LiveGateway) -> None:
    row = deployment("sim-large")
    row.name = "brand-new"
    actions.save_deployment(row, SYSTEM)


def limit(requests: int) -> Callable[[LiveGateway], None]:
    return lambda gateway: set_rate_limit("user", gateway.user, "requests", "day", requests) and None


def wake(is_active: bool) -> Callable[[LiveGateway], None]:
    def change(gateway: LiveGateway) -> None:
        gateway.user.is_active = is_active
        gateway.user.save()
        ConfigVersion.bump(f"user:{gateway.user.pk}")

    return change


def nothing(gateway: LiveGateway) -> None:
    pass


CASES = {
    "unknown model": Case(nothing, "model_not_found", rename, {"model": "brand-new"}),
    "unknown route": Case(nothing, "model_not_found", route, {"model": "fast"}),
    "provider disabled": Case(toggle(False), "model_not_found", toggle(True)),
    "no price": Case(unprice, "price_missing", price),
    "model not allowed": Case(narrow(allowed_models=["sim-large"]), "model_not_allowed", narrow()),
    "context not allowed": Case(narrow(allowed_contexts=["writing"]), "context_not_allowed", narrow()),
    "scope missing": Case(narrow(scopes=["own_usage"]), "scope_missing", narrow(scopes=["inference"])),
    "user inactive": Case(wake(False), "invalid_api_key", wake(True)),
    "rate limit": Case(limit(0), "rate_limit_exceeded", limit(5)),
}


@pytest.mark.parametrize("reason", CASES)
def test_C10_no_refusal_rests_on_the_configuration_before(gateway: LiveGateway, reason: str) -> None:
    case = CASES[reason]
    case.spoil(gateway)
    for stream in (False, True):  # twice: the refusal itself is remembered as well
        refused = gateway.chat(stream=stream, **case.fields)
        assert refused.json()["error"]["code"] == case.code
    case.mend(gateway)
    answered = gateway.chat(**case.fields)
    assert answered.status_code == 200, answered.text


def test_C10_a_key_that_was_unknown_a_moment_ago_is_known_once_it_is_made(gateway: LiveGateway) -> None:
    headers = {"Authorization": "Bearer brought-along-key"}
    for _ in range(2):
        assert gateway.chat(headers=headers).json()["error"]["code"] == "invalid_api_key"
    create_api_key(gateway.user, "new", secret="brought-along-key")
    assert gateway.chat(headers=headers).status_code == 200


@pytest.mark.parametrize("path", ["/v1/models/brand-new", "/v1beta/models/brand-new", "/api/v1/ai/v1/models/sim%2Fbrand-new"])
def test_C10_listings_find_a_model_that_was_just_added(gateway: LiveGateway, path: str) -> None:
    assert gateway.client.get(path).status_code == 404
    rename(gateway)
    assert gateway.client.get(path).status_code == 200


@pytest.fixture
def picky(request: pytest.FixtureRequest) -> Iterator[SimulatorHandle]:
    handle = start_in_thread(require_key="sk-the-right-one-0123456789")
    yield handle
    handle.stop()


def test_C10_a_providers_key_that_was_just_entered_is_the_one_that_counts(gateway: LiveGateway, picky: SimulatorHandle) -> None:
    provider = Provider(slug="picky", label="Picky", kind="openai_compatible", base_url=picky.base_url, allow_private=True, priority=1)
    actions.create_provider(provider, SYSTEM, Secret("sk-a-wrong-one-0123456789"))
    actions.import_models(provider.pk, [_listing_of(MODELS[0])], SYSTEM)
    set_price(Price(deployment=deployment("sim-small", "picky"), input_nano_per_mtok=1, output_nano_per_mtok=1, source="page"), SYSTEM)
    body = {"provider": "picky", "model": "sim-small", "allow_fallback": False}
    assert gateway.generate(**body).json()["error"]["code"] == "upstream_auth_rejected"
    credentials.set_credential(provider.pk, Secret("sk-the-right-one-0123456789"), SYSTEM)
    assert gateway.generate(**body).status_code == 200


def test_C10_a_storm_of_refusals_looks_at_the_database_a_bounded_number_of_times(
    gateway: LiveGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[int] = []
    lock = threading.Lock()
    look = runtime.changes_since

    def counted(version: int) -> Any:
        with lock:
            looks.append(version)
        return look(version)

    monkeypatch.setattr(runtime, "changes_since", counted)
    with ThreadPoolExecutor(16) as clients:
        codes = list(clients.map(lambda _: gateway.chat(model="nothing-like-it").status_code, range(200)))
    assert codes == [404] * 200
    assert 0 < len(looks) < 200
