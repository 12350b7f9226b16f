"""One request's life, end to end: real sockets, real database, real simulator."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable

import pytest
from django.contrib.auth.models import User

from preferences.models import Preference
from providers import actions, credentials
from providers.audit import SYSTEM
from providers.models import ConfigVersion, Price, Provider, Route, RouteTarget
from providers.upstream.types import Secret
from tests.aigateway.conftest import LiveGateway, deployment, events, price_model, register_simulator
from tests.aigateway.sdk import openai_client
from tests.providers.simulator.fixtures import SimulatorHandle
from usage.budgets import actions as usage_actions
from usage.keys.actions import create_api_key, revoke_api_key
from usage.models import ApiKey, Attempt, Budget, BudgetPeriod, LedgerEntry, Period

pytestmark = pytest.mark.both_databases


def lines() -> list[LedgerEntry]:
    return list(LedgerEntry.objects.order_by("id"))


# --------------------------------------------------------------------------- answers


def test_R102_a_chat_completion_is_answered_and_booked_to_the_nano_dollar(gateway: LiveGateway, simulator: SimulatorHandle) -> None:
    response = gateway.chat("Hello")
    assert response.status_code == 200
    answer = response.json()
    assert answer["object"] == "chat.completion"
    assert answer["choices"][0]["message"]["content"]
    [billed] = simulator.bill(1)
    [line] = lines()
    assert (line.cost_nano, line.basis, line.upstream_id) == (billed["cost_nano"], "measured", billed["id"])
    assert response.headers["X-Gateway-Provider"] == "sim"
    assert int(float(response.headers["X-Gateway-Cost-USD"]) * 1e9 + 0.5) == billed["cost_nano"]
    assert line.request_id == response.headers["X-Gateway-Request-ID"]


def test_R101_generate_explains_model_cost_and_choice(gateway: LiveGateway, simulator: SimulatorHandle) -> None:
    answer = gateway.generate("Hello", model="sim-large").json()
    [billed] = simulator.bill(1)
    assert answer["text"]
    assert (answer["provider"], answer["model"]) == ("sim", "sim-large")
    assert answer["cost"]["amount"] == f"{billed['cost_nano'] / 10**9:.9f}"
    assert answer["cost"]["basis"] == "measured"
    assert [attempt["outcome"] for attempt in answer["attempts"]] == ["ok"]
    assert answer["why"]["reason"]


def test_R102_the_official_sdk_streams_by_changing_base_url_and_key_only(gateway: LiveGateway) -> None:
    with openai_client(gateway) as client:
        chunks = list(client.chat.completions.create(model="auto", messages=[{"role": "user", "content": "Hello"}], stream=True))
        plain = client.chat.completions.create(model="sim-small", messages=[{"role": "user", "content": "Hello"}])
        listed = {model.id for model in client.models.list()}
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert plain.usage is not None
    assert plain.usage.total_tokens > 0
    assert {"sim-small", "sim-claude"} <= listed


def test_R101_a_native_stream_ends_with_the_exact_cost(gateway: LiveGateway, simulator: SimulatorHandle) -> None:
    with gateway.client.stream("POST", "/api/v1/ai/generate", json={"prompt": "Hello", "model": "sim-small", "stream": True}) as response:
        raw = b"".join(response.iter_raw())
    done = events(raw)[-1]
    [billed] = simulator.bill(1)
    assert raw.rstrip().split(b"\n\n")[-1].startswith(b"event: done")
    assert done["cost"]["amount"] == f"{billed['cost_nano'] / 10**9:.9f}"
    assert [line.cost_nano for line in lines()] == [billed["cost_nano"]]


def test_the_below_prefix_paths_answer_too(gateway: LiveGateway) -> None:
    body = {"model": "sim-small", "messages": [{"role": "user", "content": "Hi"}]}
    for path in ("/api/v1/ai/v1/chat/completions", "/api/v1/ai/chat/completions"):
        assert gateway.client.post(path, json=body).status_code == 200
    assert gateway.client.post("/api/ai/generate", json={"prompt": "Hi"}).status_code == 200


def test_tools_pass_through_both_ways(gateway: LiveGateway) -> None:
    tool = {
        "type": "function",
        "function": {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
    }
    answer = gateway.chat("Use the tool.", tools=[tool], tool_choice="required").json()
    call = answer["choices"][0]["message"]["tool_calls"][0]
    assert call["function"]["name"] == "weather"
    json.loads(call["function"]["arguments"])
    assert answer["choices"][0]["finish_reason"] == "tool_calls"


def test_an_anthropic_upstream_answers_an_openai_client_plain_and_streamed(
    start_gateway: Callable[[], LiveGateway], simulator: SimulatorHandle
) -> None:
    provider = Provider(
        slug="claude", label="Claude", kind="anthropic", base_url=simulator.base_url, allow_private=True
    )  # fmt: skip
    actions.create_provider(provider, SYSTEM)
    credentials.set_credential(provider.pk, Secret("sk-ant-test-canary-0001"), SYSTEM)
    price_model(provider, "sim-claude", 3_000_000_000, 15_000_000_000)
    gateway = start_gateway()
    plain = gateway.chat("Hello", model="sim-claude").json()
    assert plain["object"] == "chat.completion"
    assert plain["choices"][0]["finish_reason"] == "stop"
    out = events(gateway.stream("Hello", model="sim-claude", stream_options={"include_usage": True}))
    assert out[-1] == "[DONE]"
    assert "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in out[:-1] if chunk["choices"])
    billed = simulator.bill(2)
    assert [line.cost_nano for line in lines()] == [line["cost_nano"] for line in billed]


# --------------------------------------------------------------------------- access


def test_a_missing_and_a_wrong_key_are_401_with_the_standard_body(gateway: LiveGateway) -> None:
    missing = gateway.client.post("/v1/chat/completions", json={}, headers={"Authorization": ""})
    wrong = gateway.client.post("/v1/chat/completions", json={}, headers={"Authorization": "Bearer gw_aaaaaaaaaaaa_" + "x" * 43})
    for response, code in ((missing, "missing_api_key"), (wrong, "invalid_api_key")):
        error = response.json()["error"]
        assert (response.status_code, error["code"], error["category"]) == (401, code, "authentication")
        assert error["request_id"] == response.headers["X-Request-ID"]
        assert error["recovery"]


def test_R704_a_revoked_key_is_refused_at_the_next_request(gateway: LiveGateway) -> None:
    assert gateway.chat().status_code == 200
    revoke_api_key(ApiKey.objects.get())
    assert gateway.chat().status_code == 401
    assert Attempt.objects.count() == 1


def test_R704_a_key_limited_to_models_and_contexts_reaches_nothing_else(gateway: LiveGateway, user: User) -> None:
    _, key = create_api_key(user, "narrow", allowed_models=["sim-small"], allowed_contexts=["writing"])
    headers = {"Authorization": f"Bearer {key}", "X-Gateway-Context": "writing"}
    assert gateway.chat(headers=headers).status_code == 200
    refused = gateway.chat(model="sim-large", headers=headers)
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "model_not_allowed")
    elsewhere = gateway.chat(headers={"Authorization": f"Bearer {key}"})
    assert (elsewhere.status_code, elsewhere.json()["error"]["code"]) == (403, "context_not_allowed")
    listed = gateway.client.get("/v1/models", headers=headers).json()["data"]
    assert [model["id"] for model in listed] == ["sim-small"]


def test_the_clients_request_id_is_echoed_and_repeating_it_is_harmless(gateway: LiveGateway) -> None:
    responses = [gateway.chat(headers={"X-Request-ID": "job-7"}) for _ in range(2)]
    assert [response.headers["X-Request-ID"] for response in responses] == ["job-7", "job-7"]
    assert len({line.request_id for line in lines()}) == 2


# --------------------------------------------------------------------------- routing


def test_an_unknown_model_is_404_with_the_nearest_names(gateway: LiveGateway) -> None:
    response = gateway.chat(model="sim-smal")
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["param"]) == (404, "model_not_found", "model")
    assert "sim-small" in error["message"]


def test_M07_a_model_without_a_price_is_refused_before_anything_is_sent(gateway: LiveGateway, simulator: SimulatorHandle) -> None:
    Price.objects.filter(deployment__name="sim-small").delete()
    ConfigVersion.bump()
    response = gateway.chat()
    assert (response.status_code, response.json()["error"]["code"]) == (402, "price_missing")
    assert simulator.journal() == []


def test_R107_a_preference_counts_from_the_next_request_on(gateway: LiveGateway, user: User) -> None:
    before = gateway.generate(context="writing").json()
    Preference.objects.create(user=user, context="writing", deployment=deployment("sim-large"))
    ConfigVersion.bump(f"user:{user.pk}")
    after = gateway.generate(context="writing", model="auto").json()
    assert before["model"] != "sim-large"
    assert after["model"] == "sim-large"
    assert "preferred" in after["why"]["reason"]
    assert set(Attempt.objects.values_list("attempt_no", flat=True)) == {1}, "a reservation refused as stale was no attempt"


def test_U01_a_dead_provider_is_replaced_by_the_next_one_at_once(
    start_gateway: Callable[[], LiveGateway], new_simulator: Callable[..., SimulatorHandle]
) -> None:
    first, second = new_simulator(), new_simulator()
    register_simulator(first, "first", priority=1)
    register_simulator(second, "second", priority=2)
    gateway = start_gateway()
    assert gateway.chat().headers["X-Gateway-Provider"] == "first"
    first.stop()
    response = gateway.generate(model="sim-small")
    answer = response.json()
    assert answer["provider"] == "second"
    assert [attempt["provider"] for attempt in answer["attempts"]] == ["first", "second"]
    failed, answered = Attempt.objects.order_by("dispatched_at")[1:]
    assert (failed.status, answered.status) == ("voided", "settled")
    assert sum(line.cost_nano for line in lines()) == sum(line["cost_nano"] for line in first_and(second))


def first_and(second: SimulatorHandle) -> list[dict[str, int]]:
    """What the surviving provider billed, plus the first line, which the dead one billed alike."""
    survivor = second.bill(1)
    return [{"cost_nano": lines()[0].cost_nano}, *survivor]


def test_U19_all_targets_failed_is_one_error_that_lists_every_attempt(gateway: LiveGateway) -> None:
    response = gateway.chat("[sim fault=http_401]")
    error = response.json()["error"]
    assert (response.status_code, error["code"]) == (502, "upstream_auth_rejected")
    assert [attempt["outcome"] for attempt in error["attempts"]] == ["upstream_auth_rejected"]
    assert lines() == []


def test_a_route_is_a_name_with_a_chain_behind_it(gateway: LiveGateway) -> None:
    route = Route.objects.create(name="house-model", policy="priority")
    RouteTarget.objects.create(route=route, deployment=deployment("sim-large"), priority=1)
    RouteTarget.objects.create(route=route, deployment=deployment("sim-small"), priority=2)
    ConfigVersion.bump()
    assert gateway.generate(model="house-model").json()["model"] == "sim-large"
    assert "house-model" in {model["id"] for model in gateway.client.get("/v1/models").json()["data"]}


# --------------------------------------------------------------------------- streams


@pytest.mark.parametrize("fault", ["reset_mid_stream", "eof_no_finish"])
def test_U09_U10_a_broken_stream_ends_in_an_explicit_error_and_is_booked_as_an_estimate(
    gateway: LiveGateway, simulator: SimulatorHandle, fault: str
) -> None:
    raw = gateway.stream(f"[sim fault={fault} tokens=40]")
    out = events(raw)
    assert b"event: error" in raw
    assert "[DONE]" not in out
    assert not any(chunk["choices"][0]["finish_reason"] for chunk in out[:-1])
    assert out[-1]["error"]["code"] in ("upstream_truncated", "upstream_connection_lost")
    [line] = lines()
    attempt = Attempt.objects.get()
    assert line.basis == "estimated"
    assert sum(billed["cost_nano"] for billed in simulator.bill()) <= line.cost_nano <= attempt.hold_nano


def test_U12_a_stream_that_fails_before_its_first_content_is_a_plain_error_status(gateway: LiveGateway) -> None:
    response = gateway.chat("[sim fault=http_500]", stream=True)
    assert response.status_code == 502
    assert response.json()["error"]["code"] == "upstream_server_error"


def test_L06_L07_a_client_that_leaves_cancels_the_upstream_and_is_billed(gateway: LiveGateway, simulator: SimulatorHandle) -> None:
    body = {"model": "sim-small", "stream": True, "messages": [{"role": "user", "content": "[sim tokens=500 chunk_ms=20]"}]}
    with gateway.client.stream("POST", "/v1/chat/completions", json=body) as response:
        next(response.iter_raw())
    [entry] = simulator.journal(1)
    [billed] = simulator.bill(1)
    assert billed["outcome"] == "disconnected"
    assert entry["finished_s"] - entry["started_s"] < 5
    line = wait_for_line()
    attempt = Attempt.objects.get()
    assert (line.basis, attempt.error_code) == ("estimated", "client_closed")
    assert billed["cost_nano"] <= line.cost_nano <= attempt.hold_nano


def wait_for_line() -> LedgerEntry:
    pause = threading.Event()
    for _ in range(200):
        line = LedgerEntry.objects.first()
        if line is not None:
            return line
        pause.wait(0.02)
    raise AssertionError("no ledger line was written")


# --------------------------------------------------------------------------- money


def test_M05_parallel_requests_on_a_budget_worth_a_hundred_admit_exactly_a_hundred(
    gateway: LiveGateway, user: User, simulator: SimulatorHandle
) -> None:
    Price.objects.create(deployment=deployment("sim-small"), input_nano_per_mtok=0, output_nano_per_mtok=1_000_000_000, source="test")
    usage_actions.set_budget(Budget.Scope.USER, user, Period.TOTAL, usage_actions.Limits(100 * 5_000))
    ConfigVersion.bump()
    statuses: list[int] = []

    def ask() -> None:
        statuses.append(gateway.chat("[sim tokens=5]", max_tokens=5).status_code)

    threads = [threading.Thread(target=ask) for _ in range(400)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (statuses.count(200), statuses.count(402)) == (100, 300)
    period = BudgetPeriod.objects.get()
    assert (period.posted_nano, period.held_nano) == (500_000, 0)
    assert len(simulator.bill(100)) == 100


def test_R503_a_request_that_no_budget_covers_is_402_and_sends_nothing(
    gateway: LiveGateway, user: User, simulator: SimulatorHandle
) -> None:
    usage_actions.set_budget(Budget.Scope.USER, user, Period.MONTH, usage_actions.Limits(0))
    response = gateway.chat()
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["category"]) == (402, "budget_exceeded", "budget")
    assert simulator.journal() == []


def test_M08_a_free_model_goes_on_when_the_budget_is_used_up(gateway: LiveGateway, user: User) -> None:
    Price.objects.create(deployment=deployment("sim-small"), input_nano_per_mtok=0, output_nano_per_mtok=0, source="test")
    usage_actions.set_budget(Budget.Scope.USER, user, Period.MONTH, usage_actions.Limits(0))
    ConfigVersion.bump()
    assert gateway.chat().status_code == 200
    assert [line.cost_nano for line in lines()] == [0]


def test_M08_a_cap_on_requests_protects_free_hardware_that_no_cap_on_money_could(
    gateway: LiveGateway, user: User, simulator: SimulatorHandle
) -> None:
    Price.objects.create(deployment=deployment("sim-small"), input_nano_per_mtok=0, output_nano_per_mtok=0, source="test")
    usage_actions.set_budget(Budget.Scope.USER, user, Period.HOUR, usage_actions.Limits(0, cap_requests=2))
    ConfigVersion.bump()
    answers = [gateway.chat() for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 402, 402]
    assert "requests budget" in answers[-1].json()["error"]["message"]
    assert len(simulator.journal()) == 2
