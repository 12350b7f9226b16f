"""The simulator as OpenAI: against the official SDK, and byte for byte where the SDK hides it."""

from __future__ import annotations

import json

import openai
import pytest

from tests.providers.simulator.calls import OPENAI, chat, chat_body, get, post
from tests.providers.simulator.fixtures import SimulatorHandle

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 2}}},
    },
}


@pytest.fixture
async def sdk(simulator: SimulatorHandle):
    async with openai.AsyncOpenAI(base_url=simulator.base_url, api_key="sk-test", max_retries=0) as client:
        yield client


async def test_sdk_chats(sdk: openai.AsyncOpenAI) -> None:
    answer = await sdk.chat.completions.create(model="sim-small", messages=[{"role": "user", "content": "hello [sim tokens=20]"}])
    assert answer.choices[0].message.content.startswith("This is the simulator. You said: hello.")
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.completion_tokens == 20
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + 20


async def test_sdk_streams_the_same_text_as_the_plain_answer(sdk: openai.AsyncOpenAI) -> None:
    messages = [{"role": "user", "content": "Grüße, 你好 🎈"}]
    plain = await sdk.chat.completions.create(model="sim-small", messages=messages)
    stream = await sdk.chat.completions.create(model="sim-small", messages=messages, stream=True, stream_options={"include_usage": True})
    chunks = [chunk async for chunk in stream]
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == plain.choices[0].message.content
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"
    assert chunks[-1].choices == []
    assert chunks[-1].usage == plain.usage


async def test_sdk_calls_a_tool_and_answers_after_it(sdk: openai.AsyncOpenAI) -> None:
    asked = [{"role": "user", "content": "Weather?"}]
    call = await sdk.chat.completions.create(model="sim-large", messages=asked, tools=[WEATHER])
    [made] = call.choices[0].message.tool_calls
    assert call.choices[0].finish_reason == "tool_calls"
    assert json.loads(made.function.arguments) == {"city": "simulated", "days": 2}
    told = [*asked, call.choices[0].message.model_dump(exclude_none=True), {"role": "tool", "tool_call_id": made.id, "content": "Sunny"}]
    answer = await sdk.chat.completions.create(model="sim-large", messages=told, tools=[WEATHER])
    assert "The tool has answered. You said: Weather" in answer.choices[0].message.content


async def test_sdk_streams_tool_arguments_in_fragments(sdk: openai.AsyncOpenAI) -> None:
    other = {
        "type": "function",
        "function": {"name": "get_time", "parameters": {"type": "object", "properties": {"zone": {"enum": ["CET"]}}}},
    }
    stream = await sdk.chat.completions.create(
        model="sim-small", messages=[{"role": "user", "content": "Both. [sim calls=2]"}], tools=[WEATHER, other], stream=True
    )
    names, arguments, fragments = {}, {}, 0
    async for chunk in stream:
        for delta in chunk.choices[0].delta.tool_calls or []:
            fragments += 1
            if delta.id:
                names[delta.index] = delta.function.name
            arguments[delta.index] = arguments.get(delta.index, "") + delta.function.arguments
    assert names == {0: "get_weather", 1: "get_time"}
    assert [json.loads(text) for text in arguments.values()] == [{"city": "simulated", "days": 2}, {"zone": "CET"}]
    assert fragments > 4


@pytest.mark.parametrize(
    ("choice", "called"),
    [("none", []), ("required", ["get_weather"]), ({"type": "function", "function": {"name": "other"}}, ["other"])],
)
async def test_tool_choice_is_obeyed(simulator: SimulatorHandle, choice: object, called: list[str]) -> None:
    other = {"type": "function", "function": {"name": "other"}}
    answer = (await chat(simulator, chat_body(tools=[WEATHER, other], tool_choice=choice))).json()
    assert [call["function"]["name"] for call in answer["choices"][0]["message"].get("tool_calls", [])] == called


