"""Connections that never come about, that outlive a change of configuration, and what passes through them byte by byte."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import ExitStack

import pytest

from providers.upstream import dispatch
from providers.upstream.dispatch import Billing
from providers.upstream.transport import Deadline, Transport
from providers.upstream.types import Timeouts
from tests.providers.upstream import rig

IMPATIENT = Timeouts(connect_s=0.2, first_byte_s=5, idle_s=5, total_s=20)


@pytest.fixture
async def black_hole() -> AsyncIterator[int]:
    """A port whose queue of new connections is full: every further SYN is dropped."""
    with ExitStack() as opened:
        listener = opened.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        for _ in range(8):
            caller = opened.enter_context(socket.socket())
            caller.setblocking(False)
            caller.connect_ex(address)
        yield address[1]


async def test_U02_a_connection_that_never_comes_about_fails_over_in_its_own_time(beta, black_hole, ledger) -> None:
    policy = rig.open_policy(beta, extra=frozenset({("127.0.0.1", black_hole)}))
    transport = Transport(lambda: policy)
    await transport.start()
    beta.will(rig.ok_stream)
    dead = rig.target(rig.provider(f"http://127.0.0.1:{black_hole}/v1", timeouts=IMPATIENT))
    alive = rig.target(rig.provider(beta.base_url, id=2, slug="beta"), id=2)
    async with asyncio.timeout(2):
        answer = await dispatch.stream(rig.plan(dead, alive), rig.chat_request(stream=True), rig.upstreams(transport), ledger, Deadline(10))
    async for _ in answer.events:
        pass
    await answer.aclose()
    await transport.close()
    assert [record.code for record in answer.attempts] == ["upstream_connect_timeout", "ok"]
    assert [outcome.billing for outcome in ledger.outcomes] == [Billing.NOTHING, Billing.MEASURED]


async def test_U35_a_change_of_configuration_breaks_no_open_stream_and_no_later_call(alpha, beta, transport, ledger) -> None:
    changed = asyncio.Event()

    async def goes_on_after_the_change(exchange: rig.Exchange) -> None:
        await exchange.events(rig.ROLE, rig.HEL)
        await changed.wait()
        await exchange.chunk(b"".join(rig.WHOLE_STREAM[2:]))
        await exchange.end_stream()

    alpha.will(goes_on_after_the_change)
    beta.will(rig.ok)
    up = rig.upstreams(transport)
    before = rig.target(rig.provider(alpha.base_url))
    answer = await dispatch.stream(rig.plan(before), rig.chat_request(stream=True), up, ledger, Deadline(10))
    for version in range(200):
        limits = Timeouts(connect_s=1 + version / 1000, first_byte_s=5, idle_s=5, total_s=20)
        after = rig.target(rig.provider(beta.base_url, timeouts=limits, max_connections=2 + version % 7))
        await dispatch.answer(rig.plan(after), rig.chat_request(), up, ledger, Deadline(10))
    changed.set()
    assert b"".join([event.raw async for event in answer.events]) == b"".join(rig.WHOLE_STREAM)
    await answer.aclose()
    assert {outcome.error_code for outcome in ledger.outcomes} == {""}
    assert (len(ledger.outcomes), beta.connections) == (201, 1)


async def test_U27_heartbeats_and_events_in_one_byte_chunks_are_handed_on_with_their_last_byte(alpha, transport, ledger) -> None:
    handed_on = asyncio.Semaphore(0)
    beat = b": ping\n"

    async def drip(exchange: rig.Exchange) -> None:
        await exchange.events(rig.ROLE, rig.HEL)
        for event in (beat, rig.LO, beat, beat, rig.STOP + rig.USAGE + rig.DONE):
            for byte in event:
                await exchange.chunk(bytes([byte]))
            await handed_on.acquire()
        await exchange.end_stream()

    alpha.will(drip)
    answer = await dispatch.stream(
        rig.plan(rig.target(rig.provider(alpha.base_url))), rig.chat_request(stream=True), rig.upstreams(transport), ledger, Deadline(10)
    )
    received = []
    async with asyncio.timeout(5):
        async for event in answer.events:
            received.append(event.raw)
            if event.raw in (beat, rig.LO, rig.DONE):
                handed_on.release()
    await answer.aclose()
    assert received == [rig.ROLE, rig.HEL, beat, rig.LO, beat, beat, rig.STOP, rig.USAGE, rig.DONE]
    assert ledger.outcomes[0].events == 6, "heartbeats are no output"
