"""A managed preset behind a subscription (R201, wire.md section 12): who gets in, who is told what, what is sent."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from aigateway.entitlements.checks import Entitlements, SubscriptionUnknown
from providers import actions, presets
from providers.audit import SYSTEM
from providers.models import Deployment, ManagedPreset, Provider
from providers.upstream.types import Secret
from tests.aigateway.conftest import LiveGateway, events, price_model
from tests.providers.fake_provider import fake_provider
from tests.providers.simulator.fixtures import SimulatorHandle
from usage.models import Entitlement, LedgerEntry
from usage.subscriptions.actions import delete_entitlement, save_entitlement
from usage.subscriptions.entitlements import EntitlementRecord


@pytest.fixture
def preset(simulator: SimulatorHandle, user: User) -> ManagedPreset:
    """The preset as it is delivered, pointed at the simulator instead of Mistral."""
    provider = Provider(kind="ditectrev", label="Ditectrev", base_url=simulator.base_url, allow_private=True)
    actions.create_provider(provider, SYSTEM)
    preset = ManagedPreset.objects.get(provider=provider)
    preset.upstream_kind = "openai_compatible"
    presets.save_preset(preset, SYSTEM)
    Deployment.objects.filter(provider=provider).update(upstream_model="sim-small")
    price_model(provider, "ditectrev", 1_000_000_000, 2_000_000_000)
    return preset


@pytest.fixture
def gateway(preset: ManagedPreset, start_gateway: Callable[[], LiveGateway]) -> LiveGateway:
    return start_gateway()


def entitle(user: User, **fields: Any) -> Entitlement:
    return save_entitlement(Entitlement(user=user, **{"tier": "ditectrev", **fields}))


def test_a_subscriber_is_answered_and_the_bill_is_kept(gateway: LiveGateway, user: User, simulator: SimulatorHandle) -> None:
    entitle(user)
    assert gateway.chat("What is IAM?", model="ditectrev").status_code == 200
    [billed] = simulator.bill(1)
    assert LedgerEntry.objects.get().upstream_id == billed["id"]


@pytest.mark.parametrize(
    ("wishes", "sent"), [({}, (0.3, 2000)), ({"temperature": 1, "max_tokens": 50_000}, (1, 2000)), ({"max_tokens": 7}, (0.3, 7))]
)
def test_the_presets_prompt_and_sampling_are_what_is_sent(
    user: User, start_gateway: Callable[[], LiveGateway], wishes: dict[str, Any], sent: tuple[float, int]
) -> None:
    answer = {"id": "1", "model": "m", "choices": [{"index": 0, "message": {"role": "assistant", "content": "x"}, "finish_reason": "stop"}]}
    with fake_provider() as upstream:
        upstream.script.body = json.dumps({**answer, "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}}).encode()
        provider = Provider(kind="ditectrev", label="Ditectrev", base_url=upstream.base_url, allow_private=True)
        actions.create_provider(provider, SYSTEM, Secret("operators-key"))
        price_model(provider, "ditectrev", 1, 1)
        entitle(user)
        assert start_gateway().chat("What is IAM?", model="ditectrev", **wishes).status_code == 200
        body = json.loads(upstream.bodies[-1])
        assert upstream.asked[-1][2]["authorization"] == "Bearer operators-key"
    assert [message["role"] for message in body["messages"]] == ["system", "user"]
    assert "expert educator" in body["messages"][0]["content"]
    assert (body["temperature"], body["max_tokens"], body["model"]) == (*sent, "mistral-medium-latest")


def test_a_subscriber_may_stream(gateway: LiveGateway, user: User) -> None:
    entitle(user, status="trialing", expires_at=timezone.now() + timedelta(days=1))
    assert events(gateway.stream("Hi", model="ditectrev"))[-1] == "[DONE]"


@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [
        (None, 402, "subscription_required"),
        ({"tier": "local"}, 403, "plan_not_entitled"),
        ({"status": "past_due"}, 402, "subscription_past_due"),
        ({"status": "canceled"}, 402, "subscription_expired"),
        ({"expires_at": "past"}, 402, "subscription_expired"),
    ],
)
def test_everybody_else_is_told_why_and_nothing_is_sent(
    gateway: LiveGateway, user: User, simulator: SimulatorHandle, fields: dict[str, Any] | None, status: int, code: str
) -> None:
    if fields is not None:
        entitle(user, **{**fields, **({"expires_at": timezone.now() - timedelta(seconds=1)} if "expires_at" in fields else {})})
    answer = gateway.chat("Hi", model="ditectrev")
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert answer.json()["error"]["recovery"]
    assert simulator.journal() == []
    assert not LedgerEntry.objects.exists()


def test_a_subscription_given_and_taken_counts_from_the_next_request_on(gateway: LiveGateway, user: User) -> None:
    assert gateway.chat("Hi", model="ditectrev").status_code == 402
    entitlement = entitle(user)
    assert gateway.chat("Hi", model="ditectrev").status_code == 200
    delete_entitlement(entitlement)
    assert gateway.chat("Hi", model="ditectrev").status_code == 402


def test_auto_passes_over_what_the_caller_has_not_subscribed_to(
    preset: ManagedPreset, simulator: SimulatorHandle, start_gateway: Callable[[], LiveGateway]
) -> None:
    other = Provider(slug="open", label="Open", kind="openai_compatible", base_url=simulator.base_url, allow_private=True, priority=900)
    actions.create_provider(other, SYSTEM)
    price_model(other, "sim-large", 1, 1)
    answer = start_gateway().generate("Hi")
    assert answer.status_code == 200
    assert answer.json()["provider"] == "open"
    assert [skipped["reason"] for skipped in answer.json()["why"]["skipped"]] == ["subscription_required"]


def test_a_preset_has_no_embeddings_and_says_so(gateway: LiveGateway, user: User) -> None:
    entitle(user)
    answer = gateway.client.post("/v1/embeddings", json={"model": "ditectrev", "input": "x"})
    assert answer.status_code == 400


# --------------------------------------------------------------------------- an endpoint of the operator's own


class Endpoint:
    """A subscription endpoint on a real socket; ``answer`` is (status, body) for every question."""

    def __init__(self) -> None:
        self.answer: tuple[int, Any] = (404, {})
        self.asked: list[tuple[str, str]] = []
        outer = self

        class Door(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked.append((parse_qs(urlsplit(self.path).query)["user"][0], self.headers.get("Authorization", "")))
                body = json.dumps(outer.answer[1]).encode()
                self.send_response(outer.answer[0])
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Door)
        self.url = f"http://127.0.0.1:{self.server.server_port}/subscriptions"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def endpoint(settings: Any) -> Iterator[Endpoint]:
    found = Endpoint()
    settings.SUBSCRIPTION_ENDPOINT_URL, settings.SUBSCRIPTION_ENDPOINT_TOKEN = found.url, "endpoint-token"
    yield found
    found.server.shutdown()
    found.server.server_close()


def subscription(**changes: Any) -> tuple[int, Any]:
    return 200, {"subscriptions": [{"tier": "ditectrev", "status": "active", "expires_at": None, **changes}]}


def test_the_endpoint_decides_where_nothing_is_stored_and_is_asked_once_a_minute(endpoint: Endpoint, gateway: LiveGateway) -> None:
    endpoint.answer = subscription()
    assert [gateway.chat("Hi", model="ditectrev").status_code for _ in range(3)] == [200, 200, 200]
    assert endpoint.asked == [("ursula", "Bearer endpoint-token")]


@pytest.mark.parametrize(
    ("answer", "status", "code"),
    [
        ((404, {}), 402, "subscription_required"),
        (subscription(status="past_due"), 402, "subscription_past_due"),
        (subscription(expires_at="2020-01-01T00:00:00Z"), 402, "subscription_expired"),
        (subscription(tier="local"), 403, "plan_not_entitled"),
        (subscription(expires_at="2040-01-01T00:00:00"), 503, "subscription_unverifiable"),
        ((200, {"tier": "ditectrev"}), 503, "subscription_unverifiable"),
        ((500, {}), 503, "subscription_unverifiable"),
        ((302, {}), 503, "subscription_unverifiable"),
    ],
)
def test_an_endpoint_that_does_not_say_yes_is_a_no(
    endpoint: Endpoint, gateway: LiveGateway, simulator: SimulatorHandle, answer: tuple[int, Any], status: int, code: str
) -> None:
    endpoint.answer = answer
    refused = gateway.chat("Hi", model="ditectrev")
    assert (refused.status_code, refused.json()["error"]["code"]) == (status, code)
    assert ("Retry-After" in refused.headers) == (status == 503)
    assert simulator.journal() == []


@pytest.mark.parametrize(
    "answer",
    [
        subscription(tier="ditect\x00rev"),
        subscription(status="act\u202eive"),
        subscription(tier="ditectrev\r\n"),
        subscription(note="x" * 300_000),
    ],
)
def test_C19_C20_an_answer_with_text_nobody_can_see_or_without_end_is_none(
    endpoint: Endpoint, gateway: LiveGateway, answer: tuple[int, Any]
) -> None:
    endpoint.answer = answer
    refused = gateway.chat("Hi", model="ditectrev")
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "subscription_unverifiable")


def test_a_stored_entitlement_needs_no_endpoint(endpoint: Endpoint, gateway: LiveGateway, user: User) -> None:
    endpoint.answer = (500, {})
    entitle(user)
    assert gateway.chat("Hi", model="ditectrev").status_code == 200
    assert endpoint.asked == []


async def test_a_failing_endpoint_is_asked_again_after_five_seconds_not_at_every_request() -> None:
    clock, asked = [100.0], []

    async def fetch(username: str) -> tuple[EntitlementRecord, ...]:
        asked.append(username)
        if len(asked) == 1:
            raise SubscriptionUnknown("away")
        return (EntitlementRecord("ditectrev", "active", None),)

    entitlements = Entitlements(fetch, lambda: clock[0])
    for _ in range(2):
        with pytest.raises(SubscriptionUnknown):
            await entitlements._asked("ursula", fetch)
    assert asked == ["ursula"]
    clock[0] += 5.0
    assert await entitlements._asked("ursula", fetch)
    assert len(asked) == 2
