"""What compatible hosts answer, with all their differences (wire.md)."""

from __future__ import annotations

import json

import pytest

from providers.upstream.adapters import ADAPTERS
from providers.upstream.errors import CallerFault, InvalidBody, ServerFailed, StreamTruncated
from providers.upstream.sse import SseEvent, SseParser
from providers.upstream.types import ChatDelta, FinishReason, HttpResponse, TokenLogprob, TokenUsage, Wire
from tests.providers.upstream import rig

ADAPTER = ADAPTERS[Wire.OPENAI_CHAT]


def parsed(body: dict | bytes):
    return ADAPTER.parse_chat(HttpResponse(200, {}, body if isinstance(body, bytes) else json.dumps(body).encode()))


def with_message(message: dict, finish: str | None = "stop", **extra):
    return {"id": "x", "model": "m", "choices": [{"index": 0, "message": message, "finish_reason": finish}], **extra}


def with_usage(usage: dict, **extra) -> TokenUsage:
    return parsed(with_message({"content": "x"}, usage=usage, **extra)).usage


def read(*events: bytes | dict) -> tuple[list[ChatDelta], object]:
    parser = ADAPTER.stream_parser()
    raw = b"".join(event if isinstance(event, bytes) else b"data: " + json.dumps(event).encode() + b"\n\n" for event in events)
    return [parser.feed(event) for event in SseParser().feed(raw)], parser


def delta(content: dict, finish: str | None = None, **extra) -> dict:
    return {"id": "c1", "model": "m", "choices": [{"index": 0, "delta": content, "finish_reason": finish}], **extra}


# --------------------------------------------------------------------------- usage

