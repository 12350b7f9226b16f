"""The simulator as Anthropic: event sequence, usage split, tools and errors as the provider sends them."""

from __future__ import annotations

import json
from itertools import groupby

import pytest

from tests.providers.simulator.calls import ANTHROPIC, get, messages, messages_body
from tests.providers.simulator.fixtures import SimulatorHandle

TOOL = {"name": "get_weather", "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}}}


def sequence(events: list[tuple[str, object]]) -> list[str]:
    """Event names with repetitions folded."""
    return [name for name, _ in groupby(name for name, _ in events)]


async def test_plain_answer(simulator: SimulatorHandle) -> None:
    answer = (await messages(simulator, messages_body("hello [sim tokens=20]"))).json()
    assert answer["type"] == "message"
    assert answer["role"] == "assistant"
    assert answer["stop_reason"] == "end_turn"
    assert answer["content"][0]["text"].startswith("This is the simulator. You said: hello.")
    assert answer["usage"]["output_tokens"] == 20


async def test_stream_has_the_exact_event_sequence(simulator: SimulatorHandle) -> None:
    events = (await messages(simulator, messages_body(stream=True))).events()
    assert sequence(events) == [
        "message_start",
        "content_block_start",
        "ping",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert all(name == data["type"] for name, data in events)


async def test_stream_says_the_same_as_the_plain_answer_and_splits_usage(simulator: SimulatorHandle) -> None:
    plain = (await messages(simulator, messages_body())).json()
    events = (await messages(simulator, messages_body(stream=True))).events()
    text = "".join(data["delta"]["text"] for name, data in events if name == "content_block_delta")
    assert text == plain["content"][0]["text"]
    start, end = events[0][1]["message"]["usage"], events[-2][1]["usage"]
    assert start["input_tokens"] == plain["usage"]["input_tokens"]
    assert start["output_tokens"] == 1
    assert end["output_tokens"] == plain["usage"]["output_tokens"] == 32


async def test_tool_use_streams_partial_json(simulator: SimulatorHandle) -> None:
    events = (await messages(simulator, messages_body(tools=[TOOL], stream=True))).events()
    [block] = [data["content_block"] for name, data in events if name == "content_block_start"]
    parts = [data["delta"]["partial_json"] for name, data in events if name == "content_block_delta"]
    assert (block["type"], block["name"], block["input"]) == ("tool_use", "get_weather", {})
    assert parts[0] == ""
    assert json.loads("".join(parts)) == {"city": "simulated"}
    assert events[-2][1]["delta"]["stop_reason"] == "tool_use"


async def test_tool_result_is_answered_in_words(simulator: SimulatorHandle) -> None:
    used = (await messages(simulator, messages_body("Weather?", tools=[TOOL]))).json()["content"][0]
    turns = [
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": [used]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": used["id"], "content": "Sunny"}]},
    ]
    answer = (await messages(simulator, messages_body(tools=[TOOL]) | {"messages": turns})).json()
    assert "The tool has answered. You said: Weather" in answer["content"][0]["text"]


@pytest.mark.parametrize(("choice", "kind"), [({"type": "none"}, "text"), ({"type": "tool", "name": "get_weather"}, "tool_use")])
async def test_tool_choice_is_obeyed(simulator: SimulatorHandle, choice: dict[str, str], kind: str) -> None:
    answer = (await messages(simulator, messages_body(tools=[TOOL], tool_choice=choice))).json()
    assert [block["type"] for block in answer["content"]] == [kind]


async def test_cached_tokens_are_additional_to_the_input(simulator: SimulatorHandle) -> None:
    usage = (await messages(simulator, messages_body("x" * 400, model="sim-cached"))).json()["usage"]
    assert (usage["input_tokens"], usage["cache_read_input_tokens"]) == (52, 51)


