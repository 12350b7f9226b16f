"""What the Responses dialect makes of requests, and of answers in other formats (R104)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from aigateway.dialects.openai_responses.answer import response_out
from aigateway.dialects.openai_responses.dialect import OpenAIResponses
from aigateway.dialects.openai_responses.stream import TranslatedStream
from aigateway.errors import GatewayError
from providers.upstream.adapters import ADAPTERS
from providers.upstream.types import (
    ChatChoice,
    ChatDelta,
    ChatRequest,
    ChatResponse,
    FinishReason,
    ImagePart,
    Message,
    ReasoningPart,
    Role,
    StreamEvent,
    TextPart,
    TokenLogprob,
    TokenUsage,
    ToolCall,
    ToolCallDelta,
    Wire,
)
from tests.aigateway.conftest import events
from tests.providers.upstream import rig

SPENT = TokenUsage(input_tokens=3, output_tokens=2)
THOUGHT = ReasoningPart("Hm", "signed-by-anthropic")
SECRET = ReasoningPart("", "sealed-by-anthropic", redacted=True)
CALL = ToolCall("call_1", "add", '{"a":1}', signature="signed-by-google")


def parsed(**fields: Any) -> ChatRequest:
    return OpenAIResponses().parse(json.dumps({"model": "m", "input": "Hi", **fields}).encode(), None).chat


def answered(*choices: ChatChoice) -> dict[str, Any]:
    return response_out(ChatResponse("id1", "m", choices, SPENT, Wire.ANTHROPIC_MESSAGES, b""), {}, "req_1", 7)


def streamed(*deltas: ChatDelta) -> list[Any]:
    stream = TranslatedStream("m", {})
    raw = b"".join(stream.event(StreamEvent(b"", delta)) for delta in deltas)
    return events(raw + stream.end(lambda: pytest.fail("not needed")))


def sent_to_openai(items: list[Any]) -> tuple[list[Any], tuple[str, ...]]:
    call = ADAPTERS[Wire.OPENAI_RESPONSES].render_chat(parsed(input=items), rig.target())
    return json.loads(call.body)["input"], call.degraded


# --------------------------------------------------------------------------- requests


def test_items_become_turns_and_calls_belong_to_the_turn_before_them() -> None:
    image = {"type": "input_image", "image_url": "data:image/png;base64,QUJD", "detail": "low"}
    items = [
        {"role": "developer", "content": "Be kind."},
        {"role": "user", "content": [{"type": "input_text", "text": "Look"}, image]},
        {
            "type": "message",
            "id": "msg_1",
            "role": "assistant",
            "status": "completed",
            "content": [{"type": "output_text", "text": "Wait"}],
        },
        {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "f", "arguments": "{}"},
        {"type": "function_call", "id": "fc_2", "call_id": "c2", "name": "g", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "one"},
        {"type": "function_call_output", "call_id": "c2", "output": [{"type": "input_text", "text": "two"}]},
    ]
    request = parsed(input=items, instructions="Be brief.")
    assert request.messages == (
        Message(Role.SYSTEM, (TextPart("Be brief."),)),
        Message(Role.SYSTEM, (TextPart("Be kind."),)),
        Message(Role.USER, (TextPart("Look"), ImagePart(data="QUJD", media_type="image/png", detail="low"))),
        Message(Role.ASSISTANT, (TextPart("Wait"),), (ToolCall("c1", "f", "{}"), ToolCall("c2", "g", "{}"))),
        Message(Role.TOOL, (TextPart("one"),), tool_call_id="c1"),
        Message(Role.TOOL, (TextPart("two"),), tool_call_id="c2"),
    )
    assert (request.wire_only, request.hints, request.provider_state) == (frozenset(), frozenset(), ())


def test_U34_state_of_an_account_is_noted() -> None:
    items = [{"type": "reasoning", "id": "rs_1", "encrypted_content": "gAAA", "summary": []}, {"type": "item_reference", "id": "msg_1"}]
    request = parsed(previous_response_id="resp_1", input=items)
    assert request.provider_state == ("resp_1", "gAAA", "rs_1", "msg_1")
    assert {"previous_response_id", "input[1]"} <= request.wire_only


@pytest.mark.parametrize(
    ("fields", "elsewhere"),
    [
        ({}, False),
        ({"tools": [{"type": "function", "name": "f"}, {"type": "custom", "name": "g"}]}, False),
        ({"tools": [{"type": "web_search"}]}, True),
        ({"previous_response_id": "resp_1"}, True),
        ({"conversation": "conv_1"}, True),
        ({"prompt": {"id": "pmpt_1"}}, True),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, True),
        ({"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "file_1"}]}]}, True),
    ],
)
def test_input_that_the_body_does_not_hold_is_noted_for_the_reservation(fields: dict[str, Any], elsewhere: bool) -> None:
    assert parsed(**fields).has_input_elsewhere is elsewhere


@pytest.mark.parametrize(("tier", "refused"), [("auto", False), ("default", False), ("flex", False), ("priority", True)])
def test_tiers_above_the_list_price_are_refused(tier: str, refused: bool) -> None:
    if refused:
        with pytest.raises(GatewayError) as raised:
            parsed(service_tier=tier)
        assert raised.value.param == "service_tier"
    else:
        assert parsed(service_tier=tier).source is not None


# --------------------------------------------------------------------------- answers and what comes back of them


def test_signed_reasoning_and_calls_come_back_as_they_were() -> None:
    answer = answered(ChatChoice(0, "Sure", FinishReason.TOOL_CALLS, reasoning=(THOUGHT, SECRET), tool_calls=(CALL,)))
    assert [item["type"] for item in answer["output"]] == ["reasoning", "reasoning", "message", "function_call"]
    request = parsed(input=answer["output"])
    assert request.messages == (Message(Role.ASSISTANT, (THOUGHT, SECRET, TextPart("Sure")), (CALL,)),)
    assert (request.provider_state, request.wire_only, request.hints) == ((), frozenset(), frozenset())


def test_a_streamed_answer_comes_back_as_it_was() -> None:
    deltas = (
        ChatDelta(reasoning="H"),
        ChatDelta(reasoning="m"),
        ChatDelta(reasoning_signature="signed-by-anthropic"),
        ChatDelta(text="Sure"),
        ChatDelta(tool_calls=(ToolCallDelta(0, "call_1", "add", '{"a"', signature="signed-by-google"),)),
        ChatDelta(tool_calls=(ToolCallDelta(0, arguments=":1}"),), finish_reason=FinishReason.TOOL_CALLS, usage=SPENT),
    )
    last = streamed(*deltas)[-1]
    assert last["type"] == "response.completed"
    assert parsed(input=last["response"]["output"]).messages == (Message(Role.ASSISTANT, (THOUGHT, TextPart("Sure")), (CALL,)),)


def test_unsigned_reasoning_comes_back_as_text() -> None:
    answer = answered(ChatChoice(0, "Sure", FinishReason.STOP, reasoning=(ReasoningPart("Hm"),)))
    assert parsed(input=answer["output"]).messages == (Message(Role.ASSISTANT, (ReasoningPart("Hm"), TextPart("Sure"))),)


def test_a_provider_of_this_format_never_sees_what_others_signed() -> None:
    own = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"}
    answer = answered(ChatChoice(0, "Sure", FinishReason.TOOL_CALLS, reasoning=(THOUGHT,), tool_calls=(CALL,)))
    kept, degraded = sent_to_openai([own, *answer["output"]])
    assert [item["type"] for item in kept] == ["reasoning", "message", "function_call"]
    assert (kept[0], "extra_content" in kept[2]) == (own, False)
    assert degraded == ("input.extra_content", "input.reasoning")


def test_a_call_cut_by_the_limit_is_incomplete() -> None:
    answer = answered(ChatChoice(0, "", FinishReason.LENGTH, tool_calls=(ToolCall("c", "f", '{"a'),)))
    assert (answer["status"], answer["output"][0]["status"]) == ("incomplete", "incomplete")


def test_refusals_and_log_probabilities_have_their_own_places() -> None:
    logprob = TokenLogprob("No", -0.5, (("Yes", -1.5),))
    answer = answered(ChatChoice(0, "No", FinishReason.STOP, refusal="I will not.", logprobs=(logprob,)))
    said, refused = answer["output"][0]["content"]
    assert refused == {"type": "refusal", "refusal": "I will not."}
    assert (said["logprobs"][0]["token"], said["logprobs"][0]["top_logprobs"][0]["logprob"]) == ("No", -1.5)


def test_usage_counts_cached_and_reasoning_tokens_inside() -> None:
    usage = TokenUsage(input_tokens=3, cache_read_tokens=4, output_tokens=5, reasoning_tokens=6)
    last = streamed(ChatDelta(text="Hi", finish_reason=FinishReason.STOP, usage=usage))[-1]["response"]
    assert last["usage"] == {
        "input_tokens": 7,
        "input_tokens_details": {"cached_tokens": 4},
        "output_tokens": 11,
        "output_tokens_details": {"reasoning_tokens": 6},
        "total_tokens": 18,
    }


def test_fragments_of_several_calls_in_turns_stay_apart() -> None:
    seen = streamed(
        ChatDelta(tool_calls=(ToolCallDelta(0, "a", "f", "{"), ToolCallDelta(1, "b", "g", "["))),
        ChatDelta(tool_calls=(ToolCallDelta(1, arguments="]"), ToolCallDelta(0, arguments="}"))),
        ChatDelta(finish_reason=FinishReason.TOOL_CALLS, usage=SPENT),
    )
    done = [(event["output_index"], event["arguments"]) for event in seen if event["type"] == "response.function_call_arguments.done"]
    assert done == [(0, "{}"), (1, "[]")]
    assert [event["sequence_number"] for event in seen] == list(range(len(seen)))


def test_text_that_goes_on_after_a_call_is_another_item() -> None:
    seen = streamed(
        ChatDelta(text="One"),
        ChatDelta(tool_calls=(ToolCallDelta(0, "a", "f", "{}"),)),
        ChatDelta(text="Two", finish_reason=FinishReason.STOP, usage=SPENT),
    )
    output = seen[-1]["response"]["output"]
    assert [item["type"] for item in output] == ["message", "function_call", "message"]
    assert len({item["id"] for item in output}) == 3
