"""R203, U-rows of capability: what a model really can do is found out, stored with its date, and routing relies on it."""

from __future__ import annotations

import json
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone
from rest_framework.test import APIClient

from aigateway.trials.conformance import CHECKS, NothingToCheck, conform
from providers import actions
from providers.audit import SYSTEM
from providers.models import ConformanceResult, Deployment, Price, Provider
from providers.registry import capabilities_of
from providers.upstream.types import ModelListing
from tests.aigateway.conftest import register_simulator
from tests.providers.fake_provider import FakeProvider, fake_provider
from tests.providers.simulator.fixtures import SimulatorHandle
from usage.models import Attempt, Budget, LedgerEntry

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def superuser(transactional_db: None) -> User:
    return User.objects.create_superuser("root", "root@example.org")


def results(deployment: Deployment) -> dict[str, str]:
    return dict(ConformanceResult.objects.filter(deployment=deployment).values_list("check_name", "result"))


def test_every_check_passes_on_the_simulator_and_is_stored_with_its_date(simulator: SimulatorHandle, superuser: User) -> None:
    provider = register_simulator(simulator)
    before = timezone.now()
    report = conform(provider.pk, superuser, "sim-large")
    assert [(result.name, result.result, result.message) for result in report.results if result.result != "ok"] == []
    deployment = Deployment.objects.get(provider=provider, name="sim-large")
    assert set(results(deployment)) == {"connectivity", "authentication", *(check.name for check in CHECKS)}
    assert ConformanceResult.objects.filter(deployment=deployment, checked_at__gte=before).count() == len(CHECKS) + 2
    assert deployment.verified_capabilities == ["chat", "json_mode", "json_schema", "stream", "tools", "vision"]


def test_the_calls_are_on_the_ledger_like_any_other(simulator: SimulatorHandle, superuser: User) -> None:
    provider = register_simulator(simulator)
    conform(provider.pk, superuser, "sim-large")
    billed = {line["id"]: line["cost_nano"] for line in simulator.bill(len(CHECKS) + 1)}
    measured = {line.upstream_id: line.cost_nano for line in LedgerEntry.objects.filter(basis="measured")}
    assert len(measured) == len(CHECKS)
    assert all(billed[upstream_id] == cost_nano for upstream_id, cost_nano in measured.items())
    [left] = LedgerEntry.objects.filter(basis="estimated")
    assert left.cost_nano >= billed[left.upstream_id]
    assert {attempt.status for attempt in Attempt.objects.all()} == {"settled", "estimated"}


def test_a_budget_without_room_stops_the_run_before_anything_is_sent(simulator: SimulatorHandle, superuser: User) -> None:
    provider = register_simulator(simulator)
    Budget.objects.create(scope="user", user=superuser, period="month", cap_nano=0)
    report = conform(provider.pk, superuser, "sim-large")
    assert {result.result for result in report.results if result.name in {check.name for check in CHECKS}} == {"skipped"}
    assert simulator.bill() == []
    assert Deployment.objects.get(provider=provider, name="sim-large").refuted_capabilities == []


# --------------------------------------------------------------------------- what a run disproves


def answer(message: dict[str, Any]) -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    return json.dumps({"id": "1", "object": "chat.completion", "model": "m", "choices": [choice], "usage": usage}).encode()


def model_at(upstream: FakeProvider, capabilities: list[str]) -> Deployment:
    provider = Provider(slug="own", label="Own", kind="openai_compatible", base_url=upstream.base_url, allow_private=True)
    actions.create_provider(provider, SYSTEM)
    actions.import_models(provider.pk, [ModelListing("m")], SYSTEM)
    made = Deployment.objects.get(provider=provider)
    made.capabilities = capabilities
    actions.save_deployment(made, SYSTEM)
    Price.objects.create(deployment=made, input_nano_per_mtok=1, output_nano_per_mtok=1, source="test")
    return made


def test_what_the_model_claims_and_cannot_do_is_no_longer_routed_to_it(superuser: User) -> None:
    with fake_provider() as upstream:
        upstream.script.body = answer({"content": "ready"})
        made = model_at(upstream, ["chat", "stream", "tools", "vision", "json_mode"])
        upstream.script.body = answer({"content": "ready"})
        report = conform_with_models_list(upstream, made, superuser)
    found = {result.name: (result.result, result.error_code) for result in report.results}
    assert found["chat"] == ("ok", "")
    assert found["tools"] == found["json"] == ("failed", "wrong_answer")
    made.refresh_from_db()
    assert {"tools", "vision", "json_mode"} <= set(made.refuted_capabilities)
    assert {capability.value for capability in capabilities_of(made)} >= {"chat"}
    assert not {"tools", "vision", "json_mode"} & {capability.value for capability in capabilities_of(made)}