USAGE = [
    # plain OpenAI: cached and reasoning are inside
    (
        {"prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 150, "prompt_tokens_details": {"cached_tokens": 60},
         "completion_tokens_details": {"reasoning_tokens": 20}},
        TokenUsage(input_tokens=40, cache_read_tokens=60, output_tokens=30, reasoning_tokens=20),
    ),
    # cache writes are inside too
    (
        {"prompt_tokens": 1220, "completion_tokens": 100, "total_tokens": 1320,
         "prompt_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 1217}},
        TokenUsage(input_tokens=3, cache_read_tokens=0, cache_write_tokens=1217, output_tokens=100),
    ),
    # reads and writes reported for the same tokens: the read counts
    (
        {"prompt_tokens": 2168, "completion_tokens": 1, "total_tokens": 2169,
         "prompt_tokens_details": {"cached_tokens": 2161, "cache_write_tokens": 2161}},
        TokenUsage(input_tokens=0, cache_read_tokens=2161, cache_write_tokens=7, output_tokens=1),
    ),
    # more cached than prompt tokens: clamped
    (
        {"prompt_tokens": 347, "completion_tokens": 18, "total_tokens": 365, "prompt_tokens_details": {"cached_tokens": 403}},
        TokenUsage(input_tokens=0, cache_read_tokens=347, output_tokens=18),
    ),
    # reasoning outside of completion, told by the total
    (
        {"prompt_tokens": 470, "completion_tokens": 68, "total_tokens": 723, "completion_tokens_details": {"reasoning_tokens": 185}},
        TokenUsage(input_tokens=470, output_tokens=68, reasoning_tokens=185),
    ),
    # audio outside of prompt, told by the total
    (
        {"prompt_tokens": 9, "completion_tokens": 201, "total_tokens": 585, "prompt_tokens_details": {"audio_tokens": 375}},
        TokenUsage(input_tokens=9, output_tokens=201, audio_input_tokens=375),
    ),
    # audio outside of prompt without a count of its own
    (
        {"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 30, "prompt_audio_seconds": 2},
        TokenUsage(input_tokens=9, output_tokens=1, audio_input_tokens=20),
    ),
    # thinking that only the total shows (Google's OpenAI door)
    (
        {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 115},
        TokenUsage(input_tokens=10, output_tokens=5, reasoning_tokens=100),
    ),
    # more reasoning than completion: it cannot be inside (Perplexity's deep research)
    (
        {"prompt_tokens": 33, "completion_tokens": 7163, "total_tokens": 7196, "reasoning_tokens": 73997},
        TokenUsage(input_tokens=33, output_tokens=7163, reasoning_tokens=73997),
    ),
    # other names for cached tokens
    (
        {"prompt_tokens": 10, "completion_tokens": 1, "prompt_cache_hit_tokens": 8, "prompt_cache_miss_tokens": 2},
        TokenUsage(input_tokens=2, cache_read_tokens=8, output_tokens=1),
    ),
    ({"prompt_tokens": 10, "completion_tokens": 1, "num_cached_tokens": 8}, TokenUsage(2, cache_read_tokens=8, output_tokens=1)),
    # zero is zero, nonsense is missing
    ({"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}, TokenUsage(input_tokens=0, output_tokens=0)),
    ({"prompt_tokens": True, "completion_tokens": -1}, TokenUsage()),
    ({"prompt_tokens": 5.0, "completion_tokens": 2.5}, TokenUsage(input_tokens=5)),
    ({"prompt_tokens": 5, "completion_tokens": 2, "prompt_tokens_details": None}, TokenUsage(input_tokens=5, output_tokens=2)),
]  # fmt: skip


@pytest.mark.parametrize(("usage", "buckets"), USAGE)
def test_M10_M11_usage_comes_out_in_disjoint_buckets(usage, buckets) -> None:
    assert with_usage(usage) == buckets


@pytest.mark.parametrize("missing", [{}, {"usage": None}, {"usage": []}])
def test_U30_missing_usage_is_unknown_not_zero(missing) -> None:
    assert parsed(with_message({"content": "x"}, **missing)).usage == TokenUsage()


def test_U30_a_usage_of_zero_is_zero_and_not_missing() -> None:
    zero = with_usage({"prompt_tokens": 0, "completion_tokens": 0})
    assert (zero.input_tokens, zero.output_tokens, zero.is_complete) == (0, 0, True)


def test_older_llama_cpp_servers_count_in_timings() -> None:
    answer = parsed(with_message({"content": "x"}, timings={"cache_n": 4, "prompt_n": 6, "predicted_n": 3}))
    assert answer.usage == TokenUsage(input_tokens=6, cache_read_tokens=4, output_tokens=3)


# --------------------------------------------------------------------------- whole answers


def test_the_body_is_kept_as_received() -> None:
    body = json.dumps(rig.completion()).encode()
    answer = parsed(body)
    assert answer.body is body
    assert (answer.id, answer.model, answer.created_s, answer.wire) == ("chatcmpl-1", "gpt-4o-2024", 1, Wire.OPENAI_CHAT)


@pytest.mark.parametrize(
    ("message", "text", "reasoning"),
    [
        ({"content": "a"}, "a", ""),
        ({"content": None, "tool_calls": None, "refusal": None}, "", ""),
        ({"content": "a", "reasoning_content": "r"}, "a", "r"),
        ({"content": "a", "reasoning": "r", "reasoning_details": [{}]}, "a", "r"),
        ({"content": "a", "reasoning": None, "reasoning_content": None}, "a", ""),
        ({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "r"}]}, {"type": "text", "text": "a"}]}, "a", "r"),
        ({"content": {"title": "t"}}, '{"title":"t"}', ""),
    ],
)
def test_text_and_reasoning_wherever_a_host_puts_them(message, text, reasoning) -> None:
    (choice,) = parsed(with_message(message)).choices
    assert (choice.text, "".join(part.text for part in choice.reasoning)) == (text, reasoning)


