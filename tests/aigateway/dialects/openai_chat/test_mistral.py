"""Mistral's own client posts to OpenAI's path and reads usage at the end of every stream."""

from __future__ import annotations

import json
from typing import Any

from aigateway.dialects.base import Sent
from aigateway.dialects.openai_chat.dialect import OpenAIChat
from providers.upstream.types import ChatDelta, FinishReason, StreamEvent, TokenUsage, ToolCallDelta, Wire
from tests.aigateway.samples import explanation, target

BODY = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "x"}]}
USAGE = TokenUsage(input_tokens=4, output_tokens=2)
DONE = StreamEvent(b"data: [DONE]\n\n", ChatDelta(is_end=True))


def renderer(wire: Wire, agent: str = "mistral-client-python/3.7.0", **fields: Any) -> Any:
    call = OpenAIChat().parse(json.dumps({**BODY, **fields}).encode(), None, Sent({"user-agent": agent}))
    return OpenAIChat().stream_renderer(call, target(), wire)


def read(raw: bytes) -> list[Any]:
    events = [event.removeprefix(b"data: ") for event in raw.split(b"\n\n") if event]
    return ["[DONE]" if event == b"[DONE]" else json.loads(event) for event in events]


def same_wire(*chunks: dict[str, Any], deltas: list[ChatDelta], **options: Any) -> list[Any]:
    stream = renderer(Wire.OPENAI_CHAT, **options)
    events = [StreamEvent(b"data: " + json.dumps(chunk).encode() + b"\n\n", delta) for chunk, delta in zip(chunks, deltas, strict=True)]
    return read(b"".join(stream.event(event) for event in [*events, DONE]) + stream.end(explanation))


def test_a_translated_stream_reports_usage_in_a_chunk_that_has_a_choice() -> None:
    stream = renderer(Wire.ANTHROPIC_MESSAGES)
    deltas = [ChatDelta(id="i", model="c", text="Hi"), ChatDelta(finish_reason=FinishReason.STOP, usage=USAGE)]
    out = read(b"".join(stream.event(StreamEvent(b"", delta)) for delta in deltas) + stream.end(explanation))
    assert out[1]["choices"][0]["finish_reason"] == "stop"
    assert (out[2]["id"], out[2]["usage"]["total_tokens"], out[2]["choices"][0]["delta"]) == ("i", 6, {"content": ""})
    assert out[3:] == ["[DONE]"]


def test_usage_of_openais_own_stream_moves_into_a_chunk_that_has_a_choice() -> None:
    finish = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    usage = {"choices": [], "usage": {"prompt_tokens": 4}}
    out = same_wire(finish, usage, deltas=[ChatDelta(finish_reason=FinishReason.STOP), ChatDelta(usage=USAGE)])
    assert out[0] == finish
    assert (out[1]["choices"][0]["index"], out[1]["usage"]["prompt_tokens"]) == (0, 4)
    assert out[2:] == ["[DONE]"]


def test_usage_that_came_with_the_finish_is_not_repeated() -> None:
    finish = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "usage": {"prompt_tokens": 4}}
    out = same_wire(finish, deltas=[ChatDelta(finish_reason=FinishReason.STOP, usage=USAGE)])
    assert out == [finish, "[DONE]"]


def test_other_clients_get_no_usage_unasked() -> None:
    usage = {"choices": [], "usage": {"prompt_tokens": 4}}
    finish = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    deltas = [ChatDelta(finish_reason=FinishReason.STOP), ChatDelta(usage=USAGE)]
    assert same_wire(finish, usage, deltas=deltas, agent="OpenAI/Python") == [finish, "[DONE]"]


def test_usage_that_groq_tells_elsewhere_is_told_again() -> None:
    finish = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "x_groq": {"usage": {"prompt_tokens": 4}}}
    out = same_wire(finish, deltas=[ChatDelta(finish_reason=FinishReason.STOP, usage=USAGE)])
    assert (out[0], out[1]["usage"]["prompt_tokens"], out[2:]) == (finish, 4, ["[DONE]"])


FRAGMENTS = [
    ChatDelta(id="i", model="c", text="Well", tool_calls=(ToolCallDelta(0, "a", "weather"),)),
    ChatDelta(tool_calls=(ToolCallDelta(0, arguments='{"city":'), ToolCallDelta(1, "b", "news", "{}"))),
    ChatDelta(tool_calls=(ToolCallDelta(0, arguments='"x"}'),)),
    ChatDelta(finish_reason=FinishReason.TOOL_CALLS),
]
FINISH = {"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]}


def test_fragments_of_calls_are_put_together_in_a_translated_stream() -> None:
    stream = renderer(Wire.ANTHROPIC_MESSAGES)
    assert_whole(read(b"".join(stream.event(StreamEvent(b"anything", delta)) for delta in FRAGMENTS) + stream.end(explanation)))


def test_fragments_of_calls_are_put_together_in_openais_own_stream() -> None:
    out = same_wire({"id": "i"}, {"id": "i"}, {"id": "i"}, FINISH, deltas=FRAGMENTS)
    assert_whole(out)
    assert (out[1]["id"], out[1]["model"], out[2]) == ("i", "c", FINISH)


def assert_whole(out: list[Any]) -> None:
    text, calls, finish, *_ = [chunk["choices"][0] for chunk in out if chunk != "[DONE]"]
    assert text["delta"]["content"] == "Well"
    told = [(call["id"], call["function"]["name"], call["function"]["arguments"]) for call in calls["delta"]["tool_calls"]]
    assert told == [("a", "weather", '{"city":"x"}'), ("b", "news", "{}")]
    assert finish["finish_reason"] == "tool_calls"


def test_whole_calls_of_openais_own_stream_pass_byte_for_byte() -> None:
    called = {"choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0}]}, "finish_reason": "tool_calls"}], "p": "abc"}
    whole = (ToolCallDelta(0, "a", "weather", '{"city":"x"}'),)
    assert same_wire(called, deltas=[ChatDelta(tool_calls=whole, finish_reason=FinishReason.TOOL_CALLS)])[0] == called


def test_a_call_without_arguments_gets_an_empty_object() -> None:
    begun = ChatDelta(tool_calls=(ToolCallDelta(0, "a", "now"),))
    out = same_wire({}, FINISH, deltas=[begun, ChatDelta(finish_reason=FinishReason.TOOL_CALLS)])
    assert out[-3]["choices"][0]["delta"]["tool_calls"][0]["function"] == {"arguments": "{}", "name": "now"}


def test_another_choices_text_in_the_chunk_of_a_fragment_is_not_lost() -> None:
    other = ChatDelta(choice_index=1, text="Hi")
    begun = ChatDelta(tool_calls=(ToolCallDelta(0, "a", "now"),), others=(other,))
    out = same_wire({"choices": []}, FINISH, deltas=[begun, ChatDelta(finish_reason=FinishReason.TOOL_CALLS)])
    assert next(chunk["choices"][0]["delta"].get("content") for chunk in out[:-1]) == "Hi"
