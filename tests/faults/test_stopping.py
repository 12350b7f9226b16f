"""A deploy amid streams: readiness turns at once, streams end by themselves or in an event that says why, every call is settled (I18)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2 as httpx
import pytest
from django.contrib.auth.models import User

from tests.aigateway.conftest import events, register_simulator
from tests.providers.simulator.fixtures import SimulatorHandle
from tests.servers import free_port
from tests.usage.processes import database_url
from usage.keys.actions import create_api_key
from usage.ledger.verification import verify_ledger
from usage.models import Attempt, LedgerEntry

pytestmark = pytest.mark.django_db(transaction=True)

STREAMS = 10
PATHS = ("/v1/chat/completions", "/v1/messages", "/v1/responses")


class Web:
    """One web process of the product, started as the supervisor starts it."""

    def __init__(self, drain_s: int, delay_s: int) -> None:
        port = free_port()
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60)
        own = {"HOST": "127.0.0.1", "PORT": str(port), "AIGATEWAY_DRAIN_S": str(drain_s), "AIGATEWAY_STOP_DELAY_S": str(delay_s)}
        env = {**os.environ, **own, "DATABASE_URL": database_url(), "DJANGO_SETTINGS_MODULE": "aigateway.settings"}
        words = [sys.executable, "-m", "aigateway.process.web"]
        self.process = subprocess.Popen(words, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def readiness(self) -> int:
        try:
            return self.client.get("/readyz", headers={"Connection": "close"}).status_code
        except httpx.TransportError:
            return 0

    def has_ended(self) -> bool:
        return self.process.poll() is not None


def until(condition: Callable[[], Any], web: Web, reason: str) -> None:
    """A busy machine takes its time; what cannot come any more is a process that ended."""
    pause = threading.Event()
    while not condition():
        assert not web.has_ended(), reason
        pause.wait(0.02)


@pytest.fixture
def start(user: User, simulator: SimulatorHandle) -> Iterator[Callable[..., Web]]:
    register_simulator(simulator)
    started: list[Web] = []

    def make(drain_s: int, delay_s: int = 0) -> Web:
        web = Web(drain_s, delay_s)
        started.append(web)
        until(lambda: web.readiness() == 200, web, "the web process did not start")
        return web

    yield make
    for web in started:
        web.process.kill()
        web.process.wait()
        web.client.close()


def ask(web: Web, key: str, path: str, prompt: str, *, stream: bool = True) -> httpx.Response:
    said = {"input": prompt} if path == "/v1/responses" else {"messages": [{"role": "user", "content": prompt}], "max_tokens": 4000}
    headers = {"Authorization": f"Bearer {key}"}
    return web.client.post(path, json={"model": "sim-small", "stream": stream, **said}, headers=headers)


def assert_settled(calls: int) -> list[LedgerEntry]:
    lines = list(LedgerEntry.objects.all())
    assert len(lines) == calls
    assert not Attempt.objects.filter(status=Attempt.Status.DISPATCHED).exists()
    assert list(verify_ledger()) == []
    return lines


def test_I18_what_outlasts_the_drain_ends_in_words_that_say_why_and_is_settled(start: Callable[..., Web], user: User) -> None:
    """Streams of every format in an event, whole answers with 503."""
    web, (_, key), (whole_key, secret) = start(drain_s=1), create_api_key(user, "streams"), create_api_key(user, "whole")
    with ThreadPoolExecutor(len(PATHS) * STREAMS + 1) as pool:
        streams = [pool.submit(ask, web, key, path, "[sim tokens=3000 chunk_ms=20]") for path in PATHS for _ in range(STREAMS)]
        whole = pool.submit(ask, web, secret, PATHS[0], "[sim first_byte_ms=20000]", stream=False)
        all_left = len(streams) + 1
        until(lambda: Attempt.objects.filter(status="dispatched").count() == all_left, web, "the calls did not leave")
        web.process.send_signal(signal.SIGTERM)
        answers = [future.result() for future in streams]
        refusal = whole.result()
    assert web.process.wait(60) in (0, -signal.SIGTERM)
    for answer in answers:
        assert answer.status_code == 200
        assert "server_shutdown" in str(events(answer.content)[-1]), answer.url
        assert b"[DONE]" not in answer.content
        assert b'"finish_reason":"stop"' not in answer.content
    assert (refusal.status_code, refusal.json()["error"]["code"]) == (503, "server_shutdown")
    lines = assert_settled(all_left)
    assert all(line.cost_nano > 0 for line in lines)
    assert [line.basis for line in lines if line.api_key_id == whole_key.pk] == ["estimated"]


def test_I18_streams_within_the_drain_end_by_themselves_exactly(start: Callable[..., Web], user: User, simulator: SimulatorHandle) -> None:
    web, (_, key) = start(drain_s=30), create_api_key(user, "test")
    with ThreadPoolExecutor(STREAMS) as pool:
        asked = [pool.submit(ask, web, key, "/v1/chat/completions", "[sim tokens=60 chunk_ms=20]") for _ in range(STREAMS)]
        until(lambda: Attempt.objects.filter(status="dispatched").count() == STREAMS, web, "the streams did not begin")
        web.process.send_signal(signal.SIGTERM)
        answers = [future.result() for future in asked]
    assert web.process.wait(60) in (0, -signal.SIGTERM)
    assert [events(answer.content)[-1] for answer in answers] == ["[DONE]"] * STREAMS
    lines = assert_settled(STREAMS)
    assert {line.basis for line in lines} == {"measured"}


def test_I18_a_process_told_to_stop_is_not_ready_at_once_and_still_answers_until_balancers_have_looked(
    start: Callable[..., Web], user: User
) -> None:
    web, (_, key) = start(drain_s=5, delay_s=3), create_api_key(user, "test")
    web.process.send_signal(signal.SIGTERM)
    until(lambda: web.readiness() == 503, web, "readiness did not turn")
    assert ask(web, key, "/v1/chat/completions", "Hello", stream=False).status_code == 200
    assert web.process.wait(60) in (0, -signal.SIGTERM)
    assert web.readiness() == 0
    assert_settled(1)
