"""Every fault, as a client sees it and as the bill has it."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest

from tests.providers.simulator.calls import OPENAI, Answered, chat, chat_body, get, messages, messages_body
from tests.providers.simulator.fixtures import SimulatorHandle

ERRORS = {
    "http_400": (400, "invalid_request_error"),
    "http_401": (401, "authentication_error"),
    "http_402": (402, "billing_error"),
    "http_403": (403, "permission_error"),
    "http_404": (404, "not_found_error"),
    "http_429": (429, "rate_limit_error"),
    "http_500": (500, "api_error"),
    "http_503": (503, "api_error"),
    "http_529": (529, "overloaded_error"),
    "quota": (400, "invalid_request_error"),
}


async def faulty(simulator: SimulatorHandle, words: str, **more: Any) -> Answered:
    return await chat(simulator, chat_body(f"hello [sim {words}]", **more))


@pytest.mark.parametrize("fault", ERRORS)
@pytest.mark.parametrize("stream", [False, True])
async def test_error_answers_have_each_wires_own_shape_and_are_not_billed(simulator: SimulatorHandle, fault: str, stream: bool) -> None:
    as_openai = await faulty(simulator, f"fault={fault}", stream=stream)
    as_anthropic = await messages(simulator, messages_body(f"hello [sim fault={fault}]", stream=stream))
    status, kind = ERRORS[fault]
    assert as_openai.status == (429 if fault == "quota" else status)
    assert set(as_openai.json()["error"]) == {"message", "type", "param", "code"}
    assert as_anthropic.status == status
    assert as_anthropic.json()["error"]["type"] == kind
    assert simulator.bill() == []
    assert [entry["ended"] for entry in simulator.journal(finished=2)] == ["refused", "refused"]


async def test_rate_limit_names_the_wait_it_was_told(simulator: SimulatorHandle) -> None:
    assert (await faulty(simulator, "fault=http_429 retry_after=7")).headers["retry-after"] == "7"
    assert "retry-after" not in (await faulty(simulator, "fault=quota")).headers
    assert (await faulty(simulator, "fault=quota")).json()["error"]["code"] == "insufficient_quota"


@pytest.mark.parametrize(("fault", "billed"), [("refuse", 0), ("reset_before_answer", 1)])
async def test_connection_reset_before_any_byte(simulator: SimulatorHandle, fault: str, billed: int) -> None:
    with pytest.raises((aiohttp.ServerDisconnectedError, ConnectionResetError, aiohttp.ClientOSError)):
        await faulty(simulator, f"fault={fault}")
    simulator.journal(finished=1)
    assert [(line["outcome"], line["output_tokens"]) for line in simulator.bill()] == [("reset", 0)] * billed


async def test_new_connections_are_reset_as_they_are_accepted(simulator: SimulatorHandle) -> None:
    async with aiohttp.ClientSession() as control:
        async with control.put(simulator.origin + "/_sim/settings", json={"refuse_ms": 60_000}) as got:
            assert got.status == 200
        with pytest.raises(aiohttp.ClientError):
            await chat(simulator, chat_body())
        async with control.put(simulator.origin + "/_sim/settings", json={}) as got:
            assert got.status == 200
    assert (await chat(simulator, chat_body())).status == 200
    assert len(simulator.journal(finished=1)) == 1


@pytest.mark.parametrize("stream", [False, True])
async def test_reset_in_the_middle(simulator: SimulatorHandle, stream: bool) -> None:
    with pytest.raises((aiohttp.ClientPayloadError, aiohttp.ClientOSError, ConnectionResetError)):
        await faulty(simulator, "fault=reset_mid_stream after=4", stream=stream)
    [line] = simulator.bill(lines=1)
    assert line["outcome"] == "reset"
    assert line["output_tokens"] == (4 if stream else 32)


@pytest.mark.parametrize("after", [0, 1, 500])
async def test_stream_ends_politely_without_a_finish(simulator: SimulatorHandle, after: int) -> None:
    answer = await faulty(simulator, f"fault=eof_no_finish after={after}", stream=True)
    chunks = answer.events()
    texts = [chunk["choices"][0]["delta"].get("content") for _, chunk in chunks]
    assert len([text for text in texts if text]) == min(after, 32)
    assert all(chunk["choices"][0]["finish_reason"] is None for _, chunk in chunks)
    assert simulator.bill(lines=1)[0]["output_tokens"] == min(after, 32)


async def test_truncated_answers(simulator: SimulatorHandle) -> None:
    for stream in (False, True):
        with pytest.raises(aiohttp.ClientPayloadError):
            await faulty(simulator, "fault=truncated_json", stream=stream)
    assert [line["outcome"] for line in simulator.bill(lines=2)] == ["reset", "reset"]


async def test_stall_lasts_as_long_as_told_and_then_goes_on(simulator: SimulatorHandle) -> None:
    started = time.monotonic()
    answer = await faulty(simulator, "fault=stall after=3 wait_ms=300", stream=True)
    healthy = await chat(simulator, chat_body(stream=True))
    assert time.monotonic() - started >= 0.3
    assert [chunk["choices"][0]["delta"] for _, chunk in answer.events()[:-1]] == [
        chunk["choices"][0]["delta"] for _, chunk in healthy.events()[:-1]
    ]
    assert simulator.bill(lines=1)[0]["outcome"] == "complete"


@pytest.mark.parametrize("stream", [False, True])
async def test_stall_ends_when_the_client_leaves(simulator: SimulatorHandle, stream: bool) -> None:
    body = chat_body("x [sim fault=stall]", stream=stream)
    timeout = aiohttp.ClientTimeout(total=0.3)
    with pytest.raises(TimeoutError):
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.post(simulator.base_url + "/chat/completions", json=body, headers=OPENAI) as got,
        ):
            await got.read()
    [line] = simulator.bill(lines=1)
    assert (line["outcome"], line["output_tokens"]) == ("disconnected", 3 if stream else 0)


async def test_slow_first_byte(simulator: SimulatorHandle) -> None:
    started = time.monotonic()
    assert (await faulty(simulator, "fault=slow_first_byte wait_ms=250")).status == 200
    assert time.monotonic() - started >= 0.25


@pytest.mark.parametrize("stream", [False, True])
async def test_latency_comes_before_the_status_and_the_first_byte_after_it(simulator: SimulatorHandle, stream: bool) -> None:
    body = chat_body("x [sim latency_ms=150 first_byte_ms=200]", stream=stream)
    async with aiohttp.ClientSession() as session:
        started = time.monotonic()
        async with session.post(simulator.base_url + "/chat/completions", json=body, headers=OPENAI) as got:
            status_s = time.monotonic() - started
            await got.content.readany()
            first_byte_s = time.monotonic() - started
            await got.read()
    assert 0.15 <= status_s < 0.34
    assert first_byte_s >= 0.34


async def test_page_instead_of_json(simulator: SimulatorHandle) -> None:
    answer = await faulty(simulator, "fault=html_200")
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/html")
    assert simulator.bill() == []


async def test_error_inside_a_200(simulator: SimulatorHandle) -> None:
    plain = await faulty(simulator, "fault=error_in_200")
    assert (plain.status, plain.json()["error"]["code"]) == (200, 502)
    at_once = await faulty(simulator, "fault=error_in_200 after=0", stream=True)
    assert [list(chunk) for _, chunk in at_once.events()] == [["error"]]
    assert simulator.bill() == []
    later = await messages(simulator, messages_body("hello [sim fault=error_in_200 after=2]", stream=True))
    assert later.events()[-1][0] == "error"
    assert later.events()[-1][1]["error"]["type"] == "overloaded_error"
    assert simulator.bill(lines=1)[0]["output_tokens"] == 2


@pytest.mark.parametrize("stream", [False, True])
async def test_empty_answer_is_a_success_without_words(simulator: SimulatorHandle, stream: bool) -> None:
    answer = await faulty(simulator, "fault=empty_answer", stream=stream)
    if stream:
        assert "".join(chunk["choices"][0]["delta"].get("content", "") for _, chunk in answer.events()[:-1]) == ""
    else:
        assert answer.json()["choices"][0]["message"]["content"] == ""
    [line] = simulator.bill(lines=1)
    assert (line["outcome"], line["output_tokens"]) == ("complete", 0)


async def test_usage_can_be_missing_though_billed(simulator: SimulatorHandle) -> None:
    options = {"stream_options": {"include_usage": True}}
    assert "usage" not in (await faulty(simulator, "fault=no_usage")).json()
    chunks = (await faulty(simulator, "fault=no_usage", stream=True, **options)).events()
    assert [chunk for _, chunk in chunks if isinstance(chunk, dict) and chunk.get("usage")] == []
    assert [line["output_tokens"] for line in simulator.bill(lines=2)] == [32, 32]


async def test_usage_can_be_cumulative_on_every_chunk(simulator: SimulatorHandle) -> None:
    chunks = (await faulty(simulator, "fault=cumulative_usage tokens=4", stream=True)).events()[:-1]
    assert [chunk["usage"]["completion_tokens"] for _, chunk in chunks] == [0, 1, 2, 3, 4, 4]


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_redirect(simulator: SimulatorHandle, status: int) -> None:
    answer = await faulty(simulator, f"fault=redirect status={status} location=http://127.0.0.1:9/x")
    assert (answer.status, answer.headers["location"]) == (status, "http://127.0.0.1:9/x")


async def test_redirect_leads_nowhere_but_to_loopback(simulator: SimulatorHandle) -> None:
    assert (await faulty(simulator, "fault=redirect location=http://example.com/")).status == 400


@pytest.mark.parametrize("stream", [False, True])
async def test_gzip_though_nobody_asked(simulator: SimulatorHandle, stream: bool) -> None:
    async with (
        aiohttp.ClientSession(auto_decompress=False) as session,
        session.post(
            simulator.base_url + "/chat/completions",
            json=chat_body("x [sim fault=gzip size_bytes=3000000]", stream=stream),
            headers={**OPENAI, "accept-encoding": "identity"},
        ) as got,
    ):
        assert got.headers["content-encoding"] == "gzip"
        squeezed = await got.read()
    text = gzip.decompress(squeezed)
    assert b"This" in text
    if not stream:
        assert len(squeezed) < 40_000
        assert len(text) > 3_000_000
        assert json.loads(text)["object"] == "chat.completion"


async def test_huge_event(simulator: SimulatorHandle) -> None:
    streamed = await faulty(simulator, "fault=huge_event size_bytes=300000", stream=True)
    assert max(len(line) for line in streamed.body.splitlines()) > 300_000
    assert streamed.events()[-1][1] == "[DONE]"
    assert len((await faulty(simulator, "fault=huge_event size_bytes=300000")).body) > 300_000
    assert [line["output_tokens"] for line in simulator.bill(lines=2)] == [32, 32]


async def test_directive_may_stand_in_user_or_metadata(simulator: SimulatorHandle) -> None:
    assert (await chat(simulator, chat_body(user="[sim fault=http_503]"))).status == 503
    assert (await chat(simulator, chat_body(metadata={"sim": "[sim fault=http_503]"}))).status == 503
    assert (await messages(simulator, messages_body(metadata={"user_id": "[sim fault=http_529]"}))).status == 529


async def test_directive_may_apply_only_to_the_first_requests(simulator: SimulatorHandle) -> None:
    statuses = [(await faulty(simulator, "fault=http_500 times=2 id=a")).status for _ in range(4)]
    assert statuses == [500, 500, 200, 200]
    assert (await faulty(simulator, "fault=http_500 times=2 id=b")).status == 500


async def test_stopped_simulator_refuses_connections(new_simulator: Callable[..., SimulatorHandle]) -> None:
    stopped = new_simulator()
    stopped.stop()
    with pytest.raises(aiohttp.ClientConnectorError):
        await get(stopped, "/models", OPENAI)
