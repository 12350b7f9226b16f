"""Clients that leave in the middle of a stream: the upstream is closed or drained, and billed either way."""

from __future__ import annotations

import asyncio

import pytest

from providers.upstream import dispatch
from providers.upstream.dispatch import Billing, StreamAnswer, streams
from providers.upstream.transport import Deadline
from providers.upstream.types import DisconnectPolicy
from tests.providers.upstream import rig


def one(fake: rig.FakeProvider, **changes) -> object:
    return rig.target(rig.provider(fake.base_url, **changes))


async def start(plan, up, ledger) -> StreamAnswer:
    return await dispatch.stream(plan, rig.chat_request(stream=True), up, ledger, Deadline(10))


@pytest.mark.parametrize("taken", [0, 1, 2])
async def test_L06_L07_close_policy_a_client_that_leaves_closes_the_upstream_and_is_estimated(alpha, transport, ledger, taken) -> None:
    closed = asyncio.Event()

    async def endless(exchange: rig.Exchange) -> None:
        await exchange.events(rig.ROLE, rig.HEL, rig.LO)
        await exchange.wait_until_client_closes()
        closed.set()

    alpha.will(endless)
    up = rig.upstreams(transport)
    answer = await start(rig.plan(one(alpha)), up, ledger)
    for _ in range(taken):
        await anext(answer.events)
    await answer.aclose()
    await answer.aclose()
    async with asyncio.timeout(1):
        await closed.wait()
    (outcome,) = ledger.outcomes
    assert (outcome.billing, outcome.error_code) == (Billing.ESTIMATE, "client_closed")
    assert outcome.delivered_output_bytes in (3, 5)
    with pytest.raises(StopAsyncIteration):
        await anext(answer.events)


async def test_L06_what_arrived_before_the_client_left_is_counted_though_nobody_took_it(alpha, transport, ledger) -> None:
    sent = asyncio.Event()

    async def ahead_of_its_reader(exchange: rig.Exchange) -> None:
        await exchange.events(rig.ROLE, rig.HEL)
        await taken.wait()
        await exchange.chunk(rig.LO * 500)
        sent.set()
        await exchange.wait_until_client_closes()

    taken = asyncio.Event()
    alpha.will(ahead_of_its_reader)
    answer = await start(rig.plan(one(alpha)), rig.upstreams(transport), ledger)
    await anext(answer.events)
    taken.set()
    await sent.wait()
    await answer.aclose()
    (outcome,) = ledger.outcomes
    assert (outcome.billing, outcome.delivered_output_bytes, outcome.events) == (Billing.ESTIMATE, 3 + 500 * 2, 502)


async def test_L06_usage_that_arrived_before_the_client_left_is_what_is_settled(alpha, transport, ledger) -> None:
    async def finishes_unseen(exchange: rig.Exchange) -> None:
        await exchange.events(rig.ROLE, rig.HEL)
        await taken.wait()
        await exchange.chunk(rig.LO + rig.STOP + rig.USAGE + rig.DONE)
        await exchange.end_stream()
        sent.set()

    taken, sent = asyncio.Event(), asyncio.Event()
    alpha.will(finishes_unseen)
    answer = await start(rig.plan(one(alpha)), rig.upstreams(transport), ledger)
    await anext(answer.events)
    taken.set()
    await sent.wait()
    await answer.aclose()
    assert [(outcome.billing, outcome.usage.output_tokens) for outcome in ledger.outcomes] == [(Billing.MEASURED, 3)]


async def test_L06_a_provider_that_never_pauses_is_left_all_the_same(alpha, transport, ledger, monkeypatch) -> None:
    async def ceaseless(exchange: rig.Exchange) -> None:
        await exchange.events(rig.ROLE, rig.HEL)
        while True:
            await exchange.chunk(rig.LO * 100)

    monkeypatch.setattr(streams, "CATCH_UP_BYTES_MAX", 200_000)
    alpha.will(ceaseless)
    answer = await start(rig.plan(one(alpha)), rig.upstreams(transport), ledger)
    await anext(answer.events)
    async with asyncio.timeout(5):
        await answer.aclose()
    (outcome,) = ledger.outcomes
    assert (outcome.billing, outcome.events > 500) == (Billing.ESTIMATE, True)


