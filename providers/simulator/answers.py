"""What the simulator says: plain English of a wished length, tool calls and JSON, the same every time for the same question."""

from __future__ import annotations

import itertools
import secrets
import time
import zlib
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import msgspec

from providers.simulator.catalogue import SimulatedModel
from providers.simulator.questions import Question
from providers.simulator.schemas import instance_of
from providers.simulator.tokens import BYTES_PER_TOKEN, count_text, cut_text, split_text

PROMPT_CHARACTERS = 1_000
ECHOED_CHARACTERS = 120
CACHE_TEXTS = 512
CACHED_TEXT_TOKENS_MAX = 2_000

_SENTENCES = (
    "A simulator answers at once and costs nothing.",
    "The words are made up, but the tokens are counted with care.",
    "Every answer to the same question is the same.",
    "Rivers carry water from the hills to the sea.",
    "A good test fails when the thing it guards is broken.",
    "The kettle is on and the window is open.",
    "Small steps, taken often, go a long way.",
    "Somebody left a light on in the library.",
)


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens in disjoint buckets: ``input_tokens`` excludes cached ones, ``output_tokens`` excludes reasoning."""

    input_tokens: int
    cached_tokens: int
    output_tokens: int
    reasoning_tokens: int


@dataclass(frozen=True, slots=True)
class Call:
    """One tool call; ``arguments`` is JSON text, cut short when the answer hit its limit. ``id`` is empty where none is sent."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Choice:
    """``finish`` is ``stop``, ``length``, ``tool_calls`` or ``content_filter``; ``stopped_at`` is the stop sequence that ended the text."""

    index: int
    text: str
    calls: tuple[Call, ...]
    finish: str
    stopped_at: str | None
    output_tokens: int


@dataclass(frozen=True, slots=True)
class Answer:
    """``number`` is unique for every answer of every simulator process; the wires make their ids of it."""

    number: str
    created_s: int
    model: SimulatedModel
    choices: tuple[Choice, ...]
    usage: Usage


_process = secrets.token_hex(4)
_numbers = itertools.count(1)


