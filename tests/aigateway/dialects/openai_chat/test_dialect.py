"""The OpenAI chat dialect: what clients may send, what they get back (R102)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from aigateway.dialects.openai_chat.dialect import OpenAIChat
from aigateway.errors import GatewayError
from providers.upstream.types import (
    Capability,
    ChatChoice,
    ChatDelta,
    ChatResponse,
    FinishReason,
    ImagePart,
    ReasoningPart,
    Role,
    StreamEvent,
    TextPart,
    TokenLogprob,
    TokenUsage,
    ToolCall,
    ToolCallDelta,
    ToolChoice,
    ToolChoiceMode,
    Wire,
)
from tests.aigateway.samples import explanation, target

CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}


def body(**fields: Any) -> bytes:
    return json.dumps({"model": "m", "messages": [{"role": "user", "content": "Hi"}], **fields}).encode()


def refused(raw: bytes) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        OpenAIChat().parse(raw, None)
    return caught.value


def test_a_plain_request_becomes_canonical_and_keeps_its_source() -> None:
    raw = body(temperature=0.5, max_tokens=9, stop="END", user="u-1")
    call = OpenAIChat().parse(raw, "writing")
    request = call.request
    assert (request.model, request.temperature, request.max_output_tokens, request.stop) == ("m", 0.5, 9, ("END",))
    assert request.messages[0].role is Role.USER
    assert request.messages[0].parts == (TextPart("Hi"),)
    assert request.body_bytes == len(raw)
    assert call.context == "writing"
    assert request.source is not None
    assert request.source.body["user"] == "u-1"
    assert request.wire_only == frozenset()


def test_the_newer_output_limit_wins_over_the_older_name() -> None:
    assert OpenAIChat().parse(body(max_completion_tokens=7), None).request.max_output_tokens == 7


def test_tools_images_and_schemas_name_the_capabilities_a_target_needs() -> None:
    call = OpenAIChat().parse(
        body(
            messages=[
                {"role": "developer", "content": "Be brief."},
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "What is it?"},
                        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "low"}},
                        {"type": "image_url", "image_url": {"url": "https://example.org/cat.png"}},
                    ],
                },
                {"role": "assistant", "content": None, "tool_calls": [CALL]},
                {"role": "tool", "tool_call_id": "c1", "content": "42"},
            ],
            tools=[{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
            tool_choice={"type": "function", "function": {"name": "f"}},
            response_format={"type": "json_schema", "json_schema": {"name": "s", "schema": {"type": "object"}}},
            stream=True,
        ),
        None,
    )  # fmt: skip
    request = call.request
    assert request.required_capabilities() == {
        Capability.CHAT,
        Capability.STREAM,
        Capability.TOOLS,
        Capability.VISION,
        Capability.JSON_SCHEMA,
    }
    assert request.messages[0].role is Role.SYSTEM
    assert request.messages[1].parts[1] == ImagePart(data="AAAA", media_type="image/png", detail="low")
    assert request.messages[1].parts[2] == ImagePart(url="https://example.org/cat.png")
    assert request.messages[2].tool_calls == (ToolCall("c1", "f", "{}"),)
    assert request.messages[3].tool_call_id == "c1"
    assert request.tool_choice is not None
    assert (request.tool_choice.mode, request.tool_choice.name) == (ToolChoiceMode.NAMED, "f")


@pytest.mark.parametrize(
    ("raw", "param"),
    [
        (b'{"messages": [{"role": "user", "content": "x"}]}', "model"),
        (body(messages=[]), "messages"),
        (body(messages=[{"role": "robot", "content": "x"}]), "messages[0].role"),
        (body(messages=[{"role": "user", "content": 5}]), "messages[0].content"),
        (body(messages=[{"role": "tool", "content": "x"}]), "messages[0].tool_call_id"),
        (body(messages=[{"role": "user", "content": [{"type": "text"}]}]), "messages[0].content[0].text"),
        (body(messages=[{"role": "user", "content": [{"type": "image_url"}]}]), "messages[0].content[0].image_url"),
        (body(max_tokens=0), "max_tokens"),
        (body(max_tokens=True), "max_tokens"),
        (body(max_tokens="5"), "max_tokens"),
        (body(n=17), "n"),
        (body(temperature=3), "temperature"),
        (body(top_p=-0.1), "top_p"),
        (body(tools=[{"type": "function", "function": {"name": "f"}}] * 257), "tools"),
        (body(tool_choice="sometimes"), "tool_choice"),
        (body(response_format={"type": "json_schema"}), "response_format.json_schema"),
        (body(api_base="https://evil.example"), "api_base"),
        (body(base_url="https://evil.example"), "base_url"),
        (body(extra_headers={"a": "b"}), "extra_headers"),
        (body(max_token=5), "max_token"),
        (body(max_tokens=5, max_completion_tokens=6), "max_tokens"),
        (body(seed=5, random_seed=6), "random_seed"),
        (body(stop=["x"] * 65), "stop"),
        (body(tool_choice={"type": "function"}), "tool_choice.function"),
    ],
)
def test_B08_S01_a_wrong_or_unknown_field_is_named(raw: bytes, param: str) -> None:
    error = refused(raw)
    assert error.status == 400
    assert error.param == param


@pytest.mark.parametrize(
    "raw",
    [b"", b"{", b"[]", b'"x"', b"\xef\xbb\xbf{}", b"[" * 100_000, b'{"a": NaN}', b'{"a": 1e400}', b'{"model": "a", "model": "b"}'],
)
def test_B01_to_B07_unacceptable_json_is_refused_before_anything_else(raw: bytes) -> None:
    assert refused(raw).status == 400


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"logit_bias": {"1": 2}}, "logit_bias"),
        ({"prompt_mode": "reasoning"}, "prompt_mode"),
        ({"tools": [{"type": "custom", "custom": {"name": "x"}}]}, "tools[0].type 'custom'"),
        ({"tools": [{"type": "function", "function": {"name": "f", "new": 1}}]}, "tools[0].function.new"),
        ({"tool_choice": {"type": "allowed_tools", "allowed_tools": {}}}, "tool_choice.type 'allowed_tools'"),
        (
            {"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}]},
            "messages[0].content[0].type 'input_audio'",
        ),
        ({"messages": [{"role": "user", "content": [{"type": "file", "file": {}}]}]}, "messages[0].content[0].type 'file'"),
        ({"messages": [{"role": "user", "content": [{"type": "document_url"}]}]}, "messages[0].content[0].type 'document_url'"),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "x", "new": 1}]}]}, "messages[0].content[0].new"),
        ({"messages": [{"role": "assistant", "content": "x", "audio": {"id": "a"}}]}, "messages[0].audio"),
        ({"messages": [{"role": "assistant", "content": "x", "prefix": True}]}, "messages[0].prefix"),
        ({"messages": [{"role": "assistant", "tool_calls": [{"id": "c", "type": "custom"}]}]}, "messages[0].tool_calls[0].type 'custom'"),
        ({"messages": [{"role": "function", "name": "f", "content": "x"}]}, "messages[0].role 'function'"),
    ],
)
def test_what_only_the_same_wire_format_honours_is_named(fields: dict[str, Any], named: str) -> None:
    assert OpenAIChat().parse(body(**fields), None).chat.wire_only == {named}


@pytest.mark.parametrize(
    ("fields", "hints"),
    [
        ({"store": True, "metadata": {"a": "b"}}, {"store", "metadata"}),
        ({"service_tier": "flex"}, {"service_tier"}),
        ({"service_tier": "auto", "store": False, "logprobs": False, "frequency_penalty": 0, "modalities": ["text"]}, set()),
        ({"messages": [{"role": "assistant", "content": "x", "annotations": [{}]}]}, {"annotations"}),
        (
            {"messages": [{"role": "user", "content": [{"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}]}]},
            {"cache_control"},
        ),
    ],
)
def test_labels_and_echoes_are_hints_and_neutral_values_are_nothing(fields: dict[str, Any], hints: set[str]) -> None:
    request = OpenAIChat().parse(body(**fields), None).chat
    assert (request.hints, request.wire_only) == (hints, frozenset())


def test_mistrals_words_mean_what_openai_calls_otherwise() -> None:
    image = {"type": "image_url", "image_url": "https://example.org/cat.png"}
    thought = {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}
    call = {"id": "c1", "function": {"name": "f", "arguments": {"a": 1}}, "index": 0}
    messages = [
        {"role": "user", "content": [image]},
        {"role": "assistant", "content": [thought, {"type": "text", "text": "I ask."}], "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "x"},
    ]
    request = OpenAIChat().parse(body(random_seed=7, tool_choice="any", messages=messages), None).chat
    assert (request.seed, request.tool_choice) == (7, ToolChoice(ToolChoiceMode.REQUIRED))
    assert request.messages[0].parts == (ImagePart(url="https://example.org/cat.png"),)
    assert request.messages[1].parts == (ReasoningPart("hm"), TextPart("I ask."))
    assert request.messages[1].tool_calls == (ToolCall("c1", "f", '{"a":1}'),)
    assert request.wire_only == frozenset()
    assert request.source is not None
    assert (request.source.body["seed"], request.source.body["tool_choice"]) == (7, "required")
    assert "random_seed" not in request.source.body


@pytest.mark.parametrize(
    ("message", "parts"),
    [
        ({"content": "x", "reasoning_content": "hm"}, (ReasoningPart("hm"), TextPart("x"))),
        ({"content": "x", "reasoning": "hm"}, (ReasoningPart("hm"), TextPart("x"))),
        (
            {
                "content": "x",
                "reasoning_content": "hm",
                "thinking_blocks": [
                    {"type": "thinking", "thinking": "hm", "signature": "sig"},
                    {"type": "redacted_thinking", "data": "opaque"},
                ],
            },
            (ReasoningPart("hm", "sig"), ReasoningPart("", "opaque", redacted=True), TextPart("x")),
        ),
        ({"content": None, "refusal": "No."}, (TextPart("No."),)),
        ({"content": [{"type": "refusal", "refusal": "No."}]}, (TextPart("No."),)),
    ],
)
def test_earlier_reasoning_and_refusals_are_part_of_the_turn(message: dict[str, Any], parts: tuple[Any, ...]) -> None:
    request = OpenAIChat().parse(body(messages=[{"role": "assistant", **message}]), None).chat
    assert (request.messages[0].parts, request.wire_only, request.hints) == (parts, frozenset(), frozenset())


def test_a_description_of_a_schema_goes_into_the_schema() -> None:
    wanted = {"type": "json_schema", "json_schema": {"name": "s", "description": "A city.", "schema": {"type": "object"}}}
    response_format = OpenAIChat().parse(body(response_format=wanted), None).chat.response_format
    assert response_format is not None
    assert response_format.schema == {"type": "object", "description": "A city."}


@pytest.mark.parametrize(("fields", "alternatives"), [({"logprobs": True}, 0), ({"logprobs": True, "top_logprobs": 3}, 3), ({}, None)])
def test_log_probabilities_asked_for(fields: dict[str, Any], alternatives: int | None) -> None:
    assert OpenAIChat().parse(body(**fields), None).chat.logprobs == alternatives


def test_opaque_state_and_log_probabilities_reach_the_client_and_come_back() -> None:
    choice = ChatChoice(
        0,
        "Hi",
        FinishReason.TOOL_CALLS,
        reasoning=(ReasoningPart("hm", "sig"),),
        tool_calls=(ToolCall("c1", "f", "{}", signature="s"),),
        logprobs=(TokenLogprob("H", -0.5, (("H", -0.5), ("é", -1.0))),),
    )
    response = ChatResponse("x", "m", (choice,), TokenUsage(1, output_tokens=1), Wire.GEMINI, b"")
    rendered = json.loads(OpenAIChat().render(response, explanation()))["choices"][0]
    assert rendered["logprobs"]["content"] == [
        {
            "token": "H",
            "logprob": -0.5,
            "bytes": [72],
            "top_logprobs": [{"token": "H", "logprob": -0.5, "bytes": [72]}, {"token": "é", "logprob": -1.0, "bytes": [195, 169]}],
        }
    ]
    turn = OpenAIChat().parse(body(messages=[rendered["message"]]), None).chat.messages[0]
    assert turn.tool_calls == choice.tool_calls
    assert turn.parts == (ReasoningPart("hm", "sig"), TextPart("Hi"))


def test_a_same_wire_answer_is_returned_byte_for_byte() -> None:
    raw = b'{"id":"x" , "choices":[]}'
    response = ChatResponse("x", "m", (), TokenUsage(), Wire.OPENAI_CHAT, raw)
    assert OpenAIChat().render(response, explanation()) == raw


def test_a_translated_answer_is_a_chat_completion_with_openai_usage() -> None:
    choice = ChatChoice(0, "Hello", FinishReason.TOOL_CALLS, tool_calls=(ToolCall("c1", "f", '{"a":1}'),))
    usage = TokenUsage(input_tokens=10, cache_read_tokens=5, output_tokens=7, reasoning_tokens=3)
    response = ChatResponse("msg_1", "claude", (choice,), usage, Wire.ANTHROPIC_MESSAGES, b"")
    rendered = json.loads(OpenAIChat().render(response, explanation()))
    assert rendered["object"] == "chat.completion"
    assert rendered["choices"][0]["finish_reason"] == "tool_calls"
    assert rendered["choices"][0]["message"]["tool_calls"][0]["function"] == {"name": "f", "arguments": '{"a":1}'}
    assert rendered["usage"]["prompt_tokens"] == 15
    assert rendered["usage"]["completion_tokens"] == 10
    assert rendered["usage"]["prompt_tokens_details"] == {"cached_tokens": 5}


def test_unknown_usage_is_null_and_never_zero() -> None:
    response = ChatResponse("x", "m", (ChatChoice(0, "t", FinishReason.STOP),), TokenUsage(), Wire.ANTHROPIC_MESSAGES, b"")
    assert json.loads(OpenAIChat().render(response, explanation()))["usage"] is None


def chunks(raw: bytes) -> list[Any]:
    events = [part.removeprefix(b"data: ") for part in raw.split(b"\n\n") if part]
    return [event.decode() if event == b"[DONE]" else json.loads(event) for event in events]


def test_a_translated_stream_has_role_content_finish_usage_and_done() -> None:
    call = OpenAIChat().parse(body(stream=True, stream_options={"include_usage": True}), None)
    renderer = OpenAIChat().stream_renderer(call, target(), Wire.ANTHROPIC_MESSAGES)
    deltas = [
        ChatDelta(id="msg_1", model="claude", usage=TokenUsage(input_tokens=4)),
        ChatDelta(text="Hel"),
        ChatDelta(text="lo"),
        ChatDelta(tool_calls=(ToolCallDelta(0, "c1", "f"),)),
        ChatDelta(tool_calls=(ToolCallDelta(0, arguments="{}"),)),
        ChatDelta(finish_reason=FinishReason.TOOL_CALLS, usage=TokenUsage(output_tokens=6)),
    ]
    raw = b"".join(renderer.event(StreamEvent(b"", delta)) for delta in deltas) + renderer.end(explanation)
    out = chunks(raw)
    assert out[0]["choices"][0]["delta"] == {"role": "assistant", "content": "Hel"}
    assert out[0]["id"] == "msg_1"
    assert "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in out[:5]) == "Hello"
    assert out[2]["choices"][0]["delta"]["tool_calls"][0]["id"] == "c1"
    assert out[4]["choices"][0]["finish_reason"] == "tool_calls"
    assert out[5]["choices"] == []
    assert out[5]["usage"]["total_tokens"] == 10
    assert out[6] == "[DONE]"


def same_wire_renderer(**fields: Any) -> Any:
    call = OpenAIChat().parse(body(stream=True, **fields), None)
    return OpenAIChat().stream_renderer(call, target(), Wire.OPENAI_CHAT)


USAGE_EVENT = StreamEvent(b'data: {"choices": [], "usage": {"prompt_tokens": 1}}\n\n', ChatDelta(usage=TokenUsage(1, output_tokens=1)))


def test_U29_the_usage_event_the_gateway_asked_for_is_kept_from_clients_that_did_not() -> None:
    assert same_wire_renderer().event(USAGE_EVENT) == b""


def test_U29_the_usage_event_passes_to_clients_that_asked() -> None:
    assert same_wire_renderer(stream_options={"include_usage": True}).event(USAGE_EVENT) == USAGE_EVENT.raw


def test_U24_a_same_wire_stream_passes_byte_for_byte_and_ends_where_the_upstream_ended() -> None:
    renderer = same_wire_renderer()
    raw = 'data:  {"choices":[{"delta":{"content":"\u2028é"}}]}\r\n\r\n'.encode()
    assert renderer.event(StreamEvent(raw, ChatDelta(text="\u2028é"))) == raw
    assert renderer.end(explanation) == b""


def test_U09_a_broken_stream_ends_in_an_error_event_without_a_terminal() -> None:
    error = refused(body(n=99))
    raw = same_wire_renderer().error(error, "req_1")
    assert raw.startswith(b"event: error\ndata: ")
    assert b"[DONE]" not in raw
    assert json.loads(raw.split(b"data: ")[1])["error"]["request_id"] == "req_1"


def test_a_tier_that_costs_more_than_the_list_price_is_refused() -> None:
    assert refused(body(service_tier="priority")).param == "service_tier"
