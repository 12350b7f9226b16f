"""The short way through an ordinary text event says what the long way says, whatever the event looks like."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.upstream.adapters.anthropic.stream import AnthropicStreamParser
from providers.upstream.adapters.openai.stream import OpenAIStreamParser
from providers.upstream.errors import UpstreamError
from providers.upstream.sse import SseEvent

USAGE = {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}
ODD = st.sampled_from([None, "", "x", 0, 1, -1, 2.0, True, [], {}, ["x"], {"content": "x"}, USAGE])


def told(parser: Any, feed: Any, event: SseEvent) -> tuple[Any, ...]:
    """What came of one event: its meaning or its error, and all that the parser remembers."""
    try:
        outcome: Any = feed(event)
    except UpstreamError as error:
        outcome = (type(error), error.detail)
    state = (parser.is_complete, parser.usage, parser.usage_is_final, parser.upstream_id)
    return outcome, state, getattr(parser, "_seen", None), getattr(parser, "_finished", None)


def assert_both_ways_agree(kind: type[Any], events: list[SseEvent]) -> None:
    short, long = kind(), kind()
    for event in events:
        assert told(short, short.feed, event) == told(long, long._feed_any, event)


def event_of(body: Any, name: str = "") -> SseEvent:
    data = body if isinstance(body, bytes) else msgspec.json.encode(body)
    return SseEvent(name, data, b"")


def openai_chunk(delta: Any, **changes: Any) -> dict[str, Any]:
    choice = {"index": changes.pop("index", 0), "delta": delta, "finish_reason": changes.pop("finish_reason", None)}
    choice |= changes.pop("choice", {})
    return {"id": "c1", "object": "chat.completion.chunk", "model": "m", "choices": [choice], **changes}


fields = dict.fromkeys(("content", "reasoning_content", "reasoning", "refusal", "tool_calls", "function_call", "role", "annotations"), ODD)
choices = {"index": ODD, "finish_reason": ODD, "message": ODD, "logprobs": ODD, "text": ODD}
tops = dict.fromkeys(("id", "object", "model", "type", "error", "usage", "x_groq", "timings", "code", "message"), ODD)


@given(
    st.lists(
        st.builds(
            lambda delta, choice, top: {"choices": [{"index": 0, "delta": delta, **choice}], **top},
            st.fixed_dictionaries({}, optional=fields),
            st.fixed_dictionaries({}, optional=choices),
            st.fixed_dictionaries({}, optional=tops),
        ),
        max_size=4,
    )
)
def test_openai_both_ways_agree_on_every_shape(bodies: list[Any]) -> None:
    assert_both_ways_agree(OpenAIStreamParser, [event_of(body) for body in bodies])


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[DONE]",
        b" [DONE] ",
        b"null",
        b"{",
        b'{"choices":[{"delta":{"content":"\xff"}}]}',
        b'\xef\xbb\xbf{"choices":[{"delta":{"content":"x"}}]}',
        b'{"choices":' * 2000,
        {"choices": None},
        {"choices": [{}]},
        {"choices": [{"delta": None}]},
        {"choices": [{"delta": {"content": "a"}}, {"index": 1, "delta": {"content": "b"}}]},
        openai_chunk({"content": "x"}, index=1),
        openai_chunk({"content": "x"}, error={"message": "gone", "code": 503}),
        openai_chunk({"content": "x"}, usage=USAGE),
        openai_chunk({"content": "x"}, x_groq={"usage": USAGE}),
        openai_chunk({"content": "x"}, timings={"prompt_n": 1, "predicted_n": 2}),
        openai_chunk({"content": "x"}, object="error"),
        openai_chunk({}, choice={"message": {"content": "whole"}}),
    ],
)
def test_openai_both_ways_agree_on_odd_events(body: Any) -> None:
    ordinary = event_of(openai_chunk({"content": "Hi"}))
    finish = event_of(openai_chunk({}, finish_reason="stop"))
    for name in ("", "error"):
        assert_both_ways_agree(OpenAIStreamParser, [ordinary, event_of(body, name), finish, event_of(body, name), ordinary])


blocks = st.fixed_dictionaries({}, optional=dict.fromkeys(("text", "thinking", "partial_json", "signature"), ODD))
KINDS = st.sampled_from(["text_delta", "thinking_delta", "input_json_delta", "signature_delta", "new_delta", None])
TYPES = st.sampled_from(["content_block_delta", "content_block_start", "message_delta", "ping", "error", None])


@given(
    st.lists(
        st.builds(
            lambda kind, block, delta, top: {"type": kind, "index": 0, "delta": {"type": block, **delta}, **top},
            TYPES,
            KINDS,
            blocks,
            st.fixed_dictionaries({}, optional={"error": ODD, "object": ODD, "usage": ODD, "index": ODD}),
        ),
        max_size=4,
    )
)
def test_anthropic_both_ways_agree_on_every_shape(bodies: list[Any]) -> None:
    assert_both_ways_agree(AnthropicStreamParser, [event_of(body) for body in bodies])


def test_ordinary_text_takes_the_short_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OpenAIStreamParser, "_feed_any", None)
    monkeypatch.setattr(AnthropicStreamParser, "_feed_any", None)
    for delta in ({"content": "Hi"}, {"role": "assistant", "content": "", "refusal": None}, {"reasoning_content": "hm", "content": None}):
        body = openai_chunk(delta, usage=None, service_tier="default", obfuscation="abc", choice={"logprobs": None})
        parsed = OpenAIStreamParser().feed(event_of(body))
        assert (parsed.text, parsed.reasoning) == (delta.get("content") or "", delta.get("reasoning_content", ""))
    anthropic = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hi"}}
    assert AnthropicStreamParser().feed(event_of(anthropic, "content_block_delta")).text == "Hi"


def test_several_choices_in_one_chunk_are_all_told() -> None:
    parser = OpenAIStreamParser()
    body = openai_chunk({"content": "a"})
    body["choices"].append({"index": 1, "delta": {"content": "b"}, "finish_reason": "stop"})
    first = parser.feed(event_of(body))
    assert [(delta.choice_index, delta.text) for delta in (first, *first.others)] == [(0, "a"), (1, "b")]
    assert not parser.is_complete, "the first choice goes on"
    parser.feed(event_of(openai_chunk({}, finish_reason="stop")))
    assert parser.is_complete
