"""Streams: fail-over before the first content, honest ends after it, one settlement on every path."""

from __future__ import annotations

import asyncio
import json

import pytest

from providers.upstream import dispatch
from providers.upstream.dispatch import AllTargetsFailed, Billing, StreamAnswer
from providers.upstream.errors import BodyTooLarge, IdleTimeout, Overloaded, StreamTruncated, UpstreamError
from providers.upstream.transport import Deadline
from providers.upstream.types import CredentialRef, Secret, Timeouts, Wire
from tests.providers.upstream import rig

OVERLOADED = b'data: {"error": {"message": "overloaded", "type": "overloaded_error"}}\n\n'


def one(fake: rig.FakeProvider, **changes) -> object:
    return rig.target(rig.provider(fake.base_url, **changes))


def two(fake: rig.FakeProvider, **changes) -> object:
    keys = (CredentialRef("key-2", Secret("sk-canary-two")),)
    return rig.target(rig.provider(fake.base_url, id=2, slug="beta", credentials=keys, **changes), id=2)


async def start(plan, up, ledger, seconds: float = 10.0) -> StreamAnswer:
    return await dispatch.stream(plan, rig.chat_request(stream=True), up, ledger, Deadline(seconds))


async def read(answer: StreamAnswer) -> tuple[bytes, UpstreamError | None]:
    """Everything a client would be sent, and the error that ended it."""
    received = b""
    try:
        async for event in answer.events:
            received += event.raw
    except UpstreamError as error:
        return received, error
    finally:
        await answer.aclose()
    return received, None


async def test_a_stream_passes_through_byte_for_byte_and_is_measured(alpha, transport, ledger) -> None:
    alpha.will(rig.ok_stream)
    answer = await start(rig.plan(one(alpha)), rig.upstreams(transport), ledger)
    received, error = await read(answer)
    assert (received, error) == (b"".join(rig.WHOLE_STREAM), None)
    (outcome,) = ledger.outcomes
    assert (outcome.billing, outcome.usage.input_tokens, outcome.usage.output_tokens) == (Billing.MEASURED, 9, 3)
    assert (outcome.delivered_output_bytes, outcome.events, outcome.upstream_id) == (5, 6, "chatcmpl-1")
    assert outcome.first_byte_ms is not None
    assert alpha.seen[0].json["stream_options"] == {"include_usage": True}


async def test_a_finished_stream_leaves_its_connection_for_the_next_one(alpha, transport, ledger) -> None:
    alpha.will(rig.ok_stream)
    up = rig.upstreams(transport)
    for _ in range(3):
        await read(await start(rig.plan(one(alpha)), up, ledger))
        await up.drain_pending()
    assert alpha.connections == 1


@pytest.mark.parametrize("frames", range(len(rig.WHOLE_STREAM)))
@pytest.mark.parametrize("rude", [True, False], ids=["reset", "polite"])
@pytest.mark.parametrize("half", [0, 9], ids=["boundary", "inside"])
async def test_U09_U10_a_cut_at_any_frame_is_never_shown_as_an_end(alpha, transport, ledger, frames, rude, half) -> None:
    """A stream that broke before its finish marker ends in an error; after the marker everything was said."""

    async def cut(exchange: rig.Exchange) -> None:
        sent = b"".join(rig.WHOLE_STREAM[:frames]) + rig.WHOLE_STREAM[frames][:half]
        await exchange.head(200, content_type="text/event-stream", connection="close")
        await exchange.send(sent)
        if rude:
            exchange.reset()

    alpha.will(cut)
    received, error = await _start_and_read(rig.plan(one(alpha)), rig.upstreams(transport), ledger)
    is_whole = b'"finish_reason": "stop"' in received
    assert (error is None) is is_whole
    if error is not None:
        assert error.code in ("upstream_truncated", "upstream_connection_lost")
        assert b"[DONE]" not in received
    assert b"".join(rig.WHOLE_STREAM).startswith(received), "nothing is invented"
    (outcome,) = ledger.outcomes
    assert outcome.billing is (Billing.MEASURED if rig.USAGE in received else Billing.ESTIMATE)


async def _start_and_read(plan, up, ledger) -> tuple[bytes, UpstreamError | None]:
    try:
        answer = await start(plan, up, ledger)
    except AllTargetsFailed as failed:
        return b"", failed.last
    return await read(answer)


