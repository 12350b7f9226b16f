"""M01: a request repeated with its ``Idempotency-Key`` is neither executed nor billed twice."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import OperationalError
from django.utils import timezone

from aigateway.door import idempotency
from aigateway.idempotency import store
from providers import secrets
from providers.models import ConfigVersion, Deployment, Price
from tests.aigateway.conftest import LiveGateway, deployment
from tests.providers.simulator.fixtures import SimulatorHandle
from usage.budgets import actions
from usage.keys.actions import create_api_key
from usage.ledger.prune import prune_answers
from usage.limits.actions import set_rate_limit
from usage.models import IdempotencyRecord, LedgerEntry

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]

HELLO = [{"role": "user", "content": "[sim tokens=6] Hello"}]
CHAT = {"model": "sim-small", "messages": HELLO}
REQUESTS: list[tuple[str, dict[str, Any]]] = [
    ("/v1/chat/completions", CHAT),
    ("/v1/chat/completions", {**CHAT, "stream": True}),
    ("/api/v1/ai/generate", {"model": "sim-small", "prompt": "Hello"}),
    ("/api/v1/ai/generate", {"model": "sim-small", "prompt": "Hello", "stream": True}),
    ("/v1/responses", {"model": "sim-small", "input": "Hello"}),
    ("/v1/responses", {"model": "sim-small", "input": "Hello", "stream": True}),
    ("/v1/messages", {**CHAT, "max_tokens": 50}),
    ("/v1/messages", {**CHAT, "max_tokens": 50, "stream": True}),
    ("/v1/embeddings", {"model": "sim-embedding", "input": "Hello"}),
    ("/v1beta/models/sim-small:generateContent", {"contents": [{"role": "user", "parts": [{"text": "Hello"}]}]}),
    ("/v1beta/models/sim-small:streamGenerateContent?alt=sse", {"contents": [{"role": "user", "parts": [{"text": "Hello"}]}]}),
]


def post(
    gateway: LiveGateway, path: str = "/v1/chat/completions", body: object = CHAT, key: str = "order-1", **headers: str
) -> httpx.Response:
    return gateway.client.post(path, json=body, headers={"Idempotency-Key": key, **headers})


def was_replayed(response: httpx.Response) -> bool:
    return response.headers.get("Idempotent-Replayed") == "true"


def until(condition: Callable[[], bool], reason: str) -> None:
    pause = threading.Event()
    for _ in range(500):
        if condition():
            return
        pause.wait(0.02)
    raise AssertionError(reason)


def hang_up_once_dispatched(gateway: LiveGateway, simulator: SimulatorHandle, body: object) -> None:
    """Sends a request and leaves as soon as the provider has it."""
    request = gateway.client.build_request("POST", "/v1/chat/completions", json=body, headers={"Idempotency-Key": "order-1"})
    head = b"POST /v1/chat/completions HTTP/1.1\r\n" + b"".join(b"%b: %b\r\n" % pair for pair in request.headers.raw)
    with socket.create_connection((request.url.host, request.url.port or 80)) as client:
        client.sendall(head + b"\r\n" + request.read())
        until(lambda: bool(simulator.journal()), "the request was not dispatched")


@pytest.mark.parametrize(("path", "body"), REQUESTS)
def test_M01_a_repeated_request_gets_the_same_bytes_at_no_cost(
    gateway: LiveGateway, simulator: SimulatorHandle, path: str, body: dict[str, Any]
) -> None:
    if path.endswith("embeddings"):
        Deployment.objects.filter(name="sim-large").update(name="sim-embedding", capabilities=["embeddings"])
        ConfigVersion.bump()
    first, again = post(gateway, path, body), post(gateway, path, body)
    assert (first.status_code, was_replayed(first)) == (200, False), first.content
    assert (again.status_code, was_replayed(again)) == (200, True)
    assert again.content == first.content
    assert again.headers["Content-Type"] == first.headers["Content-Type"]
    assert again.headers["X-Gateway-Request-ID"] == first.headers["X-Gateway-Request-ID"]
    assert float(again.headers["X-Gateway-Cost-USD"]) == 0
    assert len(simulator.journal()) == LedgerEntry.objects.count() == 1


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("duplicates", [1, 2, 10])
def test_M01_parallel_duplicates_make_one_call_and_one_charge(
    gateway: LiveGateway, simulator: SimulatorHandle, duplicates: int, stream: bool
) -> None:
    body = {"model": "sim-small", "stream": stream, "messages": [{"role": "user", "content": "[sim first_byte_ms=300 tokens=6]"}]}
    with ThreadPoolExecutor(duplicates) as pool:
        answers = list(pool.map(lambda _: post(gateway, body=body), range(duplicates)))
    executed = [answer for answer in answers if answer.status_code == 200 and not was_replayed(answer)]
    waiting = [answer for answer in answers if answer.status_code == 409]
    replayed = [answer for answer in answers if was_replayed(answer)]
    assert (len(executed), len(executed + waiting + replayed)) == (1, duplicates)
    assert {answer.json()["error"]["code"] for answer in waiting} <= {"idempotent_request_in_progress"}
    assert all(int(answer.headers["Retry-After"]) >= 1 for answer in waiting)
    assert post(gateway, body=body).content == executed[0].content
    assert len(simulator.journal()) == LedgerEntry.objects.count() == 1


def test_M01_another_body_path_or_context_under_the_same_key_is_422(gateway: LiveGateway, simulator: SimulatorHandle) -> None:
    assert post(gateway).status_code == 200
    others = [
        post(gateway, body={**CHAT, "temperature": 1}),
        post(gateway, "/api/v1/ai/v1/chat/completions"),
        post(gateway, **{"X-Gateway-Context": "writing"}),
    ]
    assert [(other.status_code, other.json()["error"]["code"]) for other in others] == [(422, "idempotency_key_reused")] * 3
    assert len(simulator.journal()) == 1


def test_S36_a_key_belongs_to_its_caller(gateway: LiveGateway, user: User) -> None:
    _, other = create_api_key(user, "other")
    assert post(gateway).status_code == 200
    foreign = post(gateway, Authorization=f"Bearer {other}")
    assert (foreign.status_code, was_replayed(foreign)) == (200, False)
    assert LedgerEntry.objects.count() == 2


@pytest.mark.parametrize("key", ["", "x" * 256, "tab\there"])
def test_a_malformed_key_is_refused(gateway: LiveGateway, key: str) -> None:
    refused = post(gateway, key=key)
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "idempotency_key_invalid")


# --------------------------------------------------------------------------- what is final


def test_what_the_provider_refused_is_refused_again_without_asking(gateway: LiveGateway, simulator: SimulatorHandle) -> None:
    body = {"model": "sim-small", "messages": [{"role": "user", "content": "[sim fault=http_400]"}]}
    first, again = post(gateway, body=body), post(gateway, body=body)
    assert (first.status_code, again.status_code, was_replayed(again)) == (400, 400, True)
    assert again.content == first.content
    assert len(simulator.journal()) == 1


def test_a_refusal_before_dispatch_and_a_failure_free_the_key(gateway: LiveGateway, user: User) -> None:
    actions.set_budget("user", user, "month", actions.Limits(0))
    assert post(gateway).status_code == 402
    actions.set_budget("user", user, "month", actions.Limits(10**12))
    limited = set_rate_limit("user", user, "requests", "minute", 0)
    assert post(gateway).status_code == 429
    limited.delete()
    ConfigVersion.bump("budgets")
    until(lambda: post(gateway).status_code != 429, "the lifted limit was not noticed")
    assert was_replayed(post(gateway))
    failing = {"model": "sim-small", "messages": [{"role": "user", "content": "[sim fault=http_500]"}]}
    assert post(gateway, body=failing, key="failing").status_code >= 500
    assert post(gateway, body={"model": "no such", "messages": []}, key="invalid").status_code == 400
    assert IdempotencyRecord.objects.count() == 1


def test_a_stream_that_broke_off_frees_the_key(gateway: LiveGateway, simulator: SimulatorHandle) -> None:
    body = {"model": "sim-small", "stream": True, "messages": [{"role": "user", "content": "[sim fault=eof_no_finish tokens=40]"}]}
    first = post(gateway, body=body)
    assert b"error" in first.content
    assert not was_replayed(post(gateway, body=body))
    assert IdempotencyRecord.objects.count() == 0


@pytest.mark.parametrize("stream", [False, True])
def test_M01_who_hangs_up_and_asks_again_gets_the_answer_that_was_paid_for(
    gateway: LiveGateway, simulator: SimulatorHandle, stream: bool
) -> None:
    body = {
        "model": "sim-small",
        "stream": stream,
        "messages": [{"role": "user", "content": "[sim first_byte_ms=400 chunk_ms=20 tokens=20]"}],
    }
    hang_up_once_dispatched(gateway, simulator, body)
    until(lambda: IdempotencyRecord.objects.filter(status=200).exists(), "the answer was not kept")
    again = post(gateway, body=body)
    assert (again.status_code, was_replayed(again)) == (200, True)
    assert again.content.rstrip().endswith(b"[DONE]" if stream else b"}")
    assert len(simulator.journal()) == LedgerEntry.objects.count() == 1


def test_who_leaves_in_the_middle_of_a_stream_gets_all_of_it_later(gateway: LiveGateway, simulator: SimulatorHandle) -> None:
    body = {"model": "sim-small", "stream": True, "messages": [{"role": "user", "content": "[sim chunk_ms=10 tokens=30]"}]}
    with gateway.client.stream("POST", "/v1/chat/completions", json=body, headers={"Idempotency-Key": "order-1"}) as response:
        seen = next(response.iter_raw())
    until(lambda: IdempotencyRecord.objects.filter(status=200).exists(), "the stream was not read to its end")
    again = post(gateway, body=body)
    assert was_replayed(again)
    assert again.content.startswith(seen)
    assert again.content.rstrip().endswith(b"[DONE]")
    assert [line.basis for line in LedgerEntry.objects.all()] == ["measured"]


# --------------------------------------------------------------------------- at rest


def test_answers_are_sealed_at_rest_and_gone_after_24_hours(gateway: LiveGateway) -> None:
    first = post(gateway)
    record = IdempotencyRecord.objects.get()
    words = first.json()["choices"][0]["message"]["content"].encode()
    assert words not in bytes(record.sealed_body)
    assert record.expires_at - record.created_at == timedelta(hours=24)
    assert prune_answers(timezone.now()) == 0
    IdempotencyRecord.objects.update(expires_at=timezone.now())
    assert not was_replayed(post(gateway)), "an expired key is a new one"
    assert LedgerEntry.objects.count() == 2
    assert prune_answers(timezone.now() + timedelta(days=1, seconds=1)) == 1


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_too_large_to_keep_is_never_paid_twice(gateway: LiveGateway, monkeypatch: pytest.MonkeyPatch, stream: bool) -> None:
    monkeypatch.setattr(store, "BODY_BYTES_MAX", 100)
    body = {**CHAT, "stream": stream}
    first, again = post(gateway, body=body), post(gateway, body=body)
    assert (first.status_code, len(first.content) > 100) == (200, True)
    assert (again.status_code, again.json()["error"]["code"]) == (409, "idempotent_result_not_stored")
    assert first.headers["X-Gateway-Request-ID"] in again.json()["error"]["message"]
    assert LedgerEntry.objects.count() == 1


def test_an_answer_altered_at_rest_is_not_replayed(gateway: LiveGateway) -> None:
    post(gateway)
    record = IdempotencyRecord.objects.get()
    IdempotencyRecord.objects.update(sealed_body=bytes(record.sealed_body)[:-1] + b"x")
    assert post(gateway).json()["error"]["code"] == "idempotent_result_not_stored"


def test_without_a_key_nothing_is_written(gateway: LiveGateway) -> None:
    assert gateway.chat().status_code == 200
    assert not IdempotencyRecord.objects.exists()
    assert Price.objects.filter(deployment=deployment("sim-small")).exists()


# --------------------------------------------------------------------------- a database or key ring that is away


@pytest.mark.parametrize("failures", [1, 9])
def test_an_answer_that_cannot_be_kept_at_once_is_delivered_and_kept_later_or_its_key_stays_taken(
    gateway: LiveGateway, monkeypatch: pytest.MonkeyPatch, failures: int
) -> None:
    finish, left = store.finish, [failures]

    def finish_when_possible(claimed: store.Claim, answer: store.StoredAnswer) -> None:
        if left[0]:
            left[0] -= 1
            raise OperationalError("away")
        finish(claimed, answer)

    monkeypatch.setattr(store, "finish", finish_when_possible)
    monkeypatch.setattr(idempotency, "KEEP_AGAIN_AFTER_S", (0.01, 0.01))
    assert post(gateway).status_code == 200
    until(lambda: left[0] == max(0, failures - 3), "it was not tried again")
    if failures == 1:
        until(lambda: was_replayed(post(gateway)), "it was not kept")
    else:
        assert post(gateway).status_code == 409
    assert LedgerEntry.objects.count() == 1


def test_a_claim_that_cannot_be_written_stops_the_request(
    gateway: LiveGateway, simulator: SimulatorHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(question: store.Question) -> None:
        raise OperationalError("away")

    monkeypatch.setattr(store, "claim", away)
    assert post(gateway).status_code == 503
    assert simulator.journal() == []


def test_without_a_key_ring_answers_are_delivered_and_not_kept(gateway: LiveGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object) -> bytes:
        raise secrets.KeyRingMissing("no ring")

    monkeypatch.setattr(secrets, "seal", missing)
    assert post(gateway).status_code == 200
    assert post(gateway).json()["error"]["code"] == "idempotent_result_not_stored"


def test_a_stream_too_large_to_keep_ends_with_its_client(gateway: LiveGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "BODY_BYTES_MAX", 1)
    body = {"model": "sim-small", "stream": True, "messages": [{"role": "user", "content": "[sim chunk_ms=50 tokens=100]"}]}
    with gateway.client.stream("POST", "/v1/chat/completions", json=body, headers={"Idempotency-Key": "order-1"}) as response:
        next(response.iter_raw())
    until(lambda: LedgerEntry.objects.exists(), "the call was not closed")
    assert LedgerEntry.objects.get().error_code == "client_closed"
    until(lambda: post(gateway, body=body).json()["error"]["code"] == "idempotent_result_not_stored", "it may be paid twice")


def test_a_fresh_installation_can_keep_an_answer_before_it_has_any_secret(transactional_db: None, settings: Any, tmp_path: Path) -> None:
    settings.KEY_RING, settings.KEY_RING_FILE = None, tmp_path / "keks"
    question = store.Question("key:a", "k", b"x" * 32, "first", None)
    claimed = store.claim(question)
    assert isinstance(claimed, store.Claim)
    store.finish(claimed, store.StoredAnswer(200, "application/json", {}, b"{}"))
    call_command("rotate_kek", add_key="k2", stdout=StringIO())
    other = store.claim(store.Question("key:a", "k2", b"x" * 32, "under way", None))
    assert isinstance(other, store.Claim)
    call_command("rotate_kek", stdout=StringIO())
    again = store.claim(replace(question, request_id="second"))
    assert isinstance(again, store.StoredAnswer)
    assert again.body == b"{}"
