"""Anthropic's paths on a running gateway: real sockets, simulated and scripted providers (R103, R105)."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx2 as httpx
import pytest

from aigateway.process.bootstrap import _listing_of
from providers import actions
from providers.audit import SYSTEM
from providers.models import Deployment, Price, Provider
from providers.simulator.catalogue import MODELS
from providers.upstream.types import Secret
from tests.aigateway.conftest import LiveGateway, events
from tests.providers.fake_provider import fake_provider
from tests.providers.simulator.fixtures import SimulatorHandle
from usage.models import Attempt, LedgerEntry

ANTHROPIC = {"anthropic-version": "2023-06-01"}
HELLO = {"model": "sim-claude", "max_tokens": 40, "messages": [{"role": "user", "content": "Hello"}]}


def anthropic_provider(base_url: str) -> Provider:
    provider = Provider(slug="ant", label="Ant", kind="anthropic", base_url=base_url, allow_private=True)
    return actions.create_provider(provider, SYSTEM, Secret("sk-ant-test"))


@pytest.fixture
def behind_anthropic(start_gateway: Callable[[], LiveGateway], simulator: SimulatorHandle) -> LiveGateway:
    """The simulator, spoken to in Anthropic's own format."""
    provider = anthropic_provider(simulator.base_url)
    actions.import_models(provider.pk, [_listing_of(model) for model in MODELS], SYSTEM, shares_names=True)
    for row in Deployment.objects.all():
        Price.objects.create(deployment=row, input_nano_per_mtok=1, output_nano_per_mtok=1, source="test")
    return start_gateway()


def ask(gateway: LiveGateway, path: str = "/v1/messages", headers: dict[str, str] | None = None, **fields: Any) -> httpx.Response:
    return gateway.client.post(path, json={**HELLO, **fields}, headers={**ANTHROPIC, **(headers or {})})


@pytest.mark.parametrize("path", ["/v1/messages", "/api/v1/ai/v1/messages?beta=true"])
def test_R103_a_message_is_answered_by_a_provider_of_another_format(gateway: LiveGateway, path: str) -> None:
    response = ask(gateway, path, system=[{"type": "text", "text": "Be kind.", "cache_control": {"type": "ephemeral"}}])
    message = response.json()
    assert (response.status_code, message["type"], message["stop_reason"]) == (200, "message", "end_turn")
    assert message["content"][0]["text"]
    assert message["usage"]["output_tokens"] > 0
    assert response.headers["X-Gateway-Degraded"] == "cache_control"
    assert response.headers["request-id"] == response.headers["X-Gateway-Request-ID"]
    assert LedgerEntry.objects.get().basis == "measured"
    assert Attempt.objects.get().dialect == "anthropic_messages"


def test_R103_a_stream_is_translated_event_by_event(gateway: LiveGateway) -> None:
    response = ask(gateway, stream=True)
    kinds = [event["type"] for event in events(response.content)]
    assert (kinds[0], kinds[-2], kinds[-1]) == ("message_start", "message_delta", "message_stop")
    assert "".join(event["delta"]["text"] for event in events(response.content) if event["type"] == "content_block_delta")


def test_R103_bytes_and_flags_pass_a_provider_of_the_same_format(start_gateway: Callable[[], LiveGateway]) -> None:
    raw = json.dumps({"id": "msg_1", "content": [], "usage": {"input_tokens": 1, "output_tokens": 1}, "new": True}, indent=3).encode()
    with fake_provider() as fake:
        fake.script.body = raw
        _priced(anthropic_provider(fake.base_url))
        response = ask(start_gateway(), headers={"anthropic-beta": "a-1,b-2"}, top_k=5, cache_control={"type": "ephemeral"})
        [(_, path, headers)] = fake.asked
        assert (response.content, path, headers["anthropic-beta"]) == (raw, "/v1/messages", "a-1,b-2")
        assert json.loads(fake.bodies[0]) == {**HELLO, "top_k": 5, "cache_control": {"type": "ephemeral"}}
        assert (headers["x-api-key"], "X-Gateway-Degraded" in response.headers) == ("sk-ant-test", False)


def _priced(provider: Provider) -> None:
    row = Deployment.objects.create(
        provider=provider,
        name="sim-claude",
        upstream_model="sim-claude",
        capabilities=["chat", "count_tokens"],
        max_output_tokens=500,
        context_window_tokens=9000,
    )
    Price.objects.create(deployment=row, input_nano_per_mtok=10**9, output_nano_per_mtok=10**9, source="test")


def test_a_stream_of_the_same_format_passes(behind_anthropic: LiveGateway) -> None:
    stream = events(ask(behind_anthropic, stream=True).content)
    assert stream[-1] == {"type": "message_stop"}


