"""What official clients say beside a single question: instructions, earlier turns, stop sequences, pictures, several answers."""

from __future__ import annotations

import base64
import struct
import zlib

import openai
import pytest
from google.genai import errors, types

from providers.simulator.tokens import TOKENS_PER_MESSAGE, count_text
from tests.aigateway.clients.base import OfficialClient, Talk
from tests.aigateway.clients.every import each_client
from tests.aigateway.clients.google_client import GoogleClient, user_says
from tests.aigateway.clients.openai_client import OpenAIClient
from tests.aigateway.clients.world import SEEING, WIRES, World, named

TALK = Talk(("My name is Clara.", "Good day, Clara, how can I help?", "What is my name?"), system="You are a friendly waiter.")
ONE_TEXT = "huggingface_endpoint"
"""Takes a whole conversation as one prompt."""
SEVERAL = ("openai", "gemini")
"""The wire formats that give several answers to one question."""


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def red_picture() -> str:
    """One red pixel, 8-bit RGB (https://www.w3.org/TR/png-3/), in base64."""
    header, pixels = struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0), zlib.compress(b"\x00\xff\x00\x00")
    png = b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", pixels) + _chunk(b"IEND", b"")
    return base64.b64encode(png).decode()


@each_client
@pytest.mark.parametrize("kind", WIRES)
def test_instructions_and_earlier_turns_reach_the_provider(world: World, make: type[OfficialClient], kind: str) -> None:
    heard, spent = world.metered(lambda: world.client(make).talk(named(kind), TALK))
    said = [TALK.system, *TALK.turns]
    if kind == ONE_TEXT:
        assert spent.bill["input_tokens"] >= count_text("".join(said))
        assert TALK.system in heard.text
        assert TALK.turns[0] in heard.text
    else:
        assert spent.bill["input_tokens"] == sum(TOKENS_PER_MESSAGE + count_text(text) for text in said)
        assert f"You said: {TALK.turns[-1]}"[:-1] in heard.text


@each_client
@pytest.mark.parametrize("kind", WIRES)
def test_a_stop_sequence_ends_the_answer(world: World, make: type[OfficialClient], kind: str) -> None:
    heard, spent = world.metered(lambda: world.client(make).talk(named(kind), Talk(("Hello there",), stop=("simulator",)), stream=True))
    assert heard.text == "This is the "
    assert heard.output_tokens == spent.bill["output_tokens"] == 3


@each_client
@pytest.mark.parametrize("kind", [kind for kind in WIRES if kind in SEEING])
def test_a_picture_is_seen(world: World, make: type[OfficialClient], kind: str) -> None:
    heard, _ = world.metered(lambda: world.client(make).talk(named(kind), Talk(("What is this?",), picture=red_picture())))
    assert "(a red picture)" in heard.text


@pytest.mark.parametrize("kind", SEVERAL)
def test_several_answers_come_back_and_are_paid(world: World, kind: str) -> None:
    sdk = world.client(OpenAIClient).sdk
    messages = [{"role": "user", "content": "Hello [sim tokens=24]"}]
    answer, spent = world.metered(lambda: sdk.chat.completions.create(model=named(kind), messages=messages, n=2))
    assert [choice.index for choice in answer.choices] == [0, 1]
    assert answer.choices[0].message.content != answer.choices[1].message.content
    assert answer.usage.completion_tokens == spent.bill["output_tokens"] == 48


@pytest.mark.parametrize("kind", SEVERAL)
def test_several_candidates_come_back_and_are_paid(world: World, kind: str) -> None:
    sdk = world.client(GoogleClient).sdk
    config = types.GenerateContentConfig(candidate_count=2)
    contents = [user_says("Hello [sim tokens=24]")]
    answer, spent = world.metered(lambda: sdk.models.generate_content(model=named(kind), contents=contents, config=config))
    assert len({candidate.content.parts[0].text for candidate in answer.candidates}) == 2
    assert answer.usage_metadata.candidates_token_count == spent.bill["output_tokens"] == 48


@pytest.mark.parametrize("kind", [kind for kind in WIRES if kind not in SEVERAL and kind != "ollama"])
def test_several_answers_are_refused_where_a_provider_gives_one(world: World, kind: str) -> None:
    billed = len(world.simulator.bill())
    messages = [{"role": "user", "content": "Hello"}]
    with pytest.raises(openai.BadRequestError, match="n cannot be expressed") as raised:
        world.client(OpenAIClient).sdk.chat.completions.create(model=named(kind), messages=messages, n=2)
    assert raised.value.code == "unsupported_feature"
    with pytest.raises(errors.ClientError, match=r"400 INVALID_ARGUMENT.*n cannot be expressed"):
        world.client(GoogleClient).sdk.models.generate_content(
            model=named(kind), contents=[user_says("Hello")], config=types.GenerateContentConfig(candidate_count=2)
        )
    assert len(world.simulator.bill()) == billed
