"""A process killed in the middle of an answer frees its keys, once it is known to be dead and the ledger has closed its call."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import httpx2 as httpx
import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from aigateway.errors import GatewayError
from aigateway.idempotency import store
from aigateway.process import probe
from tests.aigateway.conftest import LiveGateway, register_simulator
from tests.providers.simulator.fixtures import SimulatorHandle
from tests.servers import free_port
from tests.usage.processes import database_url
from usage.ledger.sweeper import sweep
from usage.models import Attempt, GatewayProcess, IdempotencyRecord, LedgerEntry

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]

QUESTION = {"model": "sim-small", "messages": [{"role": "user", "content": "[sim tokens=6]"}]}
KEY = {"Idempotency-Key": "order-1"}


def until(condition: Callable[[], Any], process: subprocess.Popen[bytes], reason: str) -> None:
    """A busy machine takes its time; what cannot come any more is a process that ended."""
    pause = threading.Event()
    while not condition():
        assert process.poll() is None, reason
        pause.wait(0.02)


@contextmanager
def separate_gateway() -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    port = free_port()
    words = [sys.executable, "-m", "uvicorn", "aigateway.asgi:application", "--host", "127.0.0.1", "--port", str(port), "--lifespan", "on"]
    env = {**os.environ, "DATABASE_URL": database_url(), "DJANGO_SETTINGS_MODULE": "aigateway.settings"}
    process = subprocess.Popen(words, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until(lambda: probe.readiness("127.0.0.1", port)[0], process, "the gateway did not start")
        yield f"http://127.0.0.1:{port}", process
    finally:
        process.kill()
        process.wait()


def hang(url: str, key: str) -> None:
    with pytest.raises(httpx.TransportError):
        httpx.post(f"{url}/v1/chat/completions", json=QUESTION, headers={**KEY, "Authorization": f"Bearer {key}"}, timeout=60)


def test_M01_a_gateway_killed_in_flight_frees_the_key_after_the_sweep_and_not_before(
    start_gateway: Callable[[], LiveGateway], simulator: SimulatorHandle, user: User
) -> None:
    register_simulator(simulator)
    gateway = start_gateway()
    simulator.settings(first_byte_ms=60_000)
    with separate_gateway() as (url, process), ThreadPoolExecutor(1) as pool:
        hanging = pool.submit(hang, url, gateway.key)
        until(lambda: Attempt.objects.filter(status="dispatched").exists(), process, "the call did not leave")
        process.send_signal(signal.SIGKILL)
        hanging.result()
    simulator.settings()
    long_ago = timezone.now() - timedelta(minutes=1)

    def again() -> httpx.Response:
        return gateway.client.post("/v1/chat/completions", json=QUESTION, headers=KEY)

    assert again().status_code == 409, "the process may still be alive"
    dead = IdempotencyRecord.objects.get().process_id
    IdempotencyRecord.objects.update(created_at=long_ago)
    assert again().status_code == 409, "its heartbeat is fresh"
    Attempt.objects.update(process_id=GatewayProcess.objects.create(heartbeat_at=timezone.now() + timedelta(hours=1), host="h", pid=1).pk)
    GatewayProcess.objects.filter(pk=dead).update(heartbeat_at=long_ago)
    assert again().status_code == 409, "its call is still open on the ledger"
    Attempt.objects.update(process_id=dead)
    sweep(timezone.now())
    answered, replayed = again(), again()
    assert (answered.status_code, "Idempotent-Replayed" in answered.headers) == (200, False)
    assert replayed.headers["Idempotent-Replayed"] == "true"
    assert sorted(line.basis for line in LedgerEntry.objects.all()) == ["estimated", "measured"], "one line for each call that was made"


def test_of_those_who_find_an_orphan_one_gets_it(transactional_db: None) -> None:
    dead = GatewayProcess.objects.create(host="h", pid=1, heartbeat_at=timezone.now() - timedelta(minutes=1))
    first = store.Question("key:a", "k", b"x" * 32, "first", dead.pk)
    store.claim(first)
    IdempotencyRecord.objects.update(created_at=timezone.now() - timedelta(minutes=1))
    found = IdempotencyRecord.objects.get()
    heirs = [store.Question("key:a", "k", b"x" * 32, name, None) for name in ("second", "third")]
    assert [store._taken_over(found, heir, timezone.now()) for heir in heirs] == [True, False]
    with pytest.raises(GatewayError, match="idempotent_request_in_progress"):
        store.claim(heirs[1])


def test_a_write_of_the_control_plane_under_way_for_too_long_frees_its_key(transactional_db: None) -> None:
    first, second = (store.Question("user:1", "k", b"x" * 32, name, None) for name in ("first", "second"))
    store.claim(first)
    with pytest.raises(GatewayError):
        store.claim(second)
    IdempotencyRecord.objects.update(created_at=timezone.now() - timedelta(minutes=11))
    assert isinstance(store.claim(second), store.Claim)