async def test_U10_an_end_without_finish_marker_before_content_fails_over(alpha, beta, transport, ledger) -> None:
    async def nothing(exchange: rig.Exchange) -> None:
        await exchange.events(rig.ROLE)
        await exchange.end_stream()

    alpha.will(nothing)
    beta.will(rig.ok_stream)
    answer = await start(rig.plan(one(alpha), two(beta)), rig.upstreams(transport), ledger)
    received, error = await read(answer)
    assert (received, error) == (b"".join(rig.WHOLE_STREAM), None), "no lifecycle event of the failed target"
    assert [record.code for record in answer.attempts] == ["upstream_truncated", "ok"]


async def test_U32_a_bare_done_is_no_answer(alpha, beta, transport, ledger) -> None:
    async def done(exchange: rig.Exchange) -> None:
        await exchange.events(rig.DONE)
        await exchange.end_stream()

    alpha.will(done)
    beta.will(rig.ok_stream)
    answer = await start(rig.plan(one(alpha), two(beta)), rig.upstreams(transport), ledger)
    await read(answer)
    assert answer.target.id == 2


async def test_U11_an_error_event_before_content_fails_over(alpha, beta, transport, ledger) -> None:
    async def overloaded(exchange: rig.Exchange) -> None:
        await exchange.events(rig.ROLE, OVERLOADED)
        await exchange.end_stream()

    alpha.will(overloaded)
    beta.will(rig.ok_stream)
    answer = await start(rig.plan(one(alpha), two(beta)), rig.upstreams(transport), ledger)
    received, _ = await read(answer)
    assert received == b"".join(rig.WHOLE_STREAM)
    assert [outcome.billing for outcome in ledger.outcomes] == [Billing.NOTHING, Billing.MEASURED]


async def test_U12_when_every_target_dies_after_lifecycle_events_the_whole_call_fails(alpha, beta, transport, ledger) -> None:
    async def overloaded(exchange: rig.Exchange) -> None:
        await exchange.events(rig.ROLE, OVERLOADED)
        await exchange.end_stream()

    alpha.will(overloaded)
    beta.will(overloaded)
    with pytest.raises(AllTargetsFailed) as failed:
        await start(rig.plan(one(alpha), two(beta)), rig.upstreams(transport), ledger)
    assert isinstance(failed.value.last, Overloaded)


async def test_U11_U13_an_error_event_after_content_ends_the_stream_without_fail_over(alpha, beta, transport, ledger) -> None:
    async def breaks(exchange: rig.Exchange) -> None:
        await exchange.events(rig.ROLE, rig.HEL + rig.LO + OVERLOADED)
        await exchange.end_stream()

    alpha.will(breaks)
    answer = await start(rig.plan(one(alpha), two(beta)), rig.upstreams(transport), ledger)
    received, error = await read(answer)
    assert received == rig.ROLE + rig.HEL + rig.LO, "what came before the error in the same packet is delivered"
    assert isinstance(error, Overloaded)
    assert beta.connections == 0
    (outcome,) = ledger.outcomes
    assert (outcome.billing, outcome.delivered_output_bytes, outcome.error_code) == (Billing.ESTIMATE, 5, "upstream_overloaded")


async def test_U16_an_error_status_for_a_stream_fails_over(alpha, beta, transport, ledger) -> None:
    alpha.will(rig.fails(503))
    beta.will(rig.ok_stream)
    answer = await start(rig.plan(one(alpha), two(beta)), rig.upstreams(transport), ledger)
    await read(answer)
    assert [record.code for record in answer.attempts] == ["upstream_overloaded", "ok"]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"<html>portal</html>", "upstream_invalid_body"),
        (json.dumps(rig.completion()).encode(), "upstream_invalid_body"),
        (b'{"error": {"message": "slow down", "code": 429}}', "upstream_rate_limited"),
    ],
)
async def test_U15_a_success_that_is_no_stream_fails_over(alpha, beta, transport, ledger, body, code) -> None:
    async def other(exchange: rig.Exchange) -> None:
        await exchange.answer(200, body)

    alpha.will(other)
    beta.will(rig.ok_stream)
    answer = await start(rig.plan(one(alpha), two(beta)), rig.upstreams(transport), ledger)
    await read(answer)
    assert [record.code for record in answer.attempts] == [code, "ok"]