def test_tool_calls_with_arguments_as_text_or_object_and_without_id() -> None:
    calls = [
        {"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"x": '}},
        {"type": "function", "function": {"name": "g", "arguments": {"y": 1}}},
    ]
    (choice,) = parsed(with_message({"content": None, "tool_calls": calls}, "tool_calls")).choices
    assert [(call.id, call.name, call.arguments) for call in choice.tool_calls] == [("a", "f", '{"x": '), ("call_1", "g", '{"y":1}')]


def test_the_old_function_call_is_a_tool_call() -> None:
    (choice,) = parsed(with_message({"function_call": {"name": "f", "arguments": "{}"}}, "function_call")).choices
    assert (choice.tool_calls[0].name, choice.finish_reason) == ("f", FinishReason.TOOL_CALLS)


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("stop", FinishReason.STOP),
        ("length", FinishReason.LENGTH),
        ("tool_calls", FinishReason.TOOL_CALLS),
        ("content_filter", FinishReason.CONTENT_FILTER),
        ("eos_token", FinishReason.STOP),
        ("stop_sequence", FinishReason.STOP),
        ("model_length", FinishReason.LENGTH),
        ("something new", FinishReason.STOP),
        (None, None),
    ],
)
def test_finish_reasons(word, reason) -> None:
    assert parsed(with_message({"content": "x"}, word)).choices[0].finish_reason is reason


def test_tool_calls_that_finish_with_stop_finish_with_tool_calls() -> None:
    call = {"id": "a", "function": {"name": "f", "arguments": "{}"}}
    assert parsed(with_message({"tool_calls": [call]}, "stop")).choices[0].finish_reason is FinishReason.TOOL_CALLS


def test_log_probabilities_are_read() -> None:
    top = [{"token": "a", "logprob": -0.1, "bytes": [97]}, {"token": "b", "logprob": -2}]
    answer = with_message({"content": "a"})
    answer["choices"][0]["logprobs"] = {"content": [{"token": "a", "logprob": -0.1, "top_logprobs": top}, {"token": "c"}]}
    assert parsed(answer).choices[0].logprobs == (
        TokenLogprob("a", -0.1, (("a", -0.1), ("b", -2.0))),
        TokenLogprob("c", -9999.0),
    )
    assert parsed(with_message({"content": "a"})).choices[0].logprobs == ()


def test_a_provider_that_breaks_off_did_not_stop() -> None:
    with pytest.raises(StreamTruncated):
        parsed(with_message({"content": "x"}, "insufficient_system_resource"))


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"id": "x"}', b'{"choices": []}', b'{"choices": [{}]}', b'{"choices": null}'])
def test_U15_what_is_no_answer_is_an_invalid_body(body) -> None:
    with pytest.raises(InvalidBody):
        parsed(body)


def test_a_byte_order_mark_is_tolerated() -> None:
    assert parsed(b"\xef\xbb\xbf" + json.dumps(rig.completion()).encode()).choices[0].text == "Hello"


def test_U16_an_error_in_a_200_is_an_error() -> None:
    with pytest.raises(ServerFailed):
        parsed({"error": {"message": "x", "code": 502}})


# --------------------------------------------------------------------------- streams


def test_U28_cumulative_usage_is_never_added_up() -> None:
    running = [{"prompt_tokens": 9, "completion_tokens": count, "total_tokens": 9 + count} for count in (1, 2, 3)]
    everywhere = [delta({"content": "x"}, usage=usage) for usage in running] + [delta({}, "stop", usage=running[-1])]
    at_the_end = [delta({"content": "xxx"}), delta({}, "stop", usage=running[-1])]
    repeated = [*at_the_end, {"choices": [], "usage": running[-1]}, b"data: [DONE]\n\n"]
    groq = [delta({"content": "xxx"}), delta({}, "stop", x_groq={"usage": running[-1]}), {"choices": [], "usage": running[-1]}]
    for events in (everywhere, at_the_end, repeated, groq):
        _, parser = read(*events)
        assert (parser.usage, parser.usage_is_final) == (TokenUsage(input_tokens=9, output_tokens=3), True)


def test_running_totals_are_not_final_before_the_finish() -> None:
    _, parser = read(delta({"content": "x"}, usage={"prompt_tokens": 9, "completion_tokens": 1}))
    assert parser.usage.is_complete
    assert not parser.usage_is_final


