"""What services that speak the Responses API answer, whole and streamed (wire.md)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from providers.upstream.adapters import ADAPTERS
from providers.upstream.errors import ContextTooLong, ForeignState, InvalidBody, ModelNotFound, RateLimited, ServerFailed, UpstreamError
from providers.upstream.types import ChatResponse, FinishReason, ReasoningPart, TokenLogprob, TokenUsage, ToolCall, Wire
from tests.providers.upstream.adapters.wires import calls_of, events, read_stream, response, text_of

ADAPTER = ADAPTERS[Wire.OPENAI_RESPONSES]
MESSAGE = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Hi"}]}
CALL = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "add", "arguments": '{"a":1}'}


def body(*items: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"id": "resp_1", "object": "response", "model": "m", "status": "completed", "created_at": 7, "output": list(items), **fields}


def parsed(*items: dict[str, Any], **fields: Any) -> ChatResponse:
    return ADAPTER.parse_chat(response(body(*items, **fields)))


# --------------------------------------------------------------------------- whole answers


def test_items_of_every_kind_become_one_choice() -> None:
    thought = {"type": "reasoning", "summary": [{"text": "First"}, {"text": "Second"}], "encrypted_content": "gAAA"}
    answer = parsed(thought, {"type": "web_search_call", "id": "ws_1"}, MESSAGE, CALL)
    [choice] = answer.choices
    assert (answer.id, answer.model, answer.created_s, choice.text) == ("resp_1", "m", 7, "Hi")
    assert choice.reasoning == (ReasoningPart("First\n\nSecond", "gAAA"),)
    assert (choice.tool_calls, choice.finish_reason) == ((ToolCall("call_1", "add", '{"a":1}'),), FinishReason.TOOL_CALLS)


def test_reasoning_that_is_only_encrypted_is_kept_as_an_opaque_block() -> None:
    answer = parsed({"type": "reasoning", "summary": [], "encrypted_content": "gAAA"}, MESSAGE)
    assert answer.choices[0].reasoning == (ReasoningPart("", "gAAA", redacted=True),)


def test_reasoning_text_is_read_where_a_service_shows_it() -> None:
    """DeepSeek and vLLM send ``content`` and an empty summary."""
    answer = parsed({"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "Hm"}]}, MESSAGE)
    assert answer.choices[0].reasoning == (ReasoningPart("Hm"),)


def test_a_refusal_is_no_text() -> None:
    [choice] = parsed({"type": "message", "content": [{"type": "refusal", "refusal": "No."}]}).choices
    assert (choice.text, choice.refusal) == ("", "No.")


@pytest.mark.parametrize(
    ("fields", "finish"),
    [
        ({}, FinishReason.STOP),
        ({"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}, FinishReason.LENGTH),
        ({"status": "incomplete", "incomplete_details": {"reason": "content_filter"}}, FinishReason.CONTENT_FILTER),
        ({"status": "incomplete", "incomplete_details": None}, FinishReason.LENGTH),
    ],
)
def test_the_status_tells_why_it_ended(fields: dict[str, Any], finish: FinishReason) -> None:
    assert parsed(MESSAGE, **fields).choices[0].finish_reason is finish


def test_cached_written_and_reasoning_tokens_are_inside_the_counts() -> None:
    usage = {
        "input_tokens": 1220,
        "input_tokens_details": {"cached_tokens": 100, "cache_write_tokens": 1000},
        "output_tokens": 82,
        "output_tokens_details": {"reasoning_tokens": 61},
        "total_tokens": 1302,
    }
    expected = TokenUsage(input_tokens=120, cache_read_tokens=100, cache_write_tokens=1000, output_tokens=21, reasoning_tokens=61)
    assert parsed(MESSAGE, usage=usage).usage == expected


def test_more_cached_than_input_tokens_are_clamped() -> None:
    usage = {"input_tokens": 5, "input_tokens_details": {"cached_tokens": 9}, "output_tokens": 1}
    assert parsed(MESSAGE, usage=usage).usage == TokenUsage(input_tokens=0, cache_read_tokens=5, output_tokens=1)


def test_missing_usage_is_unknown_and_not_zero() -> None:
    assert parsed(MESSAGE, usage=None).usage == TokenUsage()


def test_log_probabilities_keep_their_alternatives() -> None:
    row = {"token": "Hi", "logprob": -0.5, "top_logprobs": [{"token": "Yo", "logprob": -2}]}
    part = {"type": "output_text", "text": "Hi", "logprobs": [row]}
    answer = parsed({"type": "message", "content": [part]})
    assert answer.choices[0].logprobs == (TokenLogprob("Hi", -0.5, (("Yo", -2.0),)),)


@pytest.mark.parametrize(
    ("sent", "error"),
    [
        (body(status="failed", error={"code": "server_error", "message": "Oops"}), ServerFailed),
        (body(status="failed", error={"code": "rate_limit_exceeded", "message": "Slow"}), RateLimited),
        (body(status="failed", error=None), ServerFailed),
        (body(status="in_progress"), InvalidBody),
        ({"id": "resp_1", "status": "completed"}, InvalidBody),
        ({"error": {"code": 429, "message": "Rate limit"}}, RateLimited),
    ],
)
def test_a_success_status_without_a_finished_answer_is_an_error(sent: dict[str, Any], error: type[UpstreamError]) -> None:
    with pytest.raises(error):
        ADAPTER.parse_chat(response(sent))


@pytest.mark.parametrize(
    ("status", "error", "kind"),
    [
        (400, {"code": "model_not_found", "message": "The requested model 'x' does not exist."}, ModelNotFound),
        (400, {"code": "context_length_exceeded", "message": "Your input exceeds the context window of this model."}, ContextTooLong),
        (400, {"code": "previous_response_not_found", "message": "Previous response with id 'resp_1' not found."}, ForeignState),
        (400, {"code": "invalid_encrypted_content", "message": "The encrypted content gAAA... could not be verified."}, ForeignState),
        (400, {"code": None, "message": "The encrypted content gAAA... could not be decrypted or parsed."}, ForeignState),
        (404, {"code": None, "message": "Item with id 'rs_1' not found. Items are not persisted when `store` is false."}, ForeignState),
        (404, {"code": None, "message": "Conversation with id 'conv_1' not found."}, ForeignState),
    ],
)
def test_an_error_says_whether_somebody_else_may_help(status: int, error: dict[str, Any], kind: type[UpstreamError]) -> None:
    found = ADAPTER.parse_error(response({"error": error}, status))
    assert type(found) is kind
    assert found.fail_over


# --------------------------------------------------------------------------- streams


def read(*bodies: dict[str, Any], after: bytes = b"") -> Any:
    return read_stream(Wire.OPENAI_RESPONSES, events(*bodies) + after)


def done(*items: dict[str, Any], **fields: Any) -> dict[str, Any]:
    finished = body(*items, **{"usage": {"input_tokens": 3, "output_tokens": 2}, **fields})
    return {"type": f"response.{finished['status']}", "response": finished}


CREATED = {"type": "response.created", "response": body(status="in_progress")}


def text(delta: str, **fields: Any) -> dict[str, Any]:
    return {"type": "response.output_text.delta", "output_index": 0, "delta": delta, **fields}


def test_a_stream_of_text_ends_with_its_usage() -> None:
    deltas, parser = read(CREATED, text("H"), text("i"), done(MESSAGE))
    assert (text_of(deltas), deltas[-1].finish_reason, deltas[-1].is_end) == ("Hi", FinishReason.STOP, True)
    assert (deltas[0].id, deltas[0].model, parser.upstream_id) == ("resp_1", "m", "resp_1")
    assert (parser.is_complete, parser.usage_is_final, parser.usage) == (True, True, TokenUsage(input_tokens=3, output_tokens=2))


def test_events_after_the_end_change_nothing() -> None:
    """OpenRouter adds the terminator of chat completions."""
    deltas, parser = read(CREATED, text("Hi"), done(MESSAGE), after=b": ping\n\ndata: [DONE]\n\n")
    assert (parser.is_complete, text_of(deltas)) == (True, "Hi")


def test_a_terminator_without_a_finished_response_is_a_truncation() -> None:
    deltas, parser = read(CREATED, text("Hi"), after=b"data: [DONE]\n\n")
    assert (parser.is_complete, deltas[-1].is_end) == (False, True)


def test_an_incomplete_response_says_why() -> None:
    last = done(status="incomplete", incomplete_details={"reason": "max_output_tokens"})
    deltas, parser = read(CREATED, text("Hi"), last)
    assert (deltas[-1].finish_reason, parser.is_complete) == (FinishReason.LENGTH, True)


def test_calls_that_come_in_turns_are_told_apart() -> None:
    def fragment(place: int, piece: str) -> dict[str, Any]:
        return {"type": "response.function_call_arguments.delta", "output_index": place, "delta": piece}

    def added(place: int, number: int) -> dict[str, Any]:
        item = {"type": "function_call", "call_id": f"call_{number}", "name": f"f{number}", "arguments": ""}
        return {"type": "response.output_item.added", "output_index": place, "item": item}

    deltas, _ = read(CREATED, added(1, 1), added(2, 2), fragment(1, '{"a"'), fragment(2, "{"), fragment(1, ":1}"), fragment(2, "}"), done())
    assert calls_of(deltas) == [("call_1", "f1", '{"a":1}'), ("call_2", "f2", "{}")]
    assert deltas[-1].finish_reason is FinishReason.TOOL_CALLS


@pytest.mark.parametrize("first", ["added", "done"])
def test_a_call_that_comes_whole_is_told_once(first: str) -> None:
    """xAI begins with all arguments; some servers send the finished item only."""
    item = {"output_index": 0, "item": CALL}
    whole = [{"type": "response.output_item.added", **item}] if first == "added" else []
    arguments = {"type": "response.function_call_arguments.done", "output_index": 0, "arguments": CALL["arguments"]}
    deltas, _ = read(CREATED, *whole, arguments, {"type": "response.output_item.done", **item}, done(CALL))
    assert calls_of(deltas) == [("call_1", "add", '{"a":1}')]


@pytest.mark.parametrize("kind", ["response.reasoning_summary_text.delta", "response.reasoning_text.delta"])
def test_reasoning_is_no_text_and_its_opaque_half_comes_with_the_finished_item(kind: str) -> None:
    item = {"type": "reasoning", "summary": [{"text": "Hm"}], "encrypted_content": "gAAA"}
    finished = {"type": "response.output_item.done", "output_index": 0, "item": item}
    deltas, _ = read(CREATED, {"type": kind, "output_index": 0, "delta": "Hm"}, finished, text("Hi"), done())
    assert ("".join(delta.reasoning for delta in deltas), text_of(deltas)) == ("Hm", "Hi")
    assert [delta.reasoning_signature for delta in deltas if delta.reasoning_signature] == ["gAAA"]


def test_a_streamed_refusal_is_no_text() -> None:
    deltas, _ = read(CREATED, {"type": "response.refusal.delta", "output_index": 0, "delta": "No."}, done())
    assert ("".join(delta.refusal for delta in deltas), text_of(deltas)) == ("No.", "")


def test_streamed_log_probabilities_come_with_their_text() -> None:
    deltas, _ = read(CREATED, text("Hi", logprobs=[{"token": "Hi", "logprob": -0.1, "top_logprobs": []}]), done())
    assert deltas[1].logprobs == (TokenLogprob("Hi", -0.1),)


@pytest.mark.parametrize(
    ("event", "error"),
    [
        ({"type": "error", "code": "rate_limit_exceeded", "message": "Slow down", "param": None}, RateLimited),
        ({"type": "error", "error": {"code": "server_error", "message": "Oops"}}, ServerFailed),
        ({"error": {"code": 429, "message": "Rate limit"}}, RateLimited),
        ({"type": "response.failed", "response": body(status="failed", error={"code": "server_error", "message": "Oops"})}, ServerFailed),
        ({"type": "response.failed", "response": {}}, ServerFailed),
    ],
)
def test_an_error_inside_a_stream_is_raised(event: dict[str, Any], error: type[UpstreamError]) -> None:
    with pytest.raises(error):
        read(CREATED, event)


def test_what_a_failed_response_consumed_is_known() -> None:
    parser = ADAPTER.stream_parser()
    failed = body(status="failed", error={"code": "server_error", "message": "Oops"}, usage={"input_tokens": 3, "output_tokens": 2})
    [event] = ADAPTER.event_parser().feed(events({"type": "response.failed", "response": failed}))
    with pytest.raises(ServerFailed):
        parser.feed(event)
    assert (parser.usage, parser.usage_is_final) == (TokenUsage(input_tokens=3, output_tokens=2), True)


def test_an_event_that_is_no_object_is_refused() -> None:
    [event] = ADAPTER.event_parser().feed(b"data: " + json.dumps([1]).encode() + b"\n\n")
    with pytest.raises(InvalidBody):
        ADAPTER.stream_parser().feed(event)
