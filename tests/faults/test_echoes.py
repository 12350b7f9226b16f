"""A provider whose error repeats the request, keys and all: what of it may reach whom."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator

import pytest

from providers import actions
from providers.audit import SYSTEM
from providers.models import ManagedPreset, Provider, RoutingConfiguration
from providers.upstream.types import Secret
from tests.aigateway.conftest import LiveGateway, events, price_model
from tests.providers.fake_provider import FakeProvider, fake_provider

KEY = "sk-canary-7f3a91c2e5d84b60a1b2c3d4e5f60718"
PROMPT = "a prompt nobody else may read c0ffee"
PRESET = "the prompt of a product, beefcafe"
LIMIT = 500


@pytest.fixture
def echo() -> Iterator[FakeProvider]:
    with fake_provider() as provider:
        provider.script.status = 400
        provider.script.before = lambda: _echo(provider)
        yield provider


def _echo(provider: FakeProvider) -> None:
    _, _, headers = provider.asked[-1]
    asked = json.loads(provider.bodies[-1])
    words = " ".join(message["content"] for message in asked["messages"])
    said = json.dumps({"error": {"message": f"{words} {headers['authorization']} is not understood", "type": "invalid_request_error"}})
    if asked.get("stream"):
        chunk = {"id": "1", "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": "Hi"}}]}
        provider.script.status, provider.script.headers = 200, {"Content-Type": "text/event-stream"}
        provider.script.body = f"data: {json.dumps(chunk)}\n\ndata: {said}\n\n".encode()
    else:
        provider.script.body = said.encode()


@pytest.fixture
def gateway(start_gateway: Callable[[], LiveGateway], echo: FakeProvider, caplog: pytest.LogCaptureFixture) -> LiveGateway:
    caplog.set_level(logging.DEBUG)
    RoutingConfiguration.objects.create(pk=1, breaker_failures=1000, retries_per_target=0)
    provider = Provider(slug="echo", label="Echo", kind="openai_compatible", base_url=echo.base_url, allow_private=True)
    actions.create_provider(provider, SYSTEM, Secret(KEY))
    price_model(provider, "echoing", 1_000, 1_000)
    return start_gateway()


def _parts(secret: str) -> list[str]:
    return [secret[start : start + 8] for start in range(len(secret) - 7)]


def test_C16_a_cut_through_the_key_leaves_nothing_of_it_with_client_or_logs(
    gateway: LiveGateway, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    seen = []
    for left in range(0, len(KEY) + 10, 3):
        answer = gateway.chat("x" * (LIMIT - left), model="echoing")
        assert answer.status_code == 400
        assert answer.json()["error"]["message"].startswith("xxx"), "the client still reads what is wrong"
        seen.append(f"{answer.headers} {answer.text}")
    seen += ["\n".join(f"{record.getMessage()} {record.__dict__}" for record in caplog.records), capfd.readouterr().err]
    assert "attempt_failed" in seen[-1]
    found = [part for part in _parts(KEY) for text in seen if part in text]
    assert not found


def test_C16_a_prompt_a_provider_repeats_is_in_no_log(gateway: LiveGateway, capfd: pytest.CaptureFixture[str]) -> None:
    assert PROMPT in gateway.chat(PROMPT, model="echoing").text, "the client reads its own words"
    logged = capfd.readouterr().err
    assert "attempt_failed" in logged
    assert "said_chars" in logged
    assert PROMPT not in logged


def test_C16_an_error_in_the_middle_of_a_stream_is_redacted_like_any_other(gateway: LiveGateway, capfd: pytest.CaptureFixture[str]) -> None:
    raw = gateway.stream(PROMPT, model="echoing")
    assert "is not understood" in events(raw)[-1]["error"]["message"]
    seen = raw.decode() + capfd.readouterr().err
    found = [part for part in _parts(KEY) if part in seen]
    assert not found


def test_C16_a_key_pasted_into_a_prompt_does_not_come_back(gateway: LiveGateway) -> None:
    answer = gateway.chat(f"use {gateway.key} please", model="echoing")
    assert answer.status_code == 400
    assert gateway.key not in answer.text
    assert gateway.key[-20:] not in answer.text


def test_C16_a_presets_own_prompt_is_not_shown_to_its_callers(
    start_gateway: Callable[[], LiveGateway], echo: FakeProvider, capfd: pytest.CaptureFixture[str]
) -> None:
    provider = Provider(slug="product", label="Product", kind="openai_compatible", base_url=echo.base_url, allow_private=True)
    actions.create_provider(provider, SYSTEM, Secret(KEY))
    ManagedPreset.objects.create(provider=provider, upstream_kind="openai_compatible", system_prompt=PRESET)
    price_model(provider, "product", 1_000, 1_000)
    answer = start_gateway().chat("Hello", model="product")
    assert PRESET in str([json.loads(body)["messages"] for body in echo.bodies])
    assert answer.status_code == 400
    assert answer.json()["error"]["message"] == "The provider refused the request."
    assert PRESET not in capfd.readouterr().err
