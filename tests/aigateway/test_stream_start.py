"""When the status line of a stream is sent, and what the client hears until the first content comes."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from aigateway.door import views
from providers.simulator.catalogue import MODELS
from tests.aigateway.conftest import LiveGateway, events, register_simulator
from tests.providers.simulator.fixtures import SimulatorHandle
from usage.models import Attempt, LedgerEntry

HOLD_S = 0.1
KEEP_ALIVE = b": keep-alive\n\n"
MODEL = MODELS[0].name


@pytest.fixture(autouse=True)
def short_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(views, "STATUS_HOLD_S", HOLD_S)
    monkeypatch.setattr(views, "KEEP_ALIVE_S", HOLD_S)


def asked(text: str) -> dict[str, object]:
    return {"model": MODEL, "stream": True, "messages": [{"role": "user", "content": text}]}


def settled(count: int) -> list[Attempt]:
    pause = threading.Event()
    for _ in range(250):
        attempts = list(Attempt.objects.exclude(status="dispatched").order_by("dispatched_at"))
        if len(attempts) >= count:
            return attempts
        pause.wait(0.02)
    raise AssertionError("not every attempt was settled")


@pytest.mark.parametrize("silence", ["fault=slow_first_byte wait_ms=600", "first_byte_ms=600"], ids=["status line", "first content"])
def test_U05_a_slow_first_answer_keeps_one_connection_alive_with_comments(
    gateway: LiveGateway, simulator: SimulatorHandle, silence: str
) -> None:
    raw = gateway.stream(f"[sim {silence} tokens=5]")
    beats = raw.count(KEEP_ALIVE)
    assert raw.startswith(KEEP_ALIVE * beats), "comments end at the first content"
    assert 3 <= beats <= 6
    out = events(raw)
    assert (out[-1], out[-2]["choices"][0]["finish_reason"]) == ("[DONE]", "stop")
    assert len(simulator.journal(1)) == 1, "the upstream was asked once and not given up"
    [attempt] = settled(1)
    assert (attempt.status, attempt.error_code) == ("settled", "")
    assert LedgerEntry.objects.get().cost_nano == simulator.bill(1)[0]["cost_nano"]
    assert gateway.chat().status_code == 200, "the breaker stays closed"


def test_U05_a_prompt_answer_brings_no_comment_and_all_headers(gateway: LiveGateway) -> None:
    with gateway.client.stream("POST", "/v1/chat/completions", json=asked("Hello")) as response:
        assert (response.headers["X-Gateway-Provider"], response.headers["X-Accel-Buffering"]) == ("sim", "no")
        assert KEEP_ALIVE not in b"".join(response.iter_raw())


def test_U12_a_failure_after_the_status_line_is_an_error_event_and_no_finish(gateway: LiveGateway) -> None:
    with gateway.client.stream("POST", "/v1/chat/completions", json=asked("[sim latency_ms=300 fault=http_401]")) as response:
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        request_id = response.headers["X-Request-ID"]
        raw = b"".join(response.iter_raw())
    [error] = events(raw)
    assert raw.replace(KEEP_ALIVE, b"").startswith(b"event: error\n")
    assert (error["error"]["code"], error["error"]["request_id"]) == ("upstream_auth_rejected", request_id)
    assert LedgerEntry.objects.count() == 0


def test_U12_fail_over_goes_on_behind_the_comments(
    start_gateway: Callable[[], LiveGateway], new_simulator: Callable[..., SimulatorHandle]
) -> None:
    first, second = new_simulator(), new_simulator()
    register_simulator(first, "first", priority=1)
    register_simulator(second, "second", priority=2)
    first.settings(latency_ms=300, fault_rate=1, faults={"http_500": 1})
    raw = start_gateway().stream("Hello")
    assert raw.startswith(KEEP_ALIVE)
    assert events(raw)[-1] == "[DONE]"
    assert b"event: error" not in raw
    assert [attempt.error_code for attempt in settled(2)] == ["upstream_server_error", ""]
    assert [line.cost_nano for line in LedgerEntry.objects.all()] == [second.bill(1)[0]["cost_nano"]]


@pytest.mark.parametrize("beats", [0, 1], ids=["before the status line", "between comments"])
def test_L07_a_client_that_leaves_before_the_first_content_ends_the_call(
    gateway: LiveGateway, simulator: SimulatorHandle, monkeypatch: pytest.MonkeyPatch, beats: int
) -> None:
    if not beats:
        monkeypatch.setattr(views, "STATUS_HOLD_S", 60.0)
    body = asked("[sim first_byte_ms=30000]")
    request = gateway.client.build_request("POST", "/v1/chat/completions", json=body, timeout=0.3 if not beats else 10)
    if beats:
        response = gateway.client.send(request, stream=True)
        assert next(response.iter_raw()) == KEEP_ALIVE
        response.close()
    else:
        with pytest.raises(Exception, match="timed out"):
            gateway.client.send(request, stream=True)
    [entry] = simulator.journal(1)
    assert entry["finished_s"] - entry["started_s"] < 5
    [attempt] = settled(1)
    assert attempt.error_code == "client_closed"
    assert gateway.chat().status_code == 200