async def test_sdk_gets_models(sdk: openai.AsyncOpenAI) -> None:
    listed = [model.id async for model in sdk.models.list()]
    assert listed == ["sim-small", "sim-large", "sim-reasoner", "sim-cached", "sim-claude"]
    assert (await sdk.models.retrieve("sim-large")).id == "sim-large"


async def test_model_list_tells_limits_and_prices(simulator: SimulatorHandle) -> None:
    models = (await get(simulator, "/models", OPENAI)).json()["data"]
    [cached] = [model for model in models if model["id"] == "sim-cached"]
    assert cached["context_length"] == 128_000
    assert cached["top_provider"]["max_completion_tokens"] == 16_384
    assert cached["pricing"] == {
        "prompt": "0.000000300000000",
        "completion": "0.000001200000000",
        "input_cache_read": "0.000000037500000",
    }


async def test_json_schema_gives_an_instance_of_it(simulator: SimulatorHandle) -> None:
    schema = {
        "type": "object",
        "properties": {
            "name": {"type": ["string", "null"], "minLength": 12},
            "age": {"type": "integer", "minimum": 18},
            "tags": {"type": "array", "items": {"$ref": "#/$defs/tag"}, "minItems": 2},
            "born": {"anyOf": [{"type": "string", "format": "date"}]},
        },
        "$defs": {"tag": {"enum": ["a", "b"]}},
    }
    answer = (
        await chat(simulator, chat_body(response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}))
    ).json()
    content = json.loads(answer["choices"][0]["message"]["content"])
    assert content == {"name": "simulated...", "age": 18, "tags": ["a", "a"], "born": "2026-01-31"}


async def test_json_mode_gives_an_object(simulator: SimulatorHandle) -> None:
    answer = (await chat(simulator, chat_body(response_format={"type": "json_object"}))).json()
    assert json.loads(answer["choices"][0]["message"]["content"]) == {"answer": "This is the simulator. You said: hello"}


async def test_n_gives_different_choices_and_counts_them_all(simulator: SimulatorHandle) -> None:
    answer = (await chat(simulator, chat_body(n=3))).json()
    texts = {choice["message"]["content"] for choice in answer["choices"]}
    assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2]
    assert len(texts) == 3
    assert answer["usage"]["completion_tokens"] == 96


async def test_stop_ends_the_text_before_it(simulator: SimulatorHandle) -> None:
    answer = (await chat(simulator, chat_body(stop=["said", "never"]))).json()
    assert answer["choices"][0]["message"]["content"] == "This is the simulator. You "
    assert answer["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize("limit", ["max_tokens", "max_completion_tokens"])
async def test_limit_cuts_the_answer_and_says_so(simulator: SimulatorHandle, limit: str) -> None:
    answer = (await chat(simulator, chat_body(**{limit: 5}))).json()
    assert answer["choices"][0]["message"]["content"] == "This is the simulato"
    assert answer["choices"][0]["finish_reason"] == "length"
    assert answer["usage"]["completion_tokens"] == 5


async def test_usage_chunk_comes_only_when_asked_for(simulator: SimulatorHandle) -> None:
    silent = (await chat(simulator, chat_body(stream=True))).events()
    asked = (await chat(simulator, chat_body(stream=True, stream_options={"include_usage": True}))).events()
    assert all("usage" not in chunk for _, chunk in silent[:-1])
    assert [chunk["usage"] for _, chunk in asked[:-2]] == [None] * (len(asked) - 2)
    assert asked[-2][1]["choices"] == []
    assert asked[-2][1]["usage"]["completion_tokens"] == 32
    assert silent[-1][1] == asked[-1][1] == "[DONE]"


async def test_reasoning_is_part_of_the_completion_and_keeps_within_the_limit(simulator: SimulatorHandle) -> None:
    usage = (await chat(simulator, chat_body(model="sim-reasoner", max_tokens=40))).json()["usage"]
    assert usage["completion_tokens_details"]["reasoning_tokens"] == 20
    assert usage["completion_tokens"] == 40


async def test_cached_tokens_are_part_of_the_prompt(simulator: SimulatorHandle) -> None:
    usage = (await chat(simulator, chat_body("x" * 400, model="sim-cached"))).json()["usage"]
    assert usage["prompt_tokens"] == 103
    assert usage["prompt_tokens_details"]["cached_tokens"] == 51


async def test_images_are_accepted_and_counted(simulator: SimulatorHandle) -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 400}}
    content = [{"type": "text", "text": "What is it?"}, image]
    usage = (await chat(simulator, {"model": "sim-small", "messages": [{"role": "user", "content": content}]})).json()["usage"]
    assert usage["prompt_tokens"] == 3 + 3 + 85


