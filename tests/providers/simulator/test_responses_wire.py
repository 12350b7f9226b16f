"""The simulator as OpenAI Responses: against the official SDK, and event by event."""

from __future__ import annotations

import openai
import pytest

from tests.providers.simulator.calls import OPENAI, post
from tests.providers.simulator.fixtures import SimulatorHandle

TOOL = {"type": "function", "name": "get_weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}


@pytest.fixture
async def sdk(simulator: SimulatorHandle):
    async with openai.AsyncOpenAI(base_url=simulator.base_url, api_key="sk-test", max_retries=0) as client:
        yield client


async def test_sdk_streams_what_it_answers_plainly(sdk: openai.AsyncOpenAI, simulator: SimulatorHandle) -> None:
    plain = await sdk.responses.create(model="sim-reasoner", input="hello [sim tokens=20]")
    events = [event async for event in await sdk.responses.create(model="sim-reasoner", input="hello [sim tokens=20]", stream=True)]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert [events[0].type, events[1].type, events[-1].type] == ["response.created", "response.in_progress", "response.completed"]
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == plain.output_text
    assert [item.type for item in plain.output] == ["reasoning", "message"]
    assert events[-1].response.usage == plain.usage
    for line in simulator.bill(2):
        assert plain.usage.output_tokens == line["output_tokens"] + line["reasoning_tokens"]


async def test_tool_arguments_stream_in_fragments(sdk: openai.AsyncOpenAI) -> None:
    events = [event async for event in await sdk.responses.create(model="sim-small", input="weather", tools=[TOOL], stream=True)]
    fragments = [event.delta for event in events if event.type == "response.function_call_arguments.delta"]
    assert len(fragments) > 1
    assert "".join(fragments) == events[-1].response.output[0].arguments == '{"city":"simulated"}'


async def test_a_cut_answer_is_incomplete(sdk: openai.AsyncOpenAI) -> None:
    answer = await sdk.responses.create(model="sim-small", input="hi [sim tokens=90]", max_output_tokens=16)
    assert (answer.status, answer.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    filtered = await sdk.responses.create(model="sim-small", input="hi [sim fault=content_filter]")
    assert filtered.incomplete_details.reason == "content_filter"


async def test_only_the_account_that_got_an_answer_continues_it(sdk: openai.AsyncOpenAI, simulator: SimulatorHandle) -> None:
    first = await sdk.responses.create(model="sim-small", input="hello")
    assert (await sdk.responses.create(model="sim-small", input="more", previous_response_id=first.id)).output_text
    for headers in ({"authorization": "Bearer sk-foreign"}, {}):
        refused = await post(simulator, "/responses", {"model": "sim-small", "input": "x", "previous_response_id": first.id}, headers)
        assert (refused.status, refused.json()["error"]["code"]) == (400, "previous_response_not_found")


async def test_an_answer_that_is_not_stored_cannot_be_continued(sdk: openai.AsyncOpenAI) -> None:
    first = await sdk.responses.create(model="sim-small", input="hello", store=False)
    with pytest.raises(openai.BadRequestError):
        await sdk.responses.create(model="sim-small", input="more", previous_response_id=first.id)


async def test_unknown_parameters_and_models_are_400(simulator: SimulatorHandle) -> None:
    odd = await post(simulator, "/responses", {"model": "sim-small", "input": "x", "messages": []}, OPENAI)
    assert (odd.status, odd.json()["error"]["code"]) == (400, "unknown_parameter")
    gone = await post(simulator, "/responses", {"model": "nowhere", "input": "x"}, OPENAI)
    assert (gone.status, gone.json()["error"]["code"]) == (400, "model_not_found")


async def test_a_failed_stream_ends_with_its_error(simulator: SimulatorHandle) -> None:
    body = {"model": "sim-small", "input": "x [sim fault=error_in_200 after=1]", "stream": True}
    events = (await post(simulator, "/responses", body, OPENAI)).events()
    assert events[-1][0] == "response.failed"
    assert events[-1][1]["response"]["error"]["code"] == "server_error"


async def test_both_encodings_of_an_embedding_say_the_same(sdk: openai.AsyncOpenAI) -> None:
    floats = await sdk.embeddings.create(model="sim-small", input=["one", "two"], encoding_format="float", dimensions=8)
    packed = await sdk.embeddings.create(model="sim-small", input=["one", "two"], dimensions=8)
    assert [each.embedding for each in floats.data] == [pytest.approx(each.embedding) for each in packed.data]
    assert len(floats.data[0].embedding) == 8
    assert floats.data[0].embedding != floats.data[1].embedding