def conform_with_models_list(upstream: FakeProvider, made: Deployment, superuser: User) -> Any:
    """The first question of a run is the models list; every later one gets the scripted chat answer."""
    chat = upstream.script.body
    upstream.script.body = json.dumps({"object": "list", "data": [{"id": "m"}]}).encode()

    def after_the_list() -> None:
        if len(upstream.asked) > 1:
            upstream.script.body = chat

    upstream.script.before = after_the_list
    return conform(made.provider_id, superuser)


def test_a_provider_that_is_down_disproves_nothing(superuser: User) -> None:
    with fake_provider() as upstream:
        made = model_at(upstream, ["chat", "stream", "tools"])
        upstream.script.status, upstream.script.body = 503, b"{}"
        report = conform(made.provider_id, superuser)
    made.refresh_from_db()
    assert not report.passed
    assert made.refuted_capabilities == []
    assert {results(made)[check.name] for check in CHECKS} == {"skipped"}
    assert not LedgerEntry.objects.exists()


def test_an_administrator_who_declares_a_capability_again_is_believed(superuser: User) -> None:
    with fake_provider() as upstream:
        made = model_at(upstream, ["chat"])
    Deployment.objects.filter(pk=made.pk).update(refuted_capabilities=["tools", "vision"])
    made.refresh_from_db()
    made.capabilities = ["chat", "tools"]
    actions.save_deployment(made, SYSTEM)
    made.refresh_from_db()
    assert made.refuted_capabilities == ["vision"]
    assert {capability.value for capability in capabilities_of(made)} == {"chat", "tools"}


def test_a_verified_capability_counts_without_being_declared(superuser: User) -> None:
    with fake_provider() as upstream:
        made = model_at(upstream, ["chat"])
    made.verified_capabilities = ["tools"]
    assert {capability.value for capability in capabilities_of(made)} == {"chat", "tools"}


# --------------------------------------------------------------------------- command, admin, API


def test_the_command_prints_a_line_for_each_check_and_fails_when_one_fails(simulator: SimulatorHandle, superuser: User) -> None:
    register_simulator(simulator)
    out = StringIO()
    call_command("conform", "sim", "--model", "sim-large", stdout=out)
    assert [line.split()[1] for line in out.getvalue().splitlines()[1:]] == ["connectivity", "authentication", *(c.name for c in CHECKS)]
    simulator.stop()
    with pytest.raises(CommandError, match="Some checks failed"):
        call_command("conform", "sim", stdout=StringIO())


def test_the_command_names_the_providers_there_are(simulator: SimulatorHandle, superuser: User) -> None:
    register_simulator(simulator)
    with pytest.raises(CommandError, match=r"no provider 'smi'\. Providers: sim"):
        call_command("conform", "smi")
    with pytest.raises(CommandError, match="no enabled, priced model 'none'"):
        call_command("conform", "sim", "--model", "none")
    with pytest.raises(NothingToCheck):
        conform(Provider.objects.get().pk, superuser, "none")


def test_a_superuser_runs_it_in_admin_and_sees_every_check(simulator: SimulatorHandle, superuser: User, client: Client) -> None:
    provider = register_simulator(simulator)
    client.force_login(superuser)
    page = client.get(f"/admin/providers/provider/{provider.pk}/change/").content.decode()
    assert f'action="/admin/providers/provider/{provider.pk}/conform/"' in page
    shown = client.post(f"/admin/providers/provider/{provider.pk}/conform/", {"model": "sim-large"}).content.decode()
    assert shown.count("badge-green") == len(CHECKS) + 2
    model_page = client.get(f"/admin/providers/deployment/{Deployment.objects.get(name='sim-large').pk}/change/").content.decode()
    assert "usage_in_stream" in model_page


def test_nobody_else_may_run_it(simulator: SimulatorHandle, client: Client, superuser: User) -> None:
    provider = register_simulator(simulator)
    client.force_login(User.objects.create_user("staff", is_staff=True))
    assert client.post(f"/admin/providers/provider/{provider.pk}/conform/").status_code == 403
    assert client.post(f"/api/v1/ai/admin/providers/{provider.pk}/conform").status_code == 403
    assert simulator.bill() == []


def test_the_endpoint_answers_with_the_results_and_refuses_an_unknown_model(simulator: SimulatorHandle, superuser: User) -> None:
    provider = register_simulator(simulator)
    api = APIClient()
    api.force_authenticate(superuser)
    url = f"/api/v1/ai/admin/providers/{provider.pk}/conform"
    found = api.post(url, {"model": "sim-large"}, format="json").json()
    assert (found["provider"], found["model"], found["passed"]) == ("sim", "sim/sim-large", True)
    assert api.post(url, {"model": "none"}, format="json").status_code == 400