async def test_input_never_has_more_tokens_than_the_body_has_bytes(simulator: SimulatorHandle) -> None:
    images = [{"type": "image", "u": 1}] * 30
    body = json.dumps({"model": "sim-small", "messages": [{"role": "user", "content": images}]}).encode()
    assert (await chat(simulator, body)).json()["usage"]["prompt_tokens"] == len(body)


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"{nope", 400, None),
        ({"messages": []}, 400, None),
        ({"model": "sim-small", "messages": []}, 400, "empty_array"),
        ({"model": "sim-small", "messages": [{"role": "robot", "content": "x"}]}, 400, "invalid_value"),
        ({"model": "gpt-nope", "messages": [{"role": "user", "content": "x"}]}, 404, "model_not_found"),
        (chat_body(n=99), 400, "invalid_value"),
        (chat_body(max_tokens=10**9), 400, "invalid_value"),
        (chat_body("word " * 120_000), 400, "context_length_exceeded"),
        (chat_body(tools=[{"type": "function"}]), 400, "invalid_function_parameters"),
        (chat_body("x [sim tokens=none]"), 400, "invalid_value"),
        (chat_body("x [sim fault=unheard_of]"), 400, "invalid_value"),
    ],
)
async def test_bad_requests_get_openais_error_and_no_bill(simulator: SimulatorHandle, body: object, status: int, code: str | None) -> None:
    answer = await chat(simulator, body)
    assert answer.status == status
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
    assert answer.json()["error"]["code"] == code
    assert simulator.bill() == []


async def test_contradictory_schema_is_a_bad_request(simulator: SimulatorHandle) -> None:
    schema = {"type": "integer", "minimum": "many"}
    answer = await chat(simulator, chat_body(response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}))
    assert answer.status == 400


async def test_any_key_and_none_is_taken_unless_one_is_required(simulator: SimulatorHandle, new_simulator) -> None:
    strict = new_simulator(require_key="sk-right-0123456789")
    assert (await chat(simulator, chat_body(), {"authorization": "Bearer anything"})).status == 200
    assert (await chat(simulator, chat_body(), {})).status == 200
    assert (await chat(strict, chat_body(), {"authorization": "Bearer sk-right-0123456789"})).status == 200
    assert [bool(line["key"]) for line in simulator.bill(lines=2)] == [True, False]


async def test_wrong_and_missing_keys_get_openais_401(new_simulator) -> None:
    strict = new_simulator(require_key="sk-right-0123456789")
    wrong = await chat(strict, chat_body(), {"authorization": "Bearer sk-wrong-0123456789"})
    missing = await chat(strict, chat_body(), {})
    listed = await get(strict, "/models", {})
    assert (wrong.status, missing.status, listed.status) == (401, 401, 401)
    assert wrong.json()["error"]["code"] == "invalid_api_key"
    assert "sk-wrong-0123456789" not in wrong.json()["error"]["message"]
    assert strict.bill() == []


async def test_unknown_paths_are_404(simulator: SimulatorHandle) -> None:
    assert (await post(simulator, "/nowhere", {}, OPENAI)).status == 404