async def test_U07_a_stall_ends_at_the_idle_limit(alpha, transport, ledger) -> None:
    async def stall(exchange: rig.Exchange) -> None:
        await exchange.events(rig.ROLE, rig.HEL)
        await exchange.wait_until_client_closes()

    alpha.will(stall)
    limits = Timeouts(connect_s=1, first_byte_s=1, idle_s=0.15, total_s=20)
    answer = await start(rig.plan(one(alpha, timeouts=limits)), rig.upstreams(transport), ledger)
    received, error = await read(answer)
    assert received == rig.ROLE + rig.HEL
    assert isinstance(error, IdleTimeout)
    assert (ledger.outcomes[0].billing, ledger.outcomes[0].delivered_output_bytes) == (Billing.ESTIMATE, 3)


async def test_U06_a_lively_stream_outlives_its_idle_limit(alpha, transport, ledger) -> None:
    async def lively(exchange: rig.Exchange) -> None:
        await exchange.start_stream()
        for _ in range(8):
            await exchange.chunk(rig.HEL)
            await asyncio.sleep(0.05)
        await exchange.chunk(rig.STOP + rig.USAGE + rig.DONE)
        await exchange.end_stream()

    alpha.will(lively)
    limits = Timeouts(connect_s=1, first_byte_s=1, idle_s=0.2, total_s=20)
    answer = await start(rig.plan(one(alpha, timeouts=limits)), rig.upstreams(transport), ledger)
    assert (await read(answer))[1] is None


async def test_U08_bytes_that_complete_no_event_are_no_progress(alpha, transport, ledger) -> None:
    async def drip(exchange: rig.Exchange) -> None:
        await exchange.events(rig.ROLE, rig.HEL)
        for _ in range(200):
            await exchange.chunk(b"x")
            await asyncio.sleep(0.02)

    alpha.will(drip)
    limits = Timeouts(connect_s=1, first_byte_s=1, idle_s=0.2, total_s=20)
    answer = await start(rig.plan(one(alpha, timeouts=limits)), rig.upstreams(transport), ledger)
    assert isinstance((await read(answer))[1], IdleTimeout)


async def test_L05_a_client_that_reads_slowly_is_not_the_providers_idleness(alpha, transport, ledger) -> None:
    resumed = asyncio.Event()

    async def answers_soon_after_the_pause(exchange: rig.Exchange) -> None:
        await exchange.events(rig.ROLE, rig.HEL)
        await resumed.wait()
        await asyncio.sleep(0.05)
        await exchange.chunk(rig.LO + rig.STOP + rig.USAGE + rig.DONE)
        await exchange.end_stream()

    alpha.will(answers_soon_after_the_pause)
    limits = Timeouts(connect_s=1, first_byte_s=1, idle_s=0.2, total_s=20)
    answer = await start(rig.plan(one(alpha, timeouts=limits)), rig.upstreams(transport), ledger)
    await asyncio.sleep(0.4)
    resumed.set()
    assert (await read(answer))[1] is None


async def test_a_stream_without_usage_is_an_estimate(alpha, transport, ledger) -> None:
    async def no_usage(exchange: rig.Exchange) -> None:
        await exchange.events(rig.ROLE, rig.HEL, rig.STOP, rig.DONE)
        await exchange.end_stream()

    alpha.will(no_usage)
    await read(await start(rig.plan(one(alpha)), rig.upstreams(transport), ledger))
    assert [(outcome.billing, outcome.error_code) for outcome in ledger.outcomes] == [(Billing.ESTIMATE, "")]


async def test_an_empty_answer_with_a_proper_finish_is_an_answer(alpha, transport, ledger) -> None:
    async def empty(exchange: rig.Exchange) -> None:
        await exchange.events(rig.ROLE, rig.STOP, rig.DONE)
        await exchange.end_stream()

    alpha.will(empty)
    received, error = await read(await start(rig.plan(one(alpha)), rig.upstreams(transport), ledger))
    assert (received, error) == (rig.ROLE + rig.STOP + rig.DONE, None)


async def test_U22_an_event_without_end_is_cut_at_its_limit(alpha, transport, ledger) -> None:
    async def unterminated(exchange: rig.Exchange) -> None:
        await exchange.events(rig.ROLE, rig.HEL)
        for _ in range(64):
            await exchange.chunk(b"x" * 65536)

    alpha.will(unterminated)
    answer = await start(rig.plan(one(alpha)), rig.upstreams(transport), ledger)
    assert isinstance((await read(answer))[1], BodyTooLarge)


