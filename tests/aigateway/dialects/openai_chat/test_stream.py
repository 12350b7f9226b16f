"""Chunks for OpenAI clients: whose usage a client sees, and several choices."""

from __future__ import annotations

import json
from typing import Any

import pytest

from aigateway.dialects.openai_chat.stream import OpenAIChatStream
from providers.upstream.adapters import ADAPTERS
from providers.upstream.sse import SseParser
from providers.upstream.types import ChatDelta, FinishReason, StreamEvent, TokenLogprob, TokenUsage, Wire

USAGE = {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}


def passed(*raws: bytes, include_usage: bool = False) -> list[bytes]:
    """What a client is sent of an OpenAI upstream's own events."""
    framing, parser = SseParser(), ADAPTERS[Wire.OPENAI_CHAT].stream_parser()
    renderer = OpenAIChatStream(include_usage, same_wire=True, model="m")
    return [renderer.event(StreamEvent(event.raw, parser.feed(event))) for raw in raws for event in framing.feed(raw)]


def chunk(delta: dict[str, Any] | None, finish: str | None = None, **more: Any) -> bytes:
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}]
    return b"data: " + json.dumps({"id": "c", "choices": choices, **more}).encode() + b"\n\n"


ROLE, TEXT, STOP = chunk({"role": "assistant", "content": ""}), chunk({"content": "Hi"}), chunk({}, "stop")


@pytest.mark.parametrize(
    "usage_chunk",
    [
        chunk(None, usage=USAGE),
        b'data: {"id":"c","choices":[],"usage":%s}\n\n' % json.dumps(USAGE).encode(),
        b'data: {"choices" : [ ],"usage":%s}\r\n\r\n' % json.dumps(USAGE).encode(),
        b'data: {"choices":null,"usage":%s}\n\n' % json.dumps(USAGE).encode(),
        b'data: {"usage":%s}\n\n' % json.dumps(USAGE).encode(),
        chunk({"role": "assistant", "content": ""}, usage=USAGE),
        chunk({"content": ""}, usage=USAGE, provider="OpenAI"),
    ],
    ids=["OpenAI", "compact", "spaced", "null choices", "no choices", "OpenRouter", "OpenRouter with extras"],
)
def test_U29_usage_that_only_the_gateway_asked_for_is_kept_back_in_every_form(usage_chunk: bytes) -> None:
    sent = (ROLE, TEXT, STOP, usage_chunk, b"data: [DONE]\n\n")
    assert passed(*sent) == [ROLE, TEXT, STOP, b"", b"data: [DONE]\n\n"]
    assert passed(*sent, include_usage=True) == list(sent)


@pytest.mark.parametrize(
    "kept",
    [
        chunk({"role": "assistant", "content": ""}, usage=USAGE),
        chunk({"content": "Hi"}, usage=USAGE),
        chunk({}, "stop", usage=USAGE),
        chunk({}, "stop", x_groq={"id": "r", "usage": USAGE}),
        chunk({"content": 'say "choices":[]'}, usage=USAGE),
        chunk(None, prompt_filter_results=[{"prompt_index": 0}]),
        chunk({"content": "Hi"}, usage=None),
        b": keep-alive\n\n",
    ],
    ids=["role", "text", "finish", "Groq", "quoted", "Azure filters", "null", "comment"],
)
def test_U29_no_other_event_loses_a_byte(kept: bytes) -> None:
    assert b"".join(passed(kept, TEXT)) == kept + TEXT


def test_several_choices_of_one_chunk_are_translated_one_by_one() -> None:
    renderer = OpenAIChatStream(include_usage=False, same_wire=False, model="m")
    deltas = [ChatDelta(text="a"), ChatDelta(text="b", choice_index=1), ChatDelta(text="c", choice_index=1)]
    out = [json.loads(renderer.event(StreamEvent(b"", delta)).removeprefix(b"data: "))["choices"][0] for delta in deltas]
    assert [(choice["index"], choice["delta"]) for choice in out] == [
        (0, {"role": "assistant", "content": "a"}),
        (1, {"role": "assistant", "content": "b"}),
        (1, {"content": "c"}),
    ]


def test_log_probabilities_are_translated() -> None:
    renderer = OpenAIChatStream(include_usage=False, same_wire=False, model="m")
    delta = ChatDelta(text="é", logprobs=(TokenLogprob("é", -0.5, (("e", -1.0),)),), finish_reason=FinishReason.STOP, usage=TokenUsage())
    [token] = json.loads(renderer.event(StreamEvent(b"", delta)).removeprefix(b"data: "))["choices"][0]["logprobs"]["content"]
    assert token == {
        "token": "é",
        "logprob": -0.5,
        "bytes": [195, 169],
        "top_logprobs": [{"token": "e", "logprob": -1.0, "bytes": [101]}],
    }
