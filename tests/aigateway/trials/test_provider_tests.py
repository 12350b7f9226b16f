from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator

import pytest
from django.contrib.auth.models import User
from django.test import Client
from rest_framework.test import APIClient

from aigateway.trials import metered_calls, provider_tests
from providers import actions
from providers.audit import SYSTEM
from providers.models import Deployment, Price, Provider
from providers.prices import actions as price_actions
from providers.simulator.running import RunningSimulator, running_simulator
from providers.upstream.types import ModelListing, Secret
from tests.providers.fake_provider import FakeProvider, closed_port, fake_provider
from usage.models import Attempt, Budget, BudgetPeriod, LedgerEntry

pytestmark = pytest.mark.django_db

KEY = "sk-canary-7f3d9b1c5e8a2046"


@pytest.fixture(autouse=True)
def key_ring(settings, tmp_path) -> None:
    settings.KEY_RING = None
    settings.KEY_RING_FILE = tmp_path / "keks"


@pytest.fixture
def superuser() -> User:
    return User.objects.create_superuser("root", "root@example.org")


@pytest.fixture
def simulator() -> Iterator[RunningSimulator]:
    """A simulator on a loop and thread of its own: the code under test is synchronous."""
    ready, box, loop = threading.Event(), [], asyncio.new_event_loop()
    stop = asyncio.Event()

    async def serve() -> None:
        async with running_simulator() as running:
            box.append(running)
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    assert ready.wait(10)
    yield box[0]
    loop.call_soon_threadsafe(stop.set)
    thread.join(10)
    loop.close()


@pytest.fixture
def upstream() -> Iterator[FakeProvider]:
    with fake_provider() as running:
        yield running


def provider_at(base_url: str, *models: str, key: str | None = KEY) -> Provider:
    provider = Provider(kind="openai_compatible", label="Lab", base_url=base_url)
    actions.create_provider(provider, SYSTEM, Secret(key) if key else None)
    actions.import_models(provider.pk, [ModelListing(name) for name in models], SYSTEM)
    return provider


def results(report: provider_tests.TestReport) -> dict[str, str]:
    return {step.name: step.result for step in report.steps}


def test_R115_a_working_provider_passes_every_step(simulator, superuser):
    report = provider_tests.test_provider(provider_at(simulator.base_url, "sim-large", "sim-small").pk, superuser)
    assert results(report) == {"connectivity": "ok", "authentication": "ok", "chat": "ok", "stream": "ok"}
    assert report.passed
    assert report.model == "lab/sim-small", "the cheapest one"
    assert all(step.latency_ms is not None for step in report.steps)


def test_both_calls_are_on_the_ledger_to_the_last_digit_of_the_providers_bill(simulator, superuser):
    provider_tests.test_provider(provider_at(simulator.base_url, "sim-small").pk, superuser)
    assert [entry.basis for entry in LedgerEntry.objects.all()] == ["measured", "measured"]
    assert sum(LedgerEntry.objects.values_list("cost_nano", flat=True)) == sum(line.cost_nano for line in simulator.bill())
    assert {attempt.context for attempt in Attempt.objects.all()} == {metered_calls.CONTEXT}
    assert set(Attempt.objects.values_list("status", "user_id")) == {("settled", superuser.pk)}


def test_a_spent_budget_stops_the_calls_before_they_are_made(simulator, superuser):
    Budget.objects.create(scope="gateway", period="total", cap_nano=0)
    report = provider_tests.test_provider(provider_at(simulator.base_url, "sim-small").pk, superuser)
    assert results(report) == {"connectivity": "ok", "authentication": "ok", "chat": "failed", "stream": "failed"}
    assert "budget" in report.steps[2].message
    assert simulator.bill() == []
    assert not Attempt.objects.exists()


def test_a_provider_without_a_priced_model_is_not_called(simulator, superuser):
    report = provider_tests.test_provider(provider_at(simulator.base_url, "nobody-priced-this").pk, superuser)
    assert results(report) == {"connectivity": "ok", "authentication": "ok", "chat": "skipped", "stream": "skipped"}
    assert report.passed
    assert simulator.bill() == []


def test_a_model_that_does_not_stream_skips_that_step(simulator, superuser):
    provider = provider_at(simulator.base_url)
    model = Deployment(provider=provider, name="sim-small", upstream_model="sim-small", capabilities=["chat"])
    actions.save_deployment(model, SYSTEM)
    price_actions.set_price(Price(deployment=model, input_nano_per_mtok=1, output_nano_per_mtok=1, source="test"), SYSTEM)
    assert results(provider_tests.test_provider(provider.pk, superuser))["stream"] == "skipped"


