"""Answers official clients decode into an object of the caller's own class."""

from __future__ import annotations

import pytest
from google.genai import types
from pydantic import BaseModel

from tests.aigateway.clients.base import WEATHER_QUESTION
from tests.aigateway.clients.google_client import GoogleClient, user_says
from tests.aigateway.clients.langchain_client import LangChainClient
from tests.aigateway.clients.openai_client import OpenAIClient
from tests.aigateway.clients.world import SCHEMED, WIRES, World, named


class Day(BaseModel):
    name: str
    degrees: int


class Weather(BaseModel):
    city: str
    sunny: bool
    days: list[Day]


EXPECTED = Weather(city="simulated", sunny=True, days=[Day(name="simulated", degrees=1)])
each_wire = pytest.mark.parametrize("kind", [kind for kind in WIRES if kind in SCHEMED])


@each_wire
def test_openai_parses_an_answer(world: World, kind: str) -> None:
    sdk, messages = world.client(OpenAIClient).sdk, [{"role": "user", "content": WEATHER_QUESTION}]
    answer, _ = world.metered(
        lambda: sdk.beta.chat.completions.parse(model=named(kind), messages=messages, response_format=Weather, max_completion_tokens=500)
    )
    assert answer.choices[0].message.parsed == EXPECTED


@each_wire
def test_openai_parses_a_stream(world: World, kind: str) -> None:
    messages = [{"role": "user", "content": WEATHER_QUESTION}]
    ask = world.client(OpenAIClient).sdk.chat.completions.stream
    with ask(model=named(kind), messages=messages, response_format=Weather, max_completion_tokens=500) as events:
        assert events.get_final_completion().choices[0].message.parsed == EXPECTED


@each_wire
def test_google_parses_an_answer(world: World, kind: str) -> None:
    sdk, contents = world.client(GoogleClient).sdk, [user_says(WEATHER_QUESTION)]
    config = types.GenerateContentConfig(response_mime_type="application/json", response_schema=Weather, max_output_tokens=500)
    answer, _ = world.metered(lambda: sdk.models.generate_content(model=named(kind), contents=contents, config=config))
    assert answer.parsed == EXPECTED


@each_wire
def test_langchain_gives_structured_output(world: World, kind: str) -> None:
    chat = world.client(LangChainClient).chat(named(kind)).with_structured_output(Weather)
    answer, _ = world.metered(lambda: chat.invoke(WEATHER_QUESTION))
    assert answer == EXPECTED