async def test_L07_cancelling_a_waiting_reader_closes_the_upstream_and_settles_once(alpha, transport, ledger) -> None:
    closed = asyncio.Event()

    async def endless(exchange: rig.Exchange) -> None:
        await exchange.events(rig.ROLE, rig.HEL)
        await exchange.wait_until_client_closes()
        closed.set()

    alpha.will(endless)
    up = rig.upstreams(transport)
    answer = await start(rig.plan(one(alpha)), up, ledger)
    first = asyncio.Event()

    async def reader() -> None:
        async for _ in answer.events:
            first.set()

    task = asyncio.create_task(reader())
    await first.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await answer.aclose()
    assert await up.drain_pending(2) == 0
    async with asyncio.timeout(1):
        await closed.wait()
    assert len(ledger.closed) == 1


async def test_cancelling_before_the_first_content_closes_the_upstream_and_settles(alpha, transport, ledger) -> None:
    begun = asyncio.Event()

    async def silent(exchange: rig.Exchange) -> None:
        await exchange.events(rig.ROLE)
        begun.set()
        await exchange.wait_until_client_closes()

    alpha.will(silent)
    up = rig.upstreams(transport)
    task = asyncio.create_task(start(rig.plan(one(alpha)), up, ledger))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await up.drain_pending(2) == 0
    assert [outcome.billing for outcome in ledger.outcomes] == [Billing.ESTIMATE]


async def test_L06_drain_policy_reads_on_to_the_exact_usage(alpha, transport, ledger) -> None:
    left = asyncio.Event()

    async def finishes_later(exchange: rig.Exchange) -> None:
        await exchange.events(rig.ROLE, rig.HEL)
        await left.wait()
        await exchange.chunk(rig.LO + rig.STOP + rig.USAGE + rig.DONE)
        await exchange.end_stream()

    alpha.will(finishes_later)
    up = rig.upstreams(transport)
    answer = await start(rig.plan(one(alpha, disconnect_policy=DisconnectPolicy.DRAIN)), up, ledger)
    await answer.aclose()
    assert ledger.closed == []
    left.set()
    assert await up.drain_pending(2) == 0
    (outcome,) = ledger.outcomes
    assert (outcome.billing, outcome.usage.output_tokens, outcome.delivered_output_bytes) == (Billing.MEASURED, 3, 5)
    assert up.drains == 0


async def test_L06_a_drain_that_meets_a_broken_upstream_settles_an_estimate(alpha, transport, ledger) -> None:
    left = asyncio.Event()

    async def breaks_later(exchange: rig.Exchange) -> None:
        await exchange.events(rig.ROLE, rig.HEL)
        await left.wait()
        exchange.reset()

    alpha.will(breaks_later)
    up = rig.upstreams(transport)
    answer = await start(rig.plan(one(alpha, disconnect_policy=DisconnectPolicy.DRAIN)), up, ledger)
    await answer.aclose()
    left.set()
    assert await up.drain_pending(2) == 0
    assert [outcome.billing for outcome in ledger.outcomes] == [Billing.ESTIMATE]


async def test_a_client_that_leaves_after_the_usage_arrived_pays_the_measured_price(alpha, transport, ledger) -> None:
    async def at_once(exchange: rig.Exchange) -> None:
        await exchange.start_stream()
        await exchange.chunk(b"".join(rig.WHOLE_STREAM))
        await exchange.end_stream()

    alpha.will(at_once)
    answer = await start(rig.plan(one(alpha)), rig.upstreams(transport), ledger)
    await anext(answer.events)
    await answer.aclose()
    assert [outcome.billing for outcome in ledger.outcomes] == [Billing.MEASURED]


@pytest.mark.parametrize("wants_stream", [False, True], ids=["whole", "stream"])
async def test_M03_leaving_while_the_settlement_is_being_written_settles_once(alpha, transport, wants_stream) -> None:
    class SlowLedger(rig.FakeLedger):
        async def close(self, ticket, outcome) -> None:
            writing.set()
            await written.wait()
            await super().close(ticket, outcome)

    writing, written = asyncio.Event(), asyncio.Event()
    ledger, up = SlowLedger(), rig.upstreams(transport)
    alpha.will(rig.ok_stream if wants_stream else rig.ok)

    async def client() -> None:
        if not wants_stream:
            await dispatch.answer(rig.plan(one(alpha)), rig.chat_request(), up, ledger, Deadline(10))
            return
        answer = await start(rig.plan(one(alpha)), up, ledger)
        try:
            async for _ in answer.events:
                pass
        finally:
            await answer.aclose()

    task = asyncio.create_task(client())
    await writing.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    written.set()
    assert await up.drain_pending(2) == 0
    assert [outcome.billing for outcome in ledger.outcomes] == [Billing.MEASURED]
