"""Shapes of older servers and of proxies in front of others, which recordings hold and specifications do not."""

from __future__ import annotations

import json
from typing import Any

import pytest

from providers.upstream.adapters import ADAPTERS
from providers.upstream.errors import AuthRejected, ContextTooLong, InvalidBody, UpstreamError
from providers.upstream.sse import SseEvent
from providers.upstream.types import ChatResponse, HttpResponse, TokenUsage, Wire
from tests.providers.upstream.words import says


def parsed(wire: Wire, body: Any) -> ChatResponse:
    return ADAPTERS[wire].parse_chat(HttpResponse(200, {"content-type": "application/json"}, json.dumps(body).encode()))


def chat_answer(message: dict[str, Any], **others: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "message": {"role": "assistant", **message}, "finish_reason": "stop"}], **others}


def usage_of(usage: dict[str, Any]) -> TokenUsage:
    return parsed(Wire.OPENAI_CHAT, chat_answer({"content": "x"}, usage=usage)).usage


def event(data: str) -> SseEvent:
    return SseEvent(event="", data=data.encode(), raw=f"data: {data}\n\n".encode())


CALL = {"id": 0, "type": "function", "function": {"name": "get_weather", "parameters": {"city": "Bern"}}}


def test_the_oldest_tgi_calls_arguments_parameters() -> None:
    call = parsed(Wire.OPENAI_CHAT, chat_answer({"tool_calls": [CALL]})).choices[0].tool_calls[0]
    assert (call.id, call.name, json.loads(call.arguments)) == ("call_0", "get_weather", {"city": "Bern"})


def test_the_oldest_tgi_calls_arguments_parameters_in_streams() -> None:
    chunk = {"choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0, **CALL}]}, "finish_reason": None}]}
    fragment = ADAPTERS[Wire.OPENAI_CHAT].stream_parser().feed(event(json.dumps(chunk))).tool_calls[0]
    assert (fragment.id, json.loads(fragment.arguments)) == ("call_0", {"city": "Bern"})


def test_a_transcription_is_no_chat_answer_of_cohere() -> None:
    with pytest.raises(InvalidBody, check=says("an answer without a message")):
        parsed(Wire.COHERE, {"text": "Spoken words."})


@pytest.mark.parametrize("mark", [{"response_id": "r"}, {"generation_id": "g"}, {"finish_reason": "COMPLETE"}])
def test_the_first_version_of_coheres_chat_is_read(mark: dict[str, str]) -> None:
    assert parsed(Wire.COHERE, {"text": "Written words.", **mark}).choices[0].text == "Written words."


@pytest.mark.parametrize("field", ["prompt_cache_hit_tokens", "num_cached_tokens", "cached_tokens", "cache_read_input_tokens"])
@pytest.mark.parametrize("details", [None, {}, {"cached_tokens": None}, {"cached_tokens": 0}])
def test_cached_tokens_told_beside_the_details_are_taken_out_of_the_prompt(field: str, details: Any) -> None:
    usage = usage_of({"prompt_tokens": 100, "completion_tokens": 5, "total_tokens": 105, field: 64, "prompt_tokens_details": details})
    assert (usage.input_tokens, usage.cache_read_tokens) == (36, 64)


def test_details_win_over_what_stands_beside_them() -> None:
    usage = usage_of({"prompt_tokens": 100, "completion_tokens": 5, "cached_tokens": 64, "prompt_tokens_details": {"cached_tokens": 60}})
    assert (usage.input_tokens, usage.cache_read_tokens) == (40, 60)


def test_no_seconds_of_audio_mean_that_what_is_on_top_is_reasoning() -> None:
    usage = usage_of({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 35, "prompt_audio_seconds": None})
    assert (usage.input_tokens, usage.output_tokens, usage.reasoning_tokens, usage.audio_input_tokens) == (10, 5, 20, None)


def test_more_reasoning_than_completion_comes_on_top() -> None:
    usage = usage_of(
        {"prompt_tokens": 28, "completion_tokens": 9, "total_tokens": 37, "completion_tokens_details": {"reasoning_tokens": 69}}
    )
    assert (usage.input_tokens, usage.output_tokens, usage.reasoning_tokens) == (28, 9, 69)


def test_a_proxys_end_marker_ends_geminis_stream() -> None:
    parser = ADAPTERS[Wire.GEMINI].stream_parser()
    parser.feed(event('{"candidates":[{"content":{"parts":[{"text":"Hi"}]},"finishReason":"STOP"}]}'))
    assert parser.feed(event("[DONE]")).is_end
    assert parser.is_complete


def test_an_end_marker_alone_completes_nothing_of_gemini() -> None:
    parser = ADAPTERS[Wire.GEMINI].stream_parser()
    parser.feed(event('{"candidates":[{"content":{"parts":[{"text":"Hi"}]}}]}'))
    parser.feed(event("[DONE]"))
    assert not parser.is_complete


NAMELESS_CALLS = {
    Wire.ANTHROPIC_MESSAGES: {"type": "message", "content": [{"type": "tool_use", "name": "a", "input": {}}] * 2},
    Wire.COHERE: {"message": {"tool_calls": [{"function": {"name": "a", "arguments": "{}"}}] * 2}},
    Wire.OPENAI_RESPONSES: {"object": "response", "output": [{"type": "function_call", "name": "a", "arguments": "{}"}] * 2},
}


@pytest.mark.parametrize("wire", NAMELESS_CALLS)
def test_calls_without_an_id_are_named_by_their_place(wire: Wire) -> None:
    calls = parsed(wire, NAMELESS_CALLS[wire]).choices[0].tool_calls
    assert [call.id for call in calls] == ["call_0", "call_1"]


def test_a_streamed_call_without_an_id_is_named_by_its_place() -> None:
    start = {"type": "content_block_start", "index": 3, "content_block": {"type": "tool_use", "name": "a", "input": {}}}
    assert ADAPTERS[Wire.ANTHROPIC_MESSAGES].stream_parser().feed(event(json.dumps(start))).tool_calls[0].id == "call_0"


def error(status: int, message: str) -> UpstreamError:
    body = json.dumps({"error": {"message": message, "type": None, "code": None}}).encode()
    return ADAPTERS[Wire.OPENAI_CHAT].parse_error(HttpResponse(status, {}, body))


@pytest.mark.parametrize("status", [400, 413, 422, 429, 500])
@pytest.mark.parametrize(
    "message", ["prompt is too long: 9 tokens > 8 maximum", "This model's maximum context length is 8", "Request too large"]
)
def test_what_does_not_fit_is_too_long_whatever_the_status(status: int, message: str) -> None:
    assert type(error(status, message)) is ContextTooLong


@pytest.mark.parametrize("status", [400, 403])
def test_a_bad_key_told_by_words_is_a_bad_key(status: int) -> None:
    assert type(error(status, "Incorrect API key provided: xa***.")) is AuthRejected
