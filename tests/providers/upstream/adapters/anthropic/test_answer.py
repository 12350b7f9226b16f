"""What Anthropic answers."""

from __future__ import annotations

import json

import pytest

from providers.upstream.adapters import ADAPTERS
from providers.upstream.errors import ContextTooLong, InvalidBody, Overloaded, RateLimited
from providers.upstream.sse import SseParser
from providers.upstream.types import (
    Capability,
    FinishReason,
    HttpResponse,
    ReasoningPart,
    TokenUsage,
    ToolCall,
    Wire,
)

ADAPTER = ADAPTERS[Wire.ANTHROPIC_MESSAGES]


def parsed(body: dict):
    return ADAPTER.parse_chat(HttpResponse(200, {}, json.dumps(body).encode()))


def test_an_answer_with_every_kind_of_block() -> None:
    body = {
        "id": "msg_1",
        "model": "claude",
        "content": [
            {"type": "thinking", "thinking": "hm", "signature": "sig"},
            {"type": "redacted_thinking", "data": "opaque"},
            {"type": "text", "text": "It "},
            {"type": "text", "text": "rains."},
            {"type": "tool_use", "id": "t1", "name": "f", "input": {"x": 1}},
            {"type": "something_new"},
        ],
        "stop_reason": "tool_use",
        "usage": {"input_tokens": 3, "output_tokens": 4},
    }
    answer = parsed(body)
    (choice,) = answer.choices
    assert (choice.text, choice.finish_reason) == ("It rains.", FinishReason.TOOL_CALLS)
    assert choice.reasoning == (ReasoningPart("hm", "sig"), ReasoningPart("", "opaque", redacted=True))
    assert choice.tool_calls == (ToolCall("t1", "f", '{"x":1}'),)
    assert (answer.id, answer.usage.input_tokens, answer.usage.output_tokens) == ("msg_1", 3, 4)


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("end_turn", FinishReason.STOP),
        ("stop_sequence", FinishReason.STOP),
        ("max_tokens", FinishReason.LENGTH),
        ("model_context_window_exceeded", FinishReason.LENGTH),
        ("pause_turn", FinishReason.LENGTH),
        ("tool_use", FinishReason.TOOL_CALLS),
        ("refusal", FinishReason.CONTENT_FILTER),
        (None, None),
    ],
)
def test_stop_reasons(word, reason) -> None:
    assert parsed({"content": [], "stop_reason": word}).choices[0].finish_reason is reason


@pytest.mark.parametrize(
    ("usage", "buckets"),
    [
        # cached tokens are on top of input
        (
            {"input_tokens": 5, "cache_read_input_tokens": 100, "cache_creation_input_tokens": 30, "output_tokens": 7},
            TokenUsage(input_tokens=5, cache_read_tokens=100, cache_write_tokens=30, output_tokens=7),
        ),
        # five minutes and one hour are split
        (
            {"input_tokens": 5, "cache_creation_input_tokens": 30, "output_tokens": 7,
             "cache_creation": {"ephemeral_5m_input_tokens": 10, "ephemeral_1h_input_tokens": 20}},
            TokenUsage(input_tokens=5, cache_write_tokens=10, cache_write_1h_tokens=20, output_tokens=7),
        ),
        # thinking is inside output; iterations repeat the total
        (
            {"input_tokens": 5, "output_tokens": 70, "output_tokens_details": {"thinking_tokens": 60}, "iterations": [{"input_tokens": 5}]},
            TokenUsage(input_tokens=5, output_tokens=10, reasoning_tokens=60),
        ),
        ({"input_tokens": 0, "output_tokens": 0}, TokenUsage(input_tokens=0, output_tokens=0)),
        ({}, TokenUsage()),
    ],
)  # fmt: skip
def test_M10_usage_comes_out_in_disjoint_buckets(usage, buckets) -> None:
    assert parsed({"content": [], "usage": usage}).usage == buckets


@pytest.mark.parametrize("body", [{}, {"content": "text"}, {"choices": []}])
def test_U15_what_is_no_answer_is_an_invalid_body(body) -> None:
    with pytest.raises(InvalidBody):
        parsed(body)


def test_U16_an_error_object_in_a_200_is_an_error() -> None:
    with pytest.raises(Overloaded):
        parsed({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}})


# --------------------------------------------------------------------------- streams


def read(*events: dict):
    parser = ADAPTER.stream_parser()
    raw = b"".join(f"event: {event['type']}\ndata: {json.dumps(event)}      \n\n".encode() for event in events)
    return [parser.feed(event) for event in SseParser().feed(raw)], parser


START = {
    "type": "message_start",
    "message": {
        "id": "msg_1",
        "model": "claude",
        "usage": {
            "input_tokens": 9,
            "output_tokens": 1,
            "cache_creation_input_tokens": 30,
            "cache_creation": {"ephemeral_5m_input_tokens": 10, "ephemeral_1h_input_tokens": 20},
        },
    },
}
STOP = {"type": "message_stop"}


def block(index: int, content: dict) -> dict:
    return {"type": "content_block_start", "index": index, "content_block": content}