def test_a_dead_host_fails_the_first_step_and_skips_the_rest(superuser):
    report = provider_tests.test_provider(provider_at(f"http://127.0.0.1:{closed_port()}/v1", "sim-small").pk, superuser)
    assert results(report) == {"connectivity": "failed", "authentication": "skipped", "chat": "skipped", "stream": "skipped"}
    assert report.steps[0].error_code == "upstream_connect_failed"
    assert not report.passed


def test_S08_a_refused_key_is_told_from_a_dead_host_and_nothing_the_host_said_is_shown(upstream, superuser):
    upstream.script.status, upstream.script.body = 401, b'{"error": {"message": "INTERNAL-SECRET-TEXT"}}'
    report = provider_tests.test_provider(provider_at(upstream.base_url, "sim-small").pk, superuser)
    assert results(report) == {"connectivity": "ok", "authentication": "failed", "chat": "skipped", "stream": "skipped"}
    assert "INTERNAL-SECRET-TEXT" not in repr(report)


def answers_after_the_list(upstream: FakeProvider, status: int, body: bytes) -> None:
    """The model list works; what comes after it does not."""

    def change() -> None:
        if len(upstream.asked) > 1:
            upstream.script.status, upstream.script.body = status, body

    upstream.script.before = change


def test_a_call_that_failed_unbilled_gives_its_hold_back(upstream, superuser):
    Budget.objects.create(scope="gateway", period="total", cap_nano=10**12)
    provider = provider_at(upstream.base_url, "sim-small")
    answers_after_the_list(upstream, 400, b'{"error": {"message": "no", "type": "invalid_request_error"}}')
    report = provider_tests.test_provider(provider.pk, superuser)
    assert results(report)["chat"] == "failed"
    assert set(Attempt.objects.values_list("status", flat=True)) == {"voided"}
    assert set(BudgetPeriod.objects.values_list("held_nano", "posted_nano")) == {(0, 0)}
    assert not LedgerEntry.objects.exists()


def test_a_call_that_may_have_been_billed_is_settled_as_a_flagged_estimate(upstream, superuser):
    provider = provider_at(upstream.base_url, "sim-small")
    answers_after_the_list(upstream, 200, json.dumps({"unexpected": True}).encode())
    assert results(provider_tests.test_provider(provider.pk, superuser))["chat"] == "failed"
    entries = LedgerEntry.objects.all()
    assert {entry.basis for entry in entries} == {"estimated"}
    assert all(entry.error_code for entry in entries)


# --------------------------------------------------------------------------- page and endpoint


def test_the_button_shows_the_report(simulator, superuser):
    provider = provider_at(simulator.base_url, "sim-small")
    client = Client()
    client.force_login(superuser)
    text = client.post(f"/admin/providers/provider/{provider.pk}/test/").content.decode()
    assert "Test of Lab" in text
    assert text.count("badge-green") == 4
    assert KEY not in text


def test_R115_the_endpoint_answers_with_the_report(simulator, superuser):
    provider = provider_at(simulator.base_url, "sim-small")
    client = APIClient()
    client.force_authenticate(superuser)
    shown = client.post(f"/api/v1/ai/admin/providers/{provider.pk}/test", {}, format="json").json()
    assert shown["passed"] is True
    assert [step["result"] for step in shown["steps"]] == ["ok"] * 4
    assert client.post("/api/v1/ai/admin/providers/999/test", {}, format="json").status_code == 404
    assert client.post(f"/api/v1/ai/admin/providers/{provider.pk}/test", {"base_url": "x"}, format="json").status_code == 400


@pytest.mark.parametrize("who", ["anonymous", "user", "staff"])
def test_S08_only_superusers_may_test(who, upstream):
    provider = provider_at(upstream.base_url, "sim-small")
    page, rest = Client(), APIClient()
    if who != "anonymous":
        user = User.objects.create_user(who, is_staff=who == "staff")
        page.force_login(user)
        rest.force_authenticate(user)
    assert page.post(f"/admin/providers/provider/{provider.pk}/test/").status_code in (302, 403)
    assert rest.post(f"/api/v1/ai/admin/providers/{provider.pk}/test", {}, format="json").status_code in (401, 403)
    assert upstream.asked == []


def test_S25_the_button_needs_a_csrf_token_and_a_post(superuser, upstream):
    provider = provider_at(upstream.base_url, "sim-small")
    client = Client(enforce_csrf_checks=True)
    client.force_login(superuser)
    url = f"/admin/providers/provider/{provider.pk}/test/"
    assert client.post(url).status_code == 403
    assert client.get(url).status_code == 405
    assert upstream.asked == []
