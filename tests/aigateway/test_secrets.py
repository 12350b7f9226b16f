"""A canary provider key, sent through everything that could leak it, appears nowhere (criterion of S09, S10, S15)."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest
from django.contrib.auth import get_user_model
from django.db import connection
from django.test import Client

from providers import actions
from providers.audit import SYSTEM
from providers.models import Provider, RoutingConfiguration
from providers.upstream.types import Secret
from tests.aigateway.conftest import LiveGateway, price_model
from tests.providers.simulator.fixtures import SimulatorHandle

CANARY = "sk-canary-7f3a91c2e5d84b60a1b2"
PROMPT_CANARY = "prompt-canary-c0ffee-4711"


def every_stored_value() -> str:
    """The whole database as text, bytes as they are."""
    dump: list[str] = []
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            cursor.execute(f"SELECT * FROM {connection.ops.quote_name(table)}")
            for row in cursor.fetchall():
                dump.extend(bytes(value).decode("latin1") if isinstance(value, bytes | memoryview) else str(value) for value in row)
    return "\n".join(dump)


@pytest.fixture
def keyed_gateway(
    start_gateway: Callable[[], LiveGateway], new_simulator: Callable[..., SimulatorHandle], caplog: pytest.LogCaptureFixture
) -> LiveGateway:
    caplog.set_level(logging.DEBUG)
    RoutingConfiguration.objects.create(pk=1, breaker_failures=1000, retries_per_target=0)
    right, strict = new_simulator(require_key=CANARY), new_simulator(require_key="another-key")
    for slug, handle, model in (("keyed", right, "sim-small"), ("refusing", strict, "sim-large")):
        provider = Provider(slug=slug, label=slug, kind="openai_compatible", base_url=handle.base_url, allow_private=True)
        actions.create_provider(provider, SYSTEM, Secret(CANARY))
        price_model(provider, model, 1_000, 1_000)
    return start_gateway()


def test_S09_S10_S12_a_provider_key_and_a_prompt_leak_nowhere(
    keyed_gateway: LiveGateway, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    gateway, seen = keyed_gateway, []
    for model, status in (("sim-small", 200), ("sim-large", 502)):
        response = gateway.chat(PROMPT_CANARY, model=model)
        assert response.status_code == status
        seen.append(f"{response.headers} {'' if status == 200 else response.text}")
    for fault in ("http_500", "html_200", "redirect", "truncated_json"):
        response = gateway.chat(f"{PROMPT_CANARY} [sim fault={fault}]", model="sim-small")
        assert response.status_code == 502
        seen.append(f"{response.headers} {response.text}")
    seen += pages_and_answers(gateway)
    seen.append(every_stored_value())
    seen.append("\n".join(f"{record.getMessage()} {record.__dict__}" for record in caplog.records if record.name != "httpx2"))
    logged = capfd.readouterr().err
    assert "answered" in logged
    seen.append(logged)
    for text in seen:
        assert CANARY not in text
        assert CANARY[:-4] not in text
        assert PROMPT_CANARY not in text


def pages_and_answers(gateway: LiveGateway) -> list[str]:
    """What an administrator and the REST surface show."""
    admin = get_user_model().objects.create_superuser("root", password=None)
    client = Client()
    client.force_login(admin)
    paths = ["/admin/", "/admin/auditlog/logentry/", "/api/v1/ai/admin/providers", "/api/v1/ai/admin/costs?format=csv", "/api/v1/ai/models"]
    for provider in Provider.objects.all():
        base = f"/admin/providers/provider/{provider.pk}"
        paths += [f"{base}/change/", f"{base}/history/", f"/api/v1/ai/admin/providers/{provider.pk}"]
    texts = []
    for path in ["/admin/providers/provider/", *paths]:
        response = client.get(path)
        assert response.status_code == 200, path
        texts.append(response.getvalue().decode())
    for provider in Provider.objects.all():
        tested = client.post(f"/api/v1/ai/admin/providers/{provider.pk}/test", content_type="application/json")
        assert tested.status_code == 200, tested.content
        texts.append(tested.content.decode())
    return texts
