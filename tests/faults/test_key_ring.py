"""The key ring is lost or wrong: everything renders, says so by name, and no call leaves without its key (I19)."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from structlog.testing import capture_logs

from providers import actions, secrets
from providers.audit import SYSTEM
from providers.models import Credential, Provider
from providers.registry import open_credential
from providers.upstream.types import Secret
from tests.aigateway.conftest import LiveGateway, price_model
from tests.providers.admin_pages import form_of, page_of
from tests.providers.simulator.fixtures import SimulatorHandle
from usage.models import Attempt

pytestmark = pytest.mark.django_db(transaction=True)
CANARY = "sk-canary-5c1d7e90aa31"


@pytest.fixture
def keyed(simulator: SimulatorHandle) -> Provider:
    """A provider that would answer without a key: what is not sent is our doing."""
    provider = Provider(slug="keyed", label="Keyed", kind="openai_compatible", base_url=simulator.base_url, allow_private=True)
    actions.create_provider(provider, SYSTEM, Secret(CANARY))
    price_model(provider, "sim-small", 1_000, 1_000)
    return provider


@pytest.fixture
def browser(user: User) -> Client:
    User.objects.filter(pk=user.pk).update(is_staff=True, is_superuser=True)
    client = Client()
    client.force_login(User.objects.get(pk=user.pk))
    return client


def test_I19_a_gateway_with_a_wrong_ring_starts_says_so_and_fails_only_the_calls_that_need_the_key(
    keyed: Provider, start_gateway: Callable[[], LiveGateway], simulator: SimulatorHandle, settings: object
) -> None:
    settings.KEY_RING = secrets.new_ring_entry("other")
    with capture_logs() as said:
        gateway = start_gateway()
    assert [entry["providers"] for entry in said if entry["event"] == "credentials_locked"] == [("keyed",)]
    ready = gateway.client.get("/readyz")
    assert (ready.status_code, ready.json()["status"], ready.json()["checks"]["credentials"]) == (200, "degraded", "locked")
    refused = gateway.chat()
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "credential_locked")
    assert simulator.journal() == []
    assert not Attempt.objects.exists()
    assert CANARY not in f"{said}{refused.text}{ready.text}"


def test_I19_free_models_without_a_key_go_on(
    keyed: Provider, start_gateway: Callable[[], LiveGateway], simulator: SimulatorHandle, settings: object
) -> None:
    settings.KEY_RING = secrets.new_ring_entry("other")
    keyless = Provider(slug="keyless", label="Keyless", kind="openai_compatible", base_url=simulator.base_url, allow_private=True)
    actions.create_provider(keyless, SYSTEM)
    price_model(keyless, "sim-large", 0, 0)
    gateway = start_gateway()
    assert gateway.chat(model="sim-large").status_code == 200


def test_I19_the_admin_renders_names_the_provider_and_takes_the_key_anew(keyed: Provider, browser: Client, settings: object) -> None:
    settings.KEY_RING = secrets.new_ring_entry("other")
    pages = (reverse("admin:providers_provider_changelist"), page_of(keyed))
    for url in pages:
        answer = browser.get(url)
        assert (answer.status_code, "needs key" in answer.content.decode()) == (200, True)
    browser.post(page_of(keyed), {**form_of(browser, page_of(keyed)), "api_key": CANARY})
    for url in pages:
        assert "needs key" not in browser.get(url).content.decode()
    assert open_credential(Credential.objects.get()).reveal() == CANARY