def test_keep_alives_empty_choices_and_unknown_keys_are_harmless() -> None:
    deltas, parser = read(
        b": OPENROUTER PROCESSING\n\n",
        {"choices": [], "prompt_filter_results": [{}]},
        delta({"role": "assistant", "content": ""}, obfuscation="xyz"),
        delta({"content": None, "reasoning_content": "r", "tool_calls": None}),
        delta({"content": "a", "p": "abc"}),
        delta({"content": None}, "stop", usage=None),
    )
    assert [(one.reasoning, one.text) for one in deltas if one.has_content] == [("r", ""), ("", "a")]
    assert [one.finish_reason for one in deltas if one.finish_reason] == [FinishReason.STOP]
    assert deltas[0] == ChatDelta(), "a comment means nothing"
    assert parser.is_complete
    assert not parser.usage_is_final


def test_the_finish_marker_is_the_finish_reason_and_done_counts_after_some_choice() -> None:
    assert read(delta({"content": "a"}))[1].is_complete is False
    assert read(delta({"content": "a"}, "stop"))[1].is_complete is True
    assert read(delta({"content": "a"}), b"data:[DONE]\n\n")[1].is_complete is True
    assert read(b"data: [DONE]\n\n")[1].is_complete is False


def test_with_several_choices_all_must_finish() -> None:
    def choice(index: int, finish: str | None) -> dict:
        return {"choices": [{"index": index, "delta": {"content": "x"}, "finish_reason": finish}]}

    deltas, parser = read(choice(0, None), choice(1, None), choice(1, "stop"))
    assert [one.choice_index for one in deltas] == [0, 1, 1]
    assert parser.is_complete is False


def test_tool_call_fragments_in_every_form() -> None:
    def call(**fields) -> dict:
        return delta({"tool_calls": [fields]})

    deltas, _ = read(
        call(index=0, id="a", function={"name": "f", "arguments": None}),
        call(index=0, function={"arguments": '{"x"'}),
        call(index=0, id=None, function={"name": None, "arguments": ":1}"}),
        call(index=1, function={"name": "g", "arguments": {"y": 2}}),
        call(function={"name": "h", "arguments": "{}"}),
        delta({}, "stop"),
    )
    calls = [one.tool_calls[0] for one in deltas[:5]]
    assert [(one.index, one.id, one.name, one.arguments) for one in calls] == [
        (0, "a", "f", ""),
        (0, None, None, '{"x"'),
        (0, None, None, ":1}"),
        (1, "call_1", "g", '{"y":2}'),
        (2, "call_2", "h", "{}"),
    ]
    assert deltas[5].finish_reason is FinishReason.TOOL_CALLS


@pytest.mark.parametrize(
    ("event", "error"),
    [
        (b'event: error\ndata: {"message": "no tool", "status_code": 400, "code": "tool_use_failed"}\n\n', CallerFault),
        (b'data: {"error": {"code": 502, "message": "x"}, "choices": [{"delta": {}}]}\n\n', ServerFailed),
        (b'data:{"error":"Input validation error","error_type":"validation"}\n\n', CallerFault),
        (b"data: {broken\n\n", InvalidBody),
        (b"data: 42\n\n", InvalidBody),
    ],
)
def test_U11_error_events_of_every_shape(event, error) -> None:
    with pytest.raises(error):
        read(event)


def test_usage_that_comes_with_an_error_is_kept() -> None:
    parser = ADAPTER.stream_parser()
    event = delta({}, "error", error={"code": 500, "message": "x"}, usage={"prompt_tokens": 5, "completion_tokens": 1})
    (sse,) = SseParser().feed(b"data: " + json.dumps(event).encode() + b"\n\n")
    with pytest.raises(ServerFailed):
        parser.feed(sse)
    assert parser.usage.input_tokens == 5


def test_log_probabilities_of_a_stream_come_with_their_text() -> None:
    entry = {"token": "Hi", "logprob": -0.5, "bytes": [72, 105], "top_logprobs": [{"token": "Yo", "logprob": -1.5, "bytes": [89, 111]}]}
    choice = {"index": 0, "delta": {"content": "Hi"}, "logprobs": {"content": [entry]}, "finish_reason": None}
    delta = ADAPTER.stream_parser().feed(SseEvent("", json.dumps({"id": "1", "choices": [choice]}).encode(), b""))
    assert delta.text == "Hi"
    assert delta.logprobs == (TokenLogprob("Hi", -0.5, (("Yo", -1.5),)),)