def answer(question: Question, tokens: int, seed: int, calls: int) -> Answer:
    """``tokens`` is the length of a text answer that nothing else limits; ``calls`` is how many tools are called at once."""
    number = f"{_process}{next(_numbers):08x}"
    reasoning = min(tokens, question.max_tokens // 2) if question.model.reasons and question.speaks else 0
    limit = question.max_tokens - reasoning
    seed = seed if question.seed is None else question.seed
    choices = tuple(
        _choice(question, index, tokens, limit, seed, calls, number) for index in range(question.choices if question.speaks else 0)
    )
    cached = question.input_tokens // 2 if question.model.caches and question.speaks else 0
    usage = Usage(
        input_tokens=question.input_tokens - cached,
        cached_tokens=cached,
        output_tokens=sum(choice.output_tokens for choice in choices),
        reasoning_tokens=reasoning,
    )
    return Answer(number, int(time.time()), question.model, choices, usage)


def emptied(whole: Answer) -> Answer:
    """The same answer with nothing said: what a sick provider sends as success."""
    choices = tuple(Choice(choice.index, "", (), "stop", None, 0) for choice in whole.choices)
    return Answer(whole.number, whole.created_s, whole.model, choices, Usage(whole.usage.input_tokens, whole.usage.cached_tokens, 0, 0))


def filtered(whole: Answer) -> Answer:
    """The same answer, taken away by a content filter halfway."""
    choices = tuple(_cut_off(choice) for choice in whole.choices)
    usage = whole.usage
    spoken = sum(choice.output_tokens for choice in choices)
    return replace(whole, choices=choices, usage=Usage(usage.input_tokens, usage.cached_tokens, spoken, usage.reasoning_tokens))


def _cut_off(choice: Choice) -> Choice:
    text = choice.text[: len(choice.text) // 2]
    return Choice(choice.index, text, (), "content_filter", None, count_text(text))


def without_call_ids(whole: Answer) -> Answer:
    choices = tuple(replace(choice, calls=tuple(replace(call, id="") for call in choice.calls)) for choice in whole.choices)
    return replace(whole, choices=choices)


def _choice(question: Question, index: int, tokens: int, limit: int, seed: int, calls: int, number: str) -> Choice:
    if question.tools:
        return _calling(question, index, limit, calls, number)
    if question.schema is not None or question.json_mode:
        text = _json_text(question)
    else:
        write = _plain_text if tokens <= CACHED_TEXT_TOKENS_MAX else _write_text
        text = write(question.prompt[:PROMPT_CHARACTERS], question.tool_answered, tokens, seed + index)
    stopped_at = _first_stop(text, question.stop)
    if stopped_at is not None:
        text = text[: text.index(stopped_at)]
    finish = "stop"
    if count_text(text) > limit:
        text, finish, stopped_at = cut_text(text, limit), "length", None
    return Choice(index, text, (), finish, stopped_at, count_text(text))


def _calling(question: Question, index: int, limit: int, wanted: int, number: str) -> Choice:
    """Calls up to ``wanted`` tools; a call's tokens are those of its name and of its arguments."""
    made: list[Call] = []
    left, finish = limit, "tool_calls"
    for place, tool in enumerate(question.tools[:wanted]):
        left -= count_text(tool.name)
        arguments = msgspec.json.encode(instance_of(tool.schema)).decode()
        if left < count_text(arguments):
            finish = "length"
            arguments = cut_text(arguments, max(left, 0))
        left -= count_text(arguments)
        made.append(Call(f"{number}{index:x}{place:x}", tool.name, arguments))
        if finish == "length":
            break
    return Choice(index, "", tuple(made), finish, None, limit - max(left, 0))


def _json_text(question: Question) -> str:
    instance: Any = (
        {"answer": _opening(question.prompt, question.tool_answered)} if question.schema is None else instance_of(question.schema)
    )
    return msgspec.json.encode(instance).decode()


def _opening(prompt: str, tool_answered: bool) -> str:
    said = " ".join(prompt.split())[:ECHOED_CHARACTERS]
    thanks = "The tool has answered. " if tool_answered else ""
    return f"This is the simulator. {thanks}You said: {said or 'nothing'}"


def _write_text(prompt: str, tool_answered: bool, tokens: int, seed: int) -> str:
    """A text of exactly ``tokens`` tokens that ends with a full stop."""
    opening = _opening(prompt, tool_answered).rstrip(".!? ") + ". "
    start = (zlib.crc32(prompt.encode("utf-8", "replace")) + seed) % len(_SENTENCES)
    turned = " ".join(_SENTENCES[start:] + _SENTENCES[:start]) + " "
    size = tokens * BYTES_PER_TOKEN
    text = opening + turned * (size // len(turned) + 1)
    body = text.encode("utf-8", "replace")[: size - 1].decode("utf-8", "ignore").rstrip(" .")
    return body + "." * max(1, size - len(body.encode()))


def pieces_of(text: str) -> tuple[tuple[bytes, int], ...]:
    """``text`` as encoded JSON strings of about one token each, every one with the tokens of the text up to its end."""
    return _pieces(text) if len(text) <= CACHED_TEXT_TOKENS_MAX * BYTES_PER_TOKEN else _cut_pieces(text)


def _cut_pieces(text: str) -> tuple[tuple[bytes, int], ...]:
    return tuple((msgspec.json.encode(piece), tokens) for piece, tokens in split_text(text))


def _first_stop(text: str, stops: tuple[str, ...]) -> str | None:
    found = [stop for stop in stops if stop in text]
    return min(found, key=text.index) if found else None


_plain_text = lru_cache(maxsize=CACHE_TEXTS)(_write_text)
_pieces = lru_cache(maxsize=CACHE_TEXTS)(_cut_pieces)