def test_what_the_provider_cannot_be_asked_is_refused_in_anthropics_envelope(gateway: LiveGateway, simulator: SimulatorHandle) -> None:
    response = ask(gateway, top_k=5)
    body = response.json()
    assert (response.status_code, body["type"], body["error"]["type"]) == (400, "error", "invalid_request_error")
    assert "top_k" in body["error"]["message"]
    assert simulator.bill() == []


@pytest.mark.parametrize(
    ("key", "fields", "status", "kind"),
    [
        ("gw_wrong", {}, 401, "authentication_error"),
        (None, {"model": "nope"}, 404, "not_found_error"),
        (None, {"max_tokens": None}, 400, "invalid_request_error"),
    ],
)
def test_errors_are_typed_for_anthropics_clients(
    gateway: LiveGateway, key: str | None, fields: dict[str, Any], status: int, kind: str
) -> None:
    response = ask(gateway, headers={"Authorization": f"Bearer {key or gateway.key}"}, **fields)
    assert (response.status_code, response.json()["error"]["type"]) == (status, kind)
    assert response.headers["request-id"] == response.json()["request_id"]


def test_tokens_are_counted_by_the_provider_for_nothing(start_gateway: Callable[[], LiveGateway]) -> None:
    with fake_provider() as fake:
        fake.script.body = b'{"input_tokens":  36}'
        _priced(anthropic_provider(fake.base_url))
        gateway = start_gateway()
        response = gateway.client.post("/v1/messages/count_tokens", json={name: HELLO[name] for name in ("model", "messages")})
        assert (response.status_code, response.content) == (200, fake.script.body)
        assert [path for _, path, _ in fake.asked] == ["/v1/messages/count_tokens"]
        assert response.headers["X-Gateway-Cost-USD"] == "0.000000000"
        assert [line.cost_nano for line in LedgerEntry.objects.all()] == [0]


def test_where_nobody_counts_there_is_no_number(gateway: LiveGateway) -> None:
    response = gateway.client.post("/v1/messages/count_tokens", json={name: HELLO[name] for name in ("model", "messages")})
    assert (response.status_code, response.json()["error"]["code"]) == (400, "unsupported_feature")
    assert "input_tokens" not in response.text


def test_R105_models_are_listed_in_the_words_of_the_client(gateway: LiveGateway) -> None:
    openai = gateway.client.get("/v1/models").json()
    assert (openai["object"], openai["data"][0]["object"]) == ("list", "model")
    anthropic = gateway.client.get("/v1/models?limit=2", headers=ANTHROPIC).json()
    assert ([model["type"] for model in anthropic["data"]], anthropic["has_more"]) == (["model", "model"], True)
    following = gateway.client.get(f"/v1/models?after_id={anthropic['last_id']}", headers=ANTHROPIC).json()
    assert [model["id"] for model in anthropic["data"] + following["data"]] == [model["id"] for model in openai["data"]]


@pytest.mark.parametrize("name", ["sim-small", "sim/sim-small"])
@pytest.mark.parametrize("prefix", ["", "/api/v1/ai"])
def test_R105_one_model_by_name_or_address(gateway: LiveGateway, name: str, prefix: str) -> None:
    assert gateway.client.get(f"{prefix}/v1/models/{name}").json()["object"] == "model"
    assert gateway.client.get(f"{prefix}/v1/models/{name}", headers=ANTHROPIC).json()["type"] == "model"


def test_R105_an_unknown_model_is_404_in_the_words_of_the_client(gateway: LiveGateway) -> None:
    openai = gateway.client.get("/v1/models/no/such")
    assert (openai.status_code, openai.json()["error"]["code"]) == (404, "model_not_found")
    anthropic = gateway.client.get("/v1/models/no/such", headers=ANTHROPIC)
    assert (anthropic.status_code, anthropic.json()["error"]["type"]) == (404, "not_found_error")
    no_path = gateway.client.get("/v1/messages/batches", headers=ANTHROPIC)
    assert (no_path.status_code, no_path.json()["error"]["type"]) == (404, "not_found_error")


def assert_breaks_with_an_error(gateway: LiveGateway) -> None:
    question = [{"role": "user", "content": "[sim fault=reset_mid_stream after=3 tokens=40]"}]
    raw = ask(gateway, stream=True, messages=question).content
    assert events(raw)[0]["type"] == "message_start"
    last = events(raw)[-1]
    assert (last["type"], last["error"]["type"]) == ("error", "api_error")
    assert b"message_stop" not in raw


def test_U09_a_broken_translated_stream_ends_in_anthropics_error_event(gateway: LiveGateway) -> None:
    assert_breaks_with_an_error(gateway)


def test_U09_a_broken_stream_of_the_same_format_ends_in_anthropics_error_event(behind_anthropic: LiveGateway) -> None:
    assert_breaks_with_an_error(behind_anthropic)
