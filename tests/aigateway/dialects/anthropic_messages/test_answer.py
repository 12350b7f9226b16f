"""What Anthropic clients get back: messages, streams, errors (R103)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from aigateway.api.errors import Category
from aigateway.dialects.anthropic_messages.dialect import AnthropicCountTokens, AnthropicMessages
from aigateway.errors import GatewayError, from_upstream, invalid_key, invalid_request, overloaded, unexpected
from providers.upstream.errors import RateLimited, StreamTruncated
from providers.upstream.types import (
    ChatChoice,
    ChatDelta,
    ChatResponse,
    FinishReason,
    ReasoningPart,
    StreamEvent,
    TokenCount,
    TokenUsage,
    ToolCall,
    ToolCallDelta,
    Wire,
)
from tests.aigateway.samples import explanation, target

BODY = b'{"model": "m", "max_tokens": 5, "stream": true, "messages": [{"role": "user", "content": "x"}]}'


def rendered(choice: ChatChoice, usage: TokenUsage | None = None, upstream_id: str = "chatcmpl-1") -> Any:
    response = ChatResponse(upstream_id, "gpt", (choice,), usage or TokenUsage(), Wire.OPENAI_CHAT, b"")
    return json.loads(AnthropicMessages().render(response, explanation()))


def test_a_same_wire_answer_is_returned_byte_for_byte() -> None:
    raw = b'{"id":"msg_1" , "content":[]}'
    response = ChatResponse("msg_1", "m", (), TokenUsage(), Wire.ANTHROPIC_MESSAGES, raw)
    assert AnthropicMessages().render(response, explanation()) == raw


def test_a_translated_answer_is_a_whole_message() -> None:
    choice = ChatChoice(
        0,
        "Hello",
        FinishReason.TOOL_CALLS,
        reasoning=(ReasoningPart("hm", "sig"), ReasoningPart("bare"), ReasoningPart("", "opaque", redacted=True)),
        tool_calls=(ToolCall("c1", "f", '{"a":1}'), ToolCall("c2", "g", "", signature="s")),
    )
    usage = TokenUsage(10, cache_read_tokens=5, cache_write_tokens=1, cache_write_1h_tokens=2, output_tokens=7, reasoning_tokens=3)
    assert rendered(choice, usage) == {
        "id": "msg_chatcmpl-1",
        "type": "message",
        "role": "assistant",
        "model": "gpt",
        "content": [
            {"type": "thinking", "thinking": "hm", "signature": "sig"},
            {"type": "thinking", "thinking": "bare", "signature": ""},
            {"type": "redacted_thinking", "data": "opaque"},
            {"type": "text", "text": "Hello"},
            {"type": "tool_use", "id": "c1", "name": "f", "input": {"a": 1}},
            {"type": "tool_use", "id": "c2", "name": "g", "input": {}, "extra_content": {"google": {"thought_signature": "s"}}},
        ],
        "stop_reason": "tool_use",
        "stop_sequence": None,
        "usage": {
            "input_tokens": 10,
            "cache_read_input_tokens": 5,
            "cache_creation_input_tokens": 3,
            "cache_creation": {"ephemeral_5m_input_tokens": 1, "ephemeral_1h_input_tokens": 2},
            "output_tokens": 10,
            "output_tokens_details": {"thinking_tokens": 3},
        },
    }


def test_a_signature_of_a_tool_call_survives_the_way_back() -> None:
    block = rendered(ChatChoice(0, "", FinishReason.TOOL_CALLS, tool_calls=(ToolCall("c", "g", "{}", signature="s"),)))["content"][0]
    turns = [{"role": "user", "content": "x"}, {"role": "assistant", "content": [block]}, {"role": "user", "content": "y"}]
    request = AnthropicMessages().parse(json.dumps({"model": "m", "max_tokens": 5, "messages": turns}).encode(), None).chat
    assert request.messages[1].tool_calls == (ToolCall("c", "g", "{}", signature="s"),)
    assert request.wire_only == frozenset()


@pytest.mark.parametrize("arguments", ['{"a": 1', "[1]", '"x"', "nonsense"])
def test_arguments_that_are_no_object_stay_visible(arguments: str) -> None:
    message = rendered(ChatChoice(0, "", FinishReason.TOOL_CALLS, tool_calls=(ToolCall("c", "f", arguments),)))
    assert message["content"][0]["input"] == {"INVALID_JSON": arguments}


@pytest.mark.parametrize(
    ("reason", "word"),
    [
        (FinishReason.STOP, "end_turn"),
        (FinishReason.LENGTH, "max_tokens"),
        (FinishReason.TOOL_CALLS, "tool_use"),
        (FinishReason.CONTENT_FILTER, "refusal"),
        (None, None),
    ],
)
def test_stop_reasons(reason: FinishReason | None, word: str | None) -> None:
    assert rendered(ChatChoice(0, "t", reason))["stop_reason"] == word


def test_a_refusal_is_text_and_unknown_usage_is_null() -> None:
    message = rendered(ChatChoice(0, "", FinishReason.CONTENT_FILTER, refusal="I will not."))
    assert message["content"] == [{"type": "text", "text": "I will not."}]
    assert (message["usage"]["input_tokens"], message["usage"]["output_tokens"]) == (None, None)


def test_a_count_is_the_providers_bytes_or_its_figure() -> None:
    raw = b'{"input_tokens": 3, "more": 1}'
    assert AnthropicCountTokens().render(TokenCount(3, Wire.ANTHROPIC_MESSAGES, raw), explanation()) == raw
    assert AnthropicCountTokens().render(TokenCount(3, Wire.GEMINI, b"{}"), explanation()) == b'{"input_tokens":3}'


# --------------------------------------------------------------------------- streams


def renderer(wire: Wire = Wire.OPENAI_CHAT) -> Any:
    return AnthropicMessages().stream_renderer(AnthropicMessages().parse(BODY, None), target(), wire)


def events(*deltas: ChatDelta) -> list[tuple[str, Any]]:
    stream = renderer()
    raw = b"".join(stream.event(StreamEvent(b"", delta)) for delta in deltas) + stream.end(explanation)
    pairs = [block.split(b"\n") for block in raw.split(b"\n\n") if block]
    found = [(name.removeprefix(b"event: ").decode(), json.loads(data.removeprefix(b"data: "))) for name, data in pairs]
    assert all(payload["type"] == name for name, payload in found)
    return found


def test_a_translated_stream_has_every_event_in_its_order() -> None:
    out = events(
        ChatDelta(id="c-1", model="gpt", usage=TokenUsage(input_tokens=4)),
        ChatDelta(reasoning="hm"),
        ChatDelta(reasoning_signature="sig"),
        ChatDelta(text="Hel"),
        ChatDelta(text="lo"),
        ChatDelta(tool_calls=(ToolCallDelta(0, "t1", "f"),)),
        ChatDelta(tool_calls=(ToolCallDelta(0, arguments='{"a":'),)),
        ChatDelta(tool_calls=(ToolCallDelta(0, arguments="1}"),)),
        ChatDelta(tool_calls=(ToolCallDelta(1, "t2", "g", "{}"),)),
        ChatDelta(finish_reason=FinishReason.TOOL_CALLS),
        ChatDelta(usage=TokenUsage(input_tokens=5, output_tokens=6)),
    )
    assert [name for name, _ in out] == [
        *("message_start", "ping"),
        *("content_block_start", "content_block_delta", "content_block_delta", "content_block_stop"),
        *("content_block_start", "content_block_delta", "content_block_delta", "content_block_stop"),
        *("content_block_start", "content_block_delta", "content_block_delta", "content_block_stop"),
        *("content_block_start", "content_block_delta", "content_block_stop"),
        *("message_delta", "message_stop"),
    ]
    message = out[0][1]["message"]
    assert (message["id"], message["model"], message["content"], message["stop_reason"]) == ("msg_c-1", "gpt", [], None)
    assert (message["usage"]["input_tokens"], message["usage"]["output_tokens"]) == (4, 0)
    starts = [payload for name, payload in out if name == "content_block_start"]
    assert [(start["index"], start["content_block"]["type"]) for start in starts] == [
        (0, "thinking"),
        (1, "text"),
        (2, "tool_use"),
        (3, "tool_use"),
    ]
    assert starts[2]["content_block"] == {"type": "tool_use", "id": "t1", "name": "f", "input": {}}
    deltas = [(payload["index"], payload["delta"]) for name, payload in out if name == "content_block_delta"]
    assert deltas[:3] == [
        (0, {"type": "thinking_delta", "thinking": "hm"}),
        (0, {"type": "signature_delta", "signature": "sig"}),
        (1, {"type": "text_delta", "text": "Hel"}),
    ]
    assert "".join(delta["partial_json"] for index, delta in deltas if index == 2) == '{"a":1}'
    assert out[-2][1]["delta"] == {"stop_reason": "tool_use", "stop_sequence": None}
    assert (out[-2][1]["usage"]["input_tokens"], out[-2][1]["usage"]["output_tokens"]) == (5, 6)


def test_fragments_of_several_calls_may_come_in_turns() -> None:
    out = events(
        ChatDelta(tool_calls=(ToolCallDelta(0, "t1", "f"), ToolCallDelta(1, "t2", "g"))),
        ChatDelta(tool_calls=(ToolCallDelta(0, arguments='{"a"'),)),
        ChatDelta(tool_calls=(ToolCallDelta(1, arguments="{}"),)),
        ChatDelta(tool_calls=(ToolCallDelta(0, arguments=":1}"),)),
        ChatDelta(finish_reason=FinishReason.TOOL_CALLS),
    )
    open_blocks: set[int] = set()
    received: dict[int, str] = {}
    for name, payload in out:
        if name == "content_block_start":
            open_blocks.add(payload["index"])
        elif name == "content_block_stop":
            open_blocks.remove(payload["index"])
        elif name == "content_block_delta":
            assert payload["index"] in open_blocks
            received[payload["index"]] = received.get(payload["index"], "") + payload["delta"]["partial_json"]
    assert received == {0: '{"a":1}', 1: "{}"}
    assert open_blocks == set()


def test_an_empty_stream_is_a_message_without_content() -> None:
    out = events(ChatDelta(finish_reason=FinishReason.STOP))
    assert [name for name, _ in out] == ["message_start", "ping", "message_delta", "message_stop"]
    assert out[0][1]["message"]["id"].startswith("msg_")
    assert len(out[0][1]["message"]["id"]) > len("msg_")
    assert out[2][1]["usage"]["output_tokens"] is None


def test_a_same_wire_stream_passes_byte_for_byte_and_ends_where_the_upstream_ended() -> None:
    raw = 'event: content_block_delta\r\ndata: {"type": "content_block_delta" , "x": "\u2028é"}\r\n\r\n'.encode()
    stream = renderer(Wire.ANTHROPIC_MESSAGES)
    assert stream.event(StreamEvent(raw, ChatDelta(text="\u2028é"))) == raw
    assert stream.end(explanation) == b""


@pytest.mark.parametrize("wire", [Wire.OPENAI_CHAT, Wire.ANTHROPIC_MESSAGES])
def test_U09_a_broken_stream_ends_in_anthropics_error_event_and_no_message_stop(wire: Wire) -> None:
    raw = renderer(wire).error(from_upstream(StreamTruncated("cut")), "req_1")
    assert raw.startswith(b"event: error\ndata: ")
    assert b"message_stop" not in raw
    payload = json.loads(raw.split(b"data: ")[1])
    assert (payload["type"], payload["error"]["type"], payload["request_id"]) == ("error", "api_error", "req_1")


# --------------------------------------------------------------------------- errors


def status(number: int) -> GatewayError:
    return GatewayError(number, Category.BUDGET, "a_code", "A message.", "Do something.")


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (invalid_request("bad", param="max_tokens"), "invalid_request_error"),
        (invalid_key(), "authentication_error"),
        (status(402), "billing_error"),
        (status(403), "permission_error"),
        (status(404), "not_found_error"),
        (status(413), "request_too_large"),
        (status(415), "invalid_request_error"),
        (from_upstream(RateLimited("slow down")), "rate_limit_error"),
        (unexpected(), "api_error"),
        (status(502), "api_error"),
        (overloaded(), "overloaded_error"),
        (status(504), "timeout_error"),
    ],
)
def test_errors_have_anthropics_envelope_and_our_advice(error: GatewayError, kind: str) -> None:
    body = json.loads(AnthropicMessages().render_error(error, "req_1"))
    assert (body["type"], body["request_id"], body["error"]["type"]) == ("error", "req_1", kind)
    assert body["error"]["message"] == error.message
    assert (body["error"]["code"], body["error"]["recovery"]) == (error.code, error.recovery)
    assert AnthropicMessages().headers("req_1") == {"request-id": "req_1"}