async def test_a_truncation_counts_against_the_target(alpha, transport, ledger) -> None:
    async def truncated(exchange: rig.Exchange) -> None:
        await exchange.events(rig.ROLE, rig.HEL)
        await exchange.end_stream()

    alpha.will(truncated)
    up = rig.upstreams(transport)
    assert isinstance((await read(await start(rig.plan(one(alpha)), up, ledger)))[1], StreamTruncated)
    assert up.breakers.snapshot()[1].last_error == "upstream_truncated"


ANTHROPIC_STREAM = (
    b'event: message_start\ndata: {"type":"message_start","message":{"id":"msg_1","usage":{"input_tokens":9,"output_tokens":1}}}\n\n',
    b'event: content_block_start\ndata: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}\n\n',
    b'event: ping\ndata: {"type":"ping"}\n\n',
    b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hi"}}\n\n',
    b'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":3}}\n\n',
    b'event: message_stop\ndata: {"type":"message_stop"}\n\n',
)


@pytest.mark.parametrize("frames", range(len(ANTHROPIC_STREAM) + 1))
async def test_U09_an_anthropic_stream_is_whole_only_with_its_message_stop(alpha, transport, ledger, frames) -> None:
    async def cut(exchange: rig.Exchange) -> None:
        await exchange.events(*ANTHROPIC_STREAM[:frames])
        await exchange.end_stream()

    alpha.will(cut)
    chosen = one(alpha, adapter=Wire.ANTHROPIC_MESSAGES)
    if frames < 4:
        with pytest.raises(AllTargetsFailed):
            await start(rig.plan(chosen), rig.upstreams(transport), ledger)
        return
    received, error = await read(await start(rig.plan(chosen), rig.upstreams(transport), ledger))
    assert received == b"".join(ANTHROPIC_STREAM[:frames])
    assert (error is None) is (frames == len(ANTHROPIC_STREAM))
    assert ledger.outcomes[0].billing is (Billing.MEASURED if frames >= 5 else Billing.ESTIMATE)


async def test_several_choices_in_one_chunk_are_counted_and_handed_on_with_the_bytes_once(alpha, transport, ledger) -> None:
    both = json.loads(rig.HEL.removeprefix(b"data: "))
    both["choices"] += [{"index": 1, "delta": {"content": "Salut"}, "finish_reason": None}]
    ends = json.loads(rig.STOP.removeprefix(b"data: "))
    ends["choices"] += [{"index": 1, "delta": {}, "finish_reason": "stop"}]
    sent = [b"data: " + json.dumps(body).encode() + b"\n\n" for body in (both, ends)]

    async def two_choices(exchange: rig.Exchange) -> None:
        await exchange.events(*sent, rig.USAGE, rig.DONE)
        await exchange.end_stream()

    alpha.will(two_choices)
    answer = await start(rig.plan(one(alpha)), rig.upstreams(transport), ledger)
    events = [event async for event in answer.events]
    await answer.aclose()
    assert b"".join(event.raw for event in events) == b"".join([*sent, rig.USAGE, rig.DONE])
    assert [(event.delta.choice_index, event.delta.text) for event in events[:2]] == [(0, "Hel"), (1, "Salut")]
    (outcome,) = ledger.outcomes
    assert (outcome.delivered_output_bytes, outcome.events, outcome.billing) == (8, 4, Billing.MEASURED)


async def test_events_of_one_packet_come_as_one_batch_without_waiting_for_more(alpha, transport, ledger) -> None:
    went_on = asyncio.Event()

    async def in_two_packets(exchange: rig.Exchange) -> None:
        await exchange.start_stream()
        await exchange.chunk(rig.ROLE + rig.HEL + rig.LO)
        await went_on.wait()
        await exchange.chunk(rig.STOP + rig.USAGE + rig.DONE)
        await exchange.end_stream()

    alpha.will(in_two_packets)
    answer = await start(rig.plan(one(alpha)), rig.upstreams(transport), ledger)
    assert [event.raw for event in await answer.next_batch()] == [rig.ROLE, rig.HEL, rig.LO]
    went_on.set()
    assert [event.raw for event in await answer.next_batch()] == [rig.STOP, rig.USAGE, rig.DONE]
    assert await answer.next_batch() == []
    await answer.aclose()
    assert [outcome.billing for outcome in ledger.outcomes] == [Billing.MEASURED]
