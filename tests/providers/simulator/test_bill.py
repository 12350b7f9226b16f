"""What is billed, and how much: recomputed here by hand with decimals."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from decimal import ROUND_HALF_EVEN, Decimal
from pathlib import Path

import aiohttp
import pytest

from providers.simulator.answers import Usage
from providers.simulator.bill import cost_nano, read_bill
from providers.simulator.catalogue import MODELS, MODELS_BY_NAME
from tests.providers.simulator.calls import ANTHROPIC, OPENAI, chat, chat_body, leave_when, messages, messages_body
from tests.providers.simulator.fixtures import SimulatorHandle, start_process

NOBODY_WAITS_S = 1.0


@pytest.mark.parametrize(
    ("model", "usage", "nano"),
    [
        ("sim-small", Usage(1, 0, 1, 0), 150 + 600),
        ("sim-large", Usage(1000, 0, 500, 0), 2_500_000 + 5_000_000),
        ("sim-reasoner", Usage(10, 0, 10, 10), 11_000 + 44_000 + 33_000),
        ("sim-cached", Usage(0, 1, 0, 0), 38),  # 37.5, half to even
        ("sim-cached", Usage(0, 3, 0, 0), 112),  # 112.5, half to even
        ("sim-cached", Usage(7, 5, 2, 0), 2_100 + 188 + 2_400),  # 187.5 + whole numbers, rounded once
        ("sim-claude", Usage(2, 2, 0, 0), 6_000 + 600),
    ],
)
def test_cost_is_exact_and_rounded_once(model: str, usage: Usage, nano: int) -> None:
    assert cost_nano(MODELS_BY_NAME[model], usage) == nano


def expected_nano(line: dict[str, object]) -> int:
    model = MODELS_BY_NAME[str(line["model"])]
    prices = {
        "input_tokens": model.input_nano_per_mtok,
        "cached_tokens": model.cache_read_nano_per_mtok or model.input_nano_per_mtok,
        "output_tokens": model.output_nano_per_mtok,
        "reasoning_tokens": model.reasoning_nano_per_mtok or model.output_nano_per_mtok,
    }
    exact = sum(Decimal(int(str(line[bucket]))) * Decimal(price) for bucket, price in prices.items()) / Decimal(1_000_000)
    return int(exact.quantize(Decimal(1), rounding=ROUND_HALF_EVEN))


@pytest.mark.parametrize("stream", [False, True])
async def test_bill_equals_the_usage_that_was_reported(simulator: SimulatorHandle, stream: bool) -> None:
    for model in MODELS:
        await chat(simulator, chat_body("a question of some length", model=model.name, stream=stream, n=2))
    for line in simulator.bill(lines=len(MODELS)):
        assert line["outcome"] == "complete"
        assert line["stream"] is stream
        assert line["output_tokens"] == 64
        assert line["input_tokens"] + line["cached_tokens"] == 3 + 7
        assert line["cost_nano"] == expected_nano(line) > 0


async def test_line_carries_the_answers_id_and_the_clients(simulator: SimulatorHandle) -> None:
    answer = await chat(simulator, chat_body(), {**OPENAI, "x-request-id": "req-1"})
    await chat(simulator, chat_body(), {**OPENAI, "x-client-request-id": "req-2", "x-request-id": "other"})
    first, second = simulator.bill(lines=2)
    assert first["id"] == answer.json()["id"]
    assert (first["client_request_id"], second["client_request_id"]) == ("req-1", "req-2")
    assert first["key"] == second["key"]
    assert "sk-test" not in json.dumps(first)


async def test_ids_are_never_repeated(simulator: SimulatorHandle, new_simulator: Callable[..., SimulatorHandle]) -> None:
    answers = [(await chat(each, chat_body())).json()["id"] for each in (simulator, simulator, new_simulator())]
    assert len(set(answers)) == 3


@pytest.mark.parametrize(("wire", "path"), [("openai", "/chat/completions"), ("anthropic", "/messages")])
async def test_stream_the_client_left_is_billed_its_input_and_what_was_written(simulator: SimulatorHandle, wire: str, path: str) -> None:
    simulator.settings(chunk_ms=20, tokens=5000)
    body, headers = (chat_body(stream=True), OPENAI) if wire == "openai" else (messages_body(stream=True, max_tokens=9000), ANTHROPIC)
    read = await leave_when(simulator, path, body, headers, lambda so_far: so_far.count(b"data:") >= 8)
    [line] = simulator.bill(lines=1)
    seen = read.count(b'"content":"') - 1 if wire == "openai" else read.count(b"text_delta")
    assert line["outcome"] == "disconnected"
    assert seen <= line["output_tokens"] < seen + 20
    assert line["input_tokens"] == 3 + 2
    assert line["cost_nano"] == expected_nano(line)


async def test_leaving_is_noticed_within_a_second(simulator: SimulatorHandle) -> None:
    body = chat_body("hello [sim fault=stall after=2]", stream=True)
    await leave_when(simulator, "/chat/completions", body, OPENAI, lambda so_far: so_far.count(b"data:") >= 3)
    left = simulator.journal(finished=1)[0]
    [line] = simulator.bill(lines=1)
    assert left["ended"] == line["outcome"] == "disconnected"
    assert left["finished_s"] - left["first_byte_s"] < NOBODY_WAITS_S
    assert line["output_tokens"] == 2


async def test_reasoning_is_billed_once_content_was_written(simulator: SimulatorHandle) -> None:
    body = chat_body("x [sim fault=reset_mid_stream after=2 tokens=10]", model="sim-reasoner", stream=True)
    with pytest.raises((aiohttp.ClientError, ConnectionResetError)):
        await chat(simulator, body)
    [line] = simulator.bill(lines=1)
    assert (line["output_tokens"], line["reasoning_tokens"], line["outcome"]) == (2, 10, "reset")


async def test_bill_can_be_read_since_a_time_and_as_csv_and_cleared(simulator: SimulatorHandle) -> None:
    await chat(simulator, chat_body())
    first = simulator.bill(lines=1)[0]
    await messages(simulator, messages_body())
    both = simulator.bill(lines=2)
    assert simulator.bill(since=first["finished_s"] + 1e-6) == both[1:]
    async with aiohttp.ClientSession() as session, session.get(f"{simulator.origin}/_sim/bill.csv") as got:
        rows = list(csv.DictReader(io.StringIO(await got.text())))
    assert [row["id"] for row in rows] == [line["id"] for line in both]
    simulator.clear()
    assert simulator.bill() == []


async def test_bill_file_survives_a_kill_and_is_continued(tmp_path: Path) -> None:
    path = tmp_path / "bill.jsonl"
    first = start_process("--bill", str(path))
    await chat(first, chat_body())
    before = first.bill(lines=1)
    first.stop()
    with path.open("ab") as file:
        file.write(b'{"id":"cut sho')
    second = start_process("--bill", str(path))
    try:
        await chat(second, chat_body())
        after = second.bill(lines=2)
    finally:
        second.stop()
    assert after[:1] == before
    assert [line.id for line in read_bill(path)] == [line["id"] for line in after]
