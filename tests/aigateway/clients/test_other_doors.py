"""What official clients offer beside a chat: responses, embeddings, lists of models, and their asynchronous halves."""

from __future__ import annotations

import asyncio

import anthropic
import openai
import pytest

from providers.simulator.vectors import vector_of
from tests.aigateway.clients.anthropic_client import AnthropicClient
from tests.aigateway.clients.base import OUTPUT_TOKENS, TIMEOUT_S
from tests.aigateway.clients.google_client import GoogleClient
from tests.aigateway.clients.mistral_client import MistralClient
from tests.aigateway.clients.openai_client import OpenAIClient
from tests.aigateway.clients.world import UPSTREAMS, WIRES, World, named

PROMPT = "Hello [sim tokens=24] from a client"
AT_ONCE = 6
EMBEDDING = ("openai", "gemini", "ollama", "cohere", "mistral")
UNCOUNTED = ("gemini",)
"""Google does not tell what a batch of embeddings used, so that its cost is estimated."""

each_wire = pytest.mark.parametrize("kind", WIRES)


@each_wire
def test_a_response_is_answered(world: World, kind: str) -> None:
    ask = world.client(OpenAIClient).sdk.responses.create
    answer, spent = world.metered(lambda: ask(model=named(kind), input=PROMPT, max_output_tokens=OUTPUT_TOKENS, store=False))
    assert (answer.status, answer.output_text) == ("completed", world.said(PROMPT))
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (spent.bill["input_tokens"], 24)


@each_wire
def test_a_response_is_streamed(world: World, kind: str) -> None:
    def listen() -> list[openai.types.responses.ResponseStreamEvent]:
        ask = world.client(OpenAIClient).sdk.responses.create
        return list(ask(model=named(kind), input=PROMPT, max_output_tokens=OUTPUT_TOKENS, store=False, stream=True))

    events, spent = world.metered(listen)
    text = world.said(PROMPT)
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == text
    assert (events[0].type, events[-1].type) == ("response.created", "response.completed")
    assert (events[-1].response.output_text, events[-1].response.usage.output_tokens) == (text, spent.bill["output_tokens"])
    assert [event.sequence_number for event in events] == sorted({event.sequence_number for event in events})


@pytest.mark.parametrize("kind", EMBEDDING)
def test_embeddings_are_those_of_the_provider(world: World, kind: str) -> None:
    sdk, texts = world.client(OpenAIClient).sdk, ["one text", "another text"]
    call = world.recorded if kind in UNCOUNTED else world.metered
    answer, spent = call(lambda: sdk.embeddings.create(model=named(kind), input=texts))
    assert spent.entry.cost_nano >= spent.bill["cost_nano"] > 0
    assert [each.index for each in answer.data] == [0, 1]
    for each, text in zip(answer.data, texts, strict=True):
        assert each.embedding == pytest.approx(vector_of(text, None), abs=1e-6)


def test_every_client_lists_the_models_in_its_own_words(world: World) -> None:
    expected = {named(kind, model) for kind in UPSTREAMS for model in ("sim-small", "sim-cached", "sim-reasoner")}
    assert {model.id for model in world.client(OpenAIClient).sdk.models.list()} >= expected
    assert {model.id for model in world.client(AnthropicClient).sdk.models.list(limit=10)} >= expected
    assert {model.id for model in world.client(MistralClient).sdk.models.list().data} >= expected
    assert {model.name.removeprefix("models/") for model in world.client(GoogleClient).sdk.models.list()} >= expected


@each_wire
def test_openai_asks_many_things_at_once(world: World, kind: str) -> None:
    prompts = [f"Question {number} [sim tokens=24 id={number}]" for number in range(AT_ONCE)]

    async def ask_all() -> list[str]:
        async with openai.AsyncOpenAI(base_url=f"{world.base_url}/v1", api_key=world.key, max_retries=0, timeout=TIMEOUT_S) as sdk:

            async def ask(prompt: str) -> str:
                messages = [{"role": "user", "content": prompt}]
                chunks = await sdk.chat.completions.create(model=named(kind), messages=messages, stream=True)
                return "".join([chunk.choices[0].delta.content or "" async for chunk in chunks if chunk.choices])

            async def ask_plainly(prompt: str) -> str:
                messages = [{"role": "user", "content": prompt}]
                return (await sdk.chat.completions.create(model=named(kind), messages=messages)).choices[0].message.content

            return await asyncio.gather(*map(ask, prompts), *map(ask_plainly, prompts))

    assert asyncio.run(ask_all()) == [world.said(prompt) for prompt in prompts] * 2


@each_wire
def test_anthropic_asks_many_things_at_once(world: World, kind: str) -> None:
    prompts = [f"Question {number} [sim tokens=24 id={number}]" for number in range(AT_ONCE)]

    async def ask_all() -> list[str]:
        async with anthropic.AsyncAnthropic(base_url=world.base_url, api_key=world.key, max_retries=0, timeout=TIMEOUT_S) as sdk:

            async def ask(prompt: str) -> str:
                messages = [{"role": "user", "content": prompt}]
                async with sdk.messages.stream(model=named(kind), messages=messages, max_tokens=OUTPUT_TOKENS) as events:
                    return "".join([text async for text in events.text_stream])

            async def ask_plainly(prompt: str) -> str:
                messages = [{"role": "user", "content": prompt}]
                return (await sdk.messages.create(model=named(kind), messages=messages, max_tokens=OUTPUT_TOKENS)).content[0].text

            return await asyncio.gather(*map(ask, prompts), *map(ask_plainly, prompts))

    assert asyncio.run(ask_all()) == [world.said(prompt) for prompt in prompts] * 2
