"""The events of a Responses stream: https://platform.openai.com/docs/api-reference/responses-streaming ."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import msgspec

from providers.simulator.answers import Choice
from providers.simulator.tokens import count_text, split_text
from providers.simulator.wires import Event, UsageReport

ARGUMENT_FRAGMENT_TOKENS = 2

_Step = tuple[str, dict[str, Any], int, bool]
"""Type, further fields, output tokens up to its end, whether it carries content."""


def response_events(begun: dict[str, Any], finished: dict[str, Any], choice: Choice, usage: UsageReport) -> Iterator[Event]:
    """All events in order, numbered from zero; the last one holds the whole response."""
    numbers = itertools.count()
    end = (f"response.{finished['status']}", {"response": finished}, choice.output_tokens, False)
    steps: list[_Step] = [(f"response.{state}", {"response": begun}, 0, False) for state in ("created", "in_progress")]
    if usage.on_every_event:
        steps[1] = ("response.in_progress", {"response": {**begun, "usage": finished["usage"]}}, 0, False)
    for kind, fields, tokens, is_content in itertools.chain(
        steps, _item_steps(finished["output"], choice), [end] * (2 if usage.twice else 1)
    ):
        body = {"type": kind, "sequence_number": next(numbers), **fields}
        yield Event(b"event: " + kind.encode() + b"\ndata: " + msgspec.json.encode(body) + b"\n\n", tokens, is_content)


def _item_steps(items: list[dict[str, Any]], choice: Choice) -> Iterator[_Step]:
    done = 0
    for index, item in enumerate(items):
        place = {"output_index": index, "item_id": item["id"]}
        if item["type"] == "reasoning":
            begun, steps = {**item, "summary": []}, _reasoning_steps(item, place)
        elif item["type"] == "message":
            begun, steps = {**item, "status": "in_progress", "content": []}, _text_steps(item, place)
        else:
            done = min(done + count_text(item["name"]), choice.output_tokens)
            begun, steps = {**item, "status": "in_progress", "arguments": ""}, _call_steps(item, place, done, choice.output_tokens)
            done = min(done + count_text(item["arguments"]), choice.output_tokens)
        tokens = choice.output_tokens if item["type"] == "message" else done
        start = done if item["type"] == "function_call" else 0
        start = min(start, max(0, start - count_text(item.get("arguments", "")))) if start else 0
        yield "response.output_item.added", {"output_index": index, "item": begun}, start, item["type"] == "function_call"
        yield from steps
        yield "response.output_item.done", {"output_index": index, "item": item}, tokens, False


def _reasoning_steps(item: dict[str, Any], place: dict[str, Any]) -> Iterator[_Step]:
    for number, part in enumerate(item["summary"]):
        where = {**place, "summary_index": number}
        yield "response.reasoning_summary_part.added", {**where, "part": {**part, "text": ""}}, 0, False
        yield "response.reasoning_summary_text.delta", {**where, "delta": part["text"]}, 0, True
        yield "response.reasoning_summary_text.done", {**where, "text": part["text"]}, 0, False
        yield "response.reasoning_summary_part.done", {**where, "part": part}, 0, False


def _text_steps(item: dict[str, Any], place: dict[str, Any]) -> Iterator[_Step]:
    part = item["content"][0]
    where, tokens = {**place, "content_index": 0}, 0
    yield "response.content_part.added", {**where, "part": {**part, "text": ""}}, 0, False
    for piece, tokens in split_text(part["text"]) if part["text"] else ():
        yield "response.output_text.delta", {**where, "delta": piece, "logprobs": []}, tokens, True
    yield "response.output_text.done", {**where, "text": part["text"], "logprobs": []}, tokens, False
    yield "response.content_part.done", {**where, "part": part}, tokens, False


def _call_steps(item: dict[str, Any], place: dict[str, Any], done: int, most: int) -> Iterator[_Step]:
    arguments = item["arguments"]
    pieces = split_text(arguments) if arguments else []
    for at in range(0, len(pieces), ARGUMENT_FRAGMENT_TOKENS):
        group = pieces[at : at + ARGUMENT_FRAGMENT_TOKENS]
        tokens = min(done + group[-1][1], most)
        yield "response.function_call_arguments.delta", {**place, "delta": "".join(text for text, _ in group)}, tokens, True
    end = {**place, "name": item["name"], "arguments": arguments}
    yield "response.function_call_arguments.done", end, min(done + count_text(arguments), most), False