def piece(index: int, content: dict) -> dict:
    return {"type": "content_block_delta", "index": index, "delta": content}


def end(reason: str = "end_turn", **usage: int) -> dict:
    return {"type": "message_delta", "delta": {"stop_reason": reason}, "usage": usage}


def test_a_stream_with_thinking_text_and_parallel_tools() -> None:
    deltas, parser = read(
        START,
        {"type": "ping"},
        block(0, {"type": "thinking", "thinking": ""}),
        piece(0, {"type": "thinking_delta", "thinking": "hm"}),
        piece(0, {"type": "signature_delta", "signature": "sig"}),
        {"type": "content_block_stop", "index": 0},
        block(1, {"type": "text", "text": ""}),
        piece(1, {"type": "text_delta", "text": "Hi"}),
        block(2, {"type": "tool_use", "id": "t1", "name": "f", "input": {}}),
        piece(2, {"type": "input_json_delta", "partial_json": ""}),
        piece(2, {"type": "input_json_delta", "partial_json": '{"x":1}'}),
        block(3, {"type": "tool_use", "id": "t2", "name": "g", "input": {}}),
        end("tool_use", output_tokens=40),
        STOP,
    )
    assert "".join(one.text for one in deltas) == "Hi"
    assert "".join(one.reasoning for one in deltas) == "hm"
    assert [one.reasoning_signature for one in deltas if one.reasoning_signature] == ["sig"]
    calls = [(call.index, call.id, call.name, call.arguments) for one in deltas for call in one.tool_calls]
    assert calls == [(0, "t1", "f", ""), (0, None, None, ""), (0, None, None, '{"x":1}'), (1, "t2", "g", "")]
    assert [one.finish_reason for one in deltas if one.finish_reason] == [FinishReason.TOOL_CALLS]
    assert not any(one.has_content for one in deltas[:3]), "lifecycle events are no content"
    assert (deltas[-1].is_end, parser.is_complete, parser.upstream_id) == (True, True, "msg_1")


def test_U28_the_closing_usage_overwrites_and_is_never_added() -> None:
    _, parser = read(START, end(output_tokens=40, input_tokens=9, cache_creation_input_tokens=30))
    assert parser.usage == TokenUsage(input_tokens=9, cache_write_tokens=10, cache_write_1h_tokens=20, output_tokens=40)
    assert parser.usage_is_final


def test_the_opening_usage_is_not_final_and_a_stop_reason_is_not_the_end() -> None:
    assert read(START)[1].usage_is_final is False
    assert read(START, end(output_tokens=4))[1].is_complete is False


def test_U11_an_error_event_is_raised() -> None:
    with pytest.raises(Overloaded):
        read(START, {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}})


def test_a_done_after_the_message_is_tolerated() -> None:
    parser = ADAPTER.stream_parser()
    (event,) = SseParser().feed(b"data: [DONE]\n\n")
    assert parser.feed(event).is_end


# --------------------------------------------------------------------------- the rest


def test_a_429_that_must_not_be_retried_is_too_large() -> None:
    body = b'{"type":"error","error":{"type":"rate_limit_error","message":"exceeds"}}'
    assert isinstance(ADAPTER.parse_error(HttpResponse(429, {"x-should-retry": "false"}, body)), ContextTooLong)
    assert isinstance(ADAPTER.parse_error(HttpResponse(429, {"x-should-retry": "true"}, body)), RateLimited)


def test_models_are_listed_in_pages() -> None:
    rows = [
        {"id": "claude-a", "display_name": "Claude A", "max_input_tokens": 200, "max_tokens": 100,
         "capabilities": {"image_input": {"supported": True}, "thinking": {"supported": False}}},
        {"id": "claude-b"},
    ]  # fmt: skip
    page = json.dumps({"data": rows, "has_more": True, "last_id": "claude-b"}).encode()
    listings, cursor = ADAPTER.parse_models(HttpResponse(200, {}, page))
    assert cursor == "claude-b"
    assert (listings[0].name, listings[0].display_name, listings[0].context_window_tokens) == ("claude-a", "Claude A", 200)
    counted = {Capability.CHAT, Capability.STREAM, Capability.TOOLS, Capability.COUNT_TOKENS}
    assert listings[0].capabilities == counted | {Capability.VISION}
    assert listings[1].capabilities is None
    assert ADAPTER.render_models(cursor).path == "/models?limit=1000&after_id=claude-b"
    assert ADAPTER.parse_models(HttpResponse(200, {}, b'{"data": [], "has_more": false, "last_id": null}')) == ((), None)


def test_a_count_of_tokens_is_the_providers_own() -> None:
    raw = b'{"input_tokens": 36, "context_management": {}}'
    count = ADAPTER.parse_count_tokens(HttpResponse(200, {}, raw))
    assert (count.input_tokens, count.body) == (36, raw)
    assert count.usage.is_complete


@pytest.mark.parametrize("raw", [b"{}", b'{"input_tokens": null}', b"[36]"])
def test_an_answer_without_a_count_is_no_zero(raw) -> None:
    with pytest.raises(InvalidBody):
        ADAPTER.parse_count_tokens(HttpResponse(200, {}, raw))