async def test_thinking_is_part_of_the_output_and_shown_when_enabled(simulator: SimulatorHandle) -> None:
    thinking = {"type": "enabled", "budget_tokens": 100}
    body = messages_body("hello [sim tokens=20]", model="sim-reasoner", thinking=thinking)
    answer = (await messages(simulator, body)).json()
    events = (await messages(simulator, {**body, "stream": True})).events()
    assert [block["type"] for block in answer["content"]] == ["thinking", "text"]
    assert answer["usage"]["output_tokens"] == 40
    assert answer["usage"]["output_tokens_details"] == {"thinking_tokens": 20}
    deltas = [data["delta"]["type"] for name, data in events if name == "content_block_delta"]
    assert deltas[:2] == ["thinking_delta", "signature_delta"]


async def test_stop_sequence_and_limit_are_reported(simulator: SimulatorHandle) -> None:
    stopped = (await messages(simulator, messages_body(stop_sequences=["said"]))).json()
    cut = (await messages(simulator, messages_body(max_tokens=5))).json()
    assert (stopped["stop_reason"], stopped["stop_sequence"]) == ("stop_sequence", "said")
    assert (cut["stop_reason"], cut["stop_sequence"], cut["usage"]["output_tokens"]) == ("max_tokens", None, 5)


async def test_system_prompt_counts_as_input(simulator: SimulatorHandle) -> None:
    without = (await messages(simulator, messages_body())).json()["usage"]["input_tokens"]
    with_system = (await messages(simulator, messages_body(system=[{"type": "text", "text": "x" * 40}]))).json()["usage"]["input_tokens"]
    assert with_system == without + 10 + 3


async def test_schema_is_answered_with_an_instance(simulator: SimulatorHandle) -> None:
    wanted = {"format": {"type": "json_schema", "schema": {"type": "object", "properties": {"ok": {"type": "boolean"}}}}}
    answer = (await messages(simulator, messages_body(output_config=wanted))).json()
    assert json.loads(answer["content"][0]["text"]) == {"ok": True}


async def test_models_come_in_anthropics_form_to_anthropics_clients(simulator: SimulatorHandle) -> None:
    listed = (await get(simulator, "/models", ANTHROPIC)).json()
    one = (await get(simulator, "/models/sim-claude", ANTHROPIC)).json()
    assert (listed["first_id"], listed["last_id"], listed["has_more"]) == ("sim-small", "sim-claude", False)
    assert one == listed["data"][-1]
    assert (one["type"], one["max_input_tokens"], one["max_tokens"]) == ("model", 200_000, 64_000)


@pytest.mark.parametrize(
    ("change", "headers", "status", "kind"),
    [
        ({}, {"x-api-key": "k"}, 400, "invalid_request_error"),
        ({"max_tokens": None}, ANTHROPIC, 400, "invalid_request_error"),
        ({"model": "claude-nope"}, ANTHROPIC, 404, "not_found_error"),
        ({"messages": [{"role": "system", "content": "x"}]}, ANTHROPIC, 400, "invalid_request_error"),
    ],
)
async def test_bad_requests_get_anthropics_error(
    simulator: SimulatorHandle, change: dict[str, object], headers: dict[str, str], status: int, kind: str
) -> None:
    answer = await messages(simulator, messages_body() | change, headers)
    assert answer.status == status
    assert answer.json()["type"] == "error"
    assert answer.json()["error"]["type"] == kind
    assert answer.json()["request_id"] == answer.headers["request-id"]
    assert simulator.bill() == []


async def test_wrong_and_missing_keys_get_anthropics_401(new_simulator) -> None:
    strict = new_simulator(require_key="right")
    for key in ({}, {"x-api-key": "wrong"}):
        answer = await messages(strict, messages_body(), {"anthropic-version": "2023-06-01", **key})
        assert (answer.status, answer.json()["error"]["type"]) == (401, "authentication_error")


async def test_too_long_input_says_how_long(simulator: SimulatorHandle) -> None:
    answer = await messages(simulator, messages_body("word " * 170_000))
    assert answer.json()["error"]["message"] == "prompt is too long: 212503 tokens > 200000 maximum"
