"""Ollama, Cohere and text generation over real sockets: asked at their own path, streamed, measured."""

from __future__ import annotations

import json

import pytest

from providers.upstream import dispatch
from providers.upstream.dispatch import AllTargetsFailed, Billing
from providers.upstream.errors import StreamTruncated
from providers.upstream.transport import Deadline
from providers.upstream.types import Wire
from tests.providers.upstream import rig
from tests.providers.upstream.adapters.wires import events, lines

OLLAMA = [
    {"model": "m", "message": {"content": "Hel"}, "done": False},
    {"model": "m", "message": {"content": "lo"}, "done": False},
    {"model": "m", "message": {"content": ""}, "done": True, "done_reason": "stop", "prompt_eval_count": 9, "eval_count": 3},
]
COHERE = [
    {"type": "message-start", "id": "m1", "delta": {}},
    *({"type": "content-delta", "delta": {"message": {"content": {"text": text}}}} for text in ("Hel", "lo")),
    {"type": "message-end", "delta": {"finish_reason": "COMPLETE", "usage": {"billed_units": {"input_tokens": 9, "output_tokens": 3}}}},
]
TOKENS = [
    {"token": {"text": "Hel", "special": False}, "generated_text": None},
    {
        "token": {"text": "lo", "special": False},
        "generated_text": "Hello",
        "details": {"finish_reason": "eos_token", "generated_tokens": 3, "input_length": 9},
    },
]
STREAMS = [
    (Wire.OLLAMA, "/api/chat", lines(*OLLAMA)),
    (Wire.COHERE, "/v2/chat", events(*COHERE) + b"data: [DONE]\n\n"),
    (Wire.TEXT_GENERATION, "/generate_stream", events(*TOKENS)),
]


def target(fake: rig.FakeProvider, wire: Wire) -> object:
    return rig.target(rig.provider(fake.base_url.removesuffix("/v1"), adapter=wire))


@pytest.mark.parametrize(("wire", "path", "stream"), STREAMS)
async def test_a_stream_arrives_byte_by_byte_and_is_measured(alpha, transport, ledger, wire, path, stream) -> None:
    async def byte_by_byte(exchange: rig.Exchange) -> None:
        await exchange.events(*(stream[index : index + 1] for index in range(len(stream))))
        await exchange.end_stream()

    alpha.will(byte_by_byte)
    plan = rig.plan(target(alpha, wire))
    answer = await dispatch.stream(plan, rig.chat_request(stream=True), rig.upstreams(transport), ledger, Deadline(10.0))
    received = [event async for event in answer.events]
    await answer.aclose()
    assert "".join(event.delta.text for event in received) == "Hello"
    assert (answer.wire, alpha.seen[0].path) == (wire, path)
    (outcome,) = ledger.outcomes
    assert (outcome.billing, outcome.usage.input_tokens, outcome.usage.output_tokens) == (Billing.MEASURED, 9, 3)


@pytest.mark.parametrize(("wire", "path", "stream"), STREAMS)
async def test_a_stream_cut_before_its_end_is_never_finished(alpha, transport, ledger, wire, path, stream) -> None:
    last = stream.rindex(b'{"model"') if wire is Wire.OLLAMA else stream.rindex(b"data: {")

    async def cut(exchange: rig.Exchange) -> None:
        await exchange.events(stream[:last])
        await exchange.end_stream()

    alpha.will(cut)
    plan = rig.plan(target(alpha, wire))
    answer = await dispatch.stream(plan, rig.chat_request(stream=True), rig.upstreams(transport), ledger, Deadline(10.0))
    with pytest.raises(StreamTruncated):
        [event async for event in answer.events]
    await answer.aclose()
    assert [outcome.billing for outcome in ledger.outcomes] == [Billing.ESTIMATE]


async def test_a_prompt_ollama_did_not_count_is_settled_as_an_estimate(alpha, transport, ledger) -> None:
    async def cached(exchange: rig.Exchange) -> None:
        await exchange.answer(200, {"model": "m", "message": {"content": "Hello"}, "done": True, "done_reason": "stop", "eval_count": 3})

    alpha.will(cached)
    plan = rig.plan(target(alpha, Wire.OLLAMA))
    whole = await dispatch.answer(plan, rig.chat_request(), rig.upstreams(transport), ledger, Deadline(10.0))
    assert whole.response.choices[0].text == "Hello"
    assert json.loads(alpha.seen[0].body)["stream"] is False
    assert [outcome.billing for outcome in ledger.outcomes] == [Billing.ESTIMATE]


async def test_a_missing_model_at_ollama_is_a_reason_to_go_on(alpha, beta, transport, ledger) -> None:
    async def missing(exchange: rig.Exchange) -> None:
        await exchange.answer(404, {"error": "model 'm' not found"})

    alpha.will(missing)
    beta.will(rig.ok)
    second = rig.target(rig.provider(beta.base_url, id=2, slug="beta"), id=2)
    whole = await dispatch.answer(
        rig.plan(target(alpha, Wire.OLLAMA), second), rig.chat_request(), rig.upstreams(transport), ledger, Deadline(10.0)
    )
    assert (whole.target.id, [record.code for record in whole.attempts]) == (2, ["upstream_model_not_found", "ok"])


async def test_a_request_it_cannot_carry_never_reaches_the_server(alpha, transport, ledger) -> None:
    alpha.will(rig.ok)
    plan = rig.plan(target(alpha, Wire.TEXT_GENERATION))
    with pytest.raises(AllTargetsFailed):
        await dispatch.answer(plan, rig.chat_request(choices=2), rig.upstreams(transport), ledger, Deadline(10.0))
    assert alpha.seen == []
