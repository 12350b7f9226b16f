"""What the Anthropic adapter sends."""

from __future__ import annotations

import json

import pytest

from providers.upstream.adapters import ADAPTERS
from providers.upstream.errors import UnsupportedRequest
from providers.upstream.types import (
    CountTokensRequest,
    ImagePart,
    Message,
    ReasoningPart,
    ResponseFormat,
    Role,
    SourceBody,
    TextPart,
    ToolCall,
    ToolChoice,
    ToolChoiceMode,
    ToolSpec,
    Wire,
)
from tests.providers.upstream import rig

ADAPTER = ADAPTERS[Wire.ANTHROPIC_MESSAGES]


def rendered(request, **changes) -> dict:
    sent = ADAPTER.render_chat(request, rig.target(upstream_model=changes.pop("upstream_model", "claude-opus-5"), **changes))
    assert (sent.path, sent.headers["anthropic-version"]) == ("/messages", "2023-06-01")
    return json.loads(sent.body)


def test_every_field_of_a_client_of_the_same_format_passes() -> None:
    body = {"model": "x", "max_tokens": 5, "messages": [], "top_k": 3, "thinking": {"type": "adaptive"}, "system": [{"type": "text"}]}
    assert rendered(rig.from_client(Wire.ANTHROPIC_MESSAGES, body, max_output_tokens=5)) == {**body, "model": "claude-opus-5"}


def test_B15_the_output_limit_is_required_added_and_bounded() -> None:
    assert rendered(rig.chat_request())["max_tokens"] == 1000
    assert rendered(rig.chat_request(max_output_tokens=7))["max_tokens"] == 7
    assert rendered(rig.from_client(Wire.ANTHROPIC_MESSAGES, {"max_tokens": 10**9}))["max_tokens"] == 1000


def test_a_whole_conversation_is_translated() -> None:
    messages = (
        Message(Role.SYSTEM, (TextPart("Be brief."),)),
        Message(Role.USER, (TextPart("Look"), ImagePart(data="QUJD", media_type="image/png"), ImagePart(url="https://x/y.jpg"))),
        Message(Role.USER, (ImagePart(url="data:image/gif;base64,R0lG", detail="high"),)),
        Message(
            Role.ASSISTANT,
            (ReasoningPart("hm", "sig"), ReasoningPart("", "opaque", redacted=True), TextPart("")),
            (ToolCall("t1", "get_weather", '{"city":"Bonn"}'), ToolCall("t2", "get_time", "")),
        ),
        Message(Role.TOOL, (TextPart("rain"),), tool_call_id="t1"),
        Message(Role.TOOL, (ImagePart(url="https://x/clock.png"),), tool_call_id="t2"),
        Message(Role.SYSTEM, (TextPart("Still."),)),
        Message(Role.USER, (TextPart("And?"),)),
    )
    sent = rendered(rig.chat_request(messages=messages))
    assert sent["system"] == "Be brief.\n\nStill."
    assert sent["messages"] == [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Look"},
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "QUJD"}},
                {"type": "image", "source": {"type": "url", "url": "https://x/y.jpg"}},
                {"type": "image", "source": {"type": "base64", "media_type": "image/gif", "data": "R0lG"}},
            ],
        },
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "hm", "signature": "sig"},
                {"type": "redacted_thinking", "data": "opaque"},
                {"type": "tool_use", "id": "t1", "name": "get_weather", "input": {"city": "Bonn"}},
                {"type": "tool_use", "id": "t2", "name": "get_time", "input": {}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "rain"}]},
                {
                    "type": "tool_result",
                    "tool_use_id": "t2",
                    "content": [{"type": "image", "source": {"type": "url", "url": "https://x/clock.png"}}],
                },
                {"type": "text", "text": "And?"},
            ],
        },
    ]


def test_all_options_are_translated_and_nothing_is_null() -> None:
    schema = {"type": "object", "properties": {}}
    sent = rendered(
        rig.chat_request(
            stream=True,
            temperature=0.0,
            top_p=0.9,
            stop=("END",),
            tools=(ToolSpec("f", "does f", {"type": "object"}, strict=True), ToolSpec("g")),
            response_format=ResponseFormat("answer", schema),
        )
    )
    del sent["messages"]
    assert sent == {
        "model": "claude-opus-5",
        "max_tokens": 1000,
        "stream": True,
        "temperature": 0.0,
        "top_p": 0.9,
        "stop_sequences": ["END"],
        "tools": [
            {"name": "f", "description": "does f", "input_schema": {"type": "object"}, "strict": True},
            {"name": "g", "input_schema": {"type": "object", "properties": {}}},
        ],
        "output_config": {"format": {"type": "json_schema", "schema": schema}},
    }


@pytest.mark.parametrize(
    ("choice", "parallel", "sent"),
    [
        (None, None, None),
        (None, True, None),
        (None, False, {"type": "auto", "disable_parallel_tool_use": True}),
        (ToolChoice(ToolChoiceMode.AUTO), None, {"type": "auto"}),
        (ToolChoice(ToolChoiceMode.NONE), False, {"type": "none"}),
        (ToolChoice(ToolChoiceMode.REQUIRED), False, {"type": "any", "disable_parallel_tool_use": True}),
        (ToolChoice(ToolChoiceMode.NAMED, "f"), None, {"type": "tool", "name": "f"}),
    ],
)
def test_tool_choice_and_parallel_calls(choice, parallel, sent) -> None:
    request = rig.chat_request(tools=(ToolSpec("f"),), tool_choice=choice, parallel_tool_calls=parallel)
    assert rendered(request).get("tool_choice") == sent


@pytest.mark.parametrize(
    ("model", "effort", "thinking", "output_config"),
    [
        ("claude-opus-5", "high", {"type": "adaptive"}, {"effort": "high"}),
        ("claude-opus-4-7", "minimal", {"type": "adaptive"}, {"effort": "low"}),
        ("claude-sonnet-4-5", "medium", {"type": "enabled", "budget_tokens": 4096}, None),
        ("claude-haiku-4-5-20251001", "high", {"type": "enabled", "budget_tokens": 7999}, None),
        ("claude-3-7-sonnet-latest", "low", {"type": "enabled", "budget_tokens": 1024}, None),
        ("claude-opus-5", "none", {"type": "disabled"}, None),
    ],
)
def test_reasoning_effort(model, effort, thinking, output_config) -> None:
    sent = rendered(rig.chat_request(reasoning_effort=effort), upstream_model=model, max_output_tokens=8000)
    assert sent["thinking"] == thinking
    assert sent.get("output_config") == output_config


def test_the_end_users_id_is_kept() -> None:
    assert rendered(rig.chat_request(end_user="u1"))["metadata"] == {"user_id": "u1"}


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"choices": 2}, "n"),
        ({"logprobs": 0}, "logprobs"),
        ({"temperature": 1.5}, "temperature"),
        ({"response_format": ResponseFormat()}, "response_format"),
        ({"tool_choice": ToolChoice(ToolChoiceMode.NAMED, "f")}, "tool_choice"),
        ({"reasoning_effort": "high", "max_output_tokens": 1000}, "reasoning_effort"),
        ({"messages": (Message(Role.ASSISTANT, (), (ToolCall("t", "f", "{broken"),)),)}, "messages[0].tool_calls[0].function.arguments"),
        ({"messages": (Message(Role.USER, (TextPart("x"),), name="ann"),)}, "messages[0].name"),
        ({"messages": (Message(Role.USER, (ReasoningPart("hm", "sig"),)),)}, "messages[0].content"),
    ],
)
def test_what_cannot_be_expressed_is_refused_by_name(changes, field) -> None:
    with pytest.raises(UnsupportedRequest) as refused:
        rendered(rig.chat_request(**changes), upstream_model="claude-sonnet-4-5")
    assert refused.value.detail.startswith(field)


def test_what_only_the_clients_own_format_can_carry_is_refused_by_name() -> None:
    with pytest.raises(UnsupportedRequest) as refused:
        rendered(rig.from_client(Wire.OPENAI_CHAT, {}, wire_only=frozenset({"logit_bias"})))
    assert refused.value.detail.startswith("logit_bias")


CALL = ToolCall("functions.f:0", "f", "{}", signature="gemini")


@pytest.mark.parametrize(
    ("changes", "left_out"),
    [
        ({"seed": 0}, "seed"),
        ({"hints": frozenset({"store"})}, "store"),
        ({"messages": (Message(Role.USER, (ImagePart(url="https://x", detail="low"),)),)}, "image detail"),
        ({"messages": (Message(Role.ASSISTANT, (ReasoningPart("hm"), TextPart("x"))),)}, "messages.reasoning"),
        ({"messages": (Message(Role.ASSISTANT, (TextPart("x"),), name="agent"),)}, "messages.name"),
        ({"messages": (Message(Role.ASSISTANT, (), (CALL,)),)}, "messages.tool_calls.signature"),
    ],
)
def test_what_an_answer_hardly_depends_on_is_left_out_and_reported(changes, left_out) -> None:
    sent = ADAPTER.render_chat(rig.chat_request(**changes), rig.target(upstream_model="claude-opus-5"))
    assert sent.degraded == (left_out,)
    assert not {"seed", "store", "detail", "hm", "agent", "gemini"} & set(sent.body.decode().replace('"', " ").split())


def test_ids_of_other_providers_are_made_acceptable_alike_in_call_and_result() -> None:
    messages = (Message(Role.ASSISTANT, (), (CALL,)), Message(Role.TOOL, (TextPart("1"),), tool_call_id=CALL.id))
    call, result = rendered(rig.chat_request(messages=messages))["messages"]
    assert call["content"][0]["id"] == result["content"][0]["tool_use_id"] == "functions_f_0"


@pytest.mark.parametrize(
    ("model", "signed", "thinks"),
    [("claude-sonnet-4-5", False, False), ("claude-sonnet-4-5", True, True), ("claude-opus-5", False, True)],
)
def test_a_family_that_needs_its_signed_thinking_back_goes_on_without_thinking(model, signed, thinks) -> None:
    thought = (ReasoningPart("hm", "sig"),) if signed else ()
    messages = (
        Message(Role.USER, (TextPart("?"),)),
        Message(Role.ASSISTANT, thought, (ToolCall("t", "f", "{}"),)),
        Message(Role.TOOL, (TextPart("1"),), tool_call_id="t"),
    )
    request = rig.chat_request(messages=messages, reasoning_effort="low", tools=(ToolSpec("f"),), max_output_tokens=5000)
    sent = ADAPTER.render_chat(request, rig.target(upstream_model=model, max_output_tokens=5000))
    assert ("thinking" in json.loads(sent.body)) is thinks
    assert sent.degraded == (() if thinks else ("reasoning_effort",))


def test_a_turn_that_says_nothing_is_not_sent() -> None:
    messages = (Message(Role.USER, (TextPart("a"),)), Message(Role.ASSISTANT, (TextPart(""),)), Message(Role.USER, (TextPart("b"),)))
    assert [turn["role"] for turn in rendered(rig.chat_request(messages=messages))["messages"]] == ["user"]


def test_B11_version_and_beta_flags_of_the_client_replace_ours_on_the_same_wire_only() -> None:
    headers = {"anthropic-version": "2024-01-01", "anthropic-beta": "a,b"}
    same = rig.chat_request(source=SourceBody(Wire.ANTHROPIC_MESSAGES, {"max_tokens": 5}, headers))
    assert headers.items() <= ADAPTER.render_chat(same, rig.target()).headers.items()
    other = rig.chat_request(source=SourceBody(Wire.OPENAI_CHAT, {}, headers))
    assert ADAPTER.render_chat(other, rig.target()).headers == {"content-type": "application/json", "anthropic-version": "2023-06-01"}


def test_counting_sends_the_clients_body_without_a_limit_of_ours() -> None:
    body = {"model": "x", "messages": [{"role": "user", "content": "Hi"}], "system": "s"}
    request = CountTokensRequest(rig.from_client(Wire.ANTHROPIC_MESSAGES, body))
    sent = ADAPTER.render(request, rig.target(upstream_model="claude-opus-5"))
    assert (sent.path, json.loads(sent.body)) == ("/messages/count_tokens", {**body, "model": "claude-opus-5"})


def test_counting_for_a_client_of_another_format_counts_what_would_be_sent() -> None:
    chat = rig.chat_request(tools=(ToolSpec("f"),), temperature=0.5, stop=("x",), end_user="u", max_output_tokens=5)
    sent = json.loads(ADAPTER.render(CountTokensRequest(chat), rig.target(upstream_model="claude-opus-5")).body)
    assert sent == {
        "model": "claude-opus-5",
        "messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}],
        "tools": [{"name": "f", "input_schema": {"type": "object", "properties": {}}}],
    }


def test_a_conversation_may_move_here_from_another_provider() -> None:
    unsigned = {"type": "thinking", "thinking": "hm", "signature": ""}
    signed = {"type": "thinking", "thinking": "hm", "signature": "sig"}
    call = {"type": "tool_use", "id": "t", "name": "f", "input": {}}
    result = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "1"}]}
    turns = [
        {"role": "user", "content": "?"},
        {"role": "assistant", "content": [unsigned, {**call, "extra_content": {"google": {"thought_signature": "s"}}}]},
        result,
        {"role": "assistant", "content": [unsigned]},
        {"role": "assistant", "content": [signed]},
    ]
    body = {"max_tokens": 5, "messages": turns}
    sent = ADAPTER.render_chat(rig.from_client(Wire.ANTHROPIC_MESSAGES, body), rig.target())
    assert json.loads(sent.body)["messages"] == [
        turns[0],
        {"role": "assistant", "content": [call]},
        result,
        {"role": "assistant", "content": [signed]},
    ]
    assert sent.degraded == ("messages.reasoning", "messages.tool_calls.signature")
    assert body["messages"][1]["content"][0] is unsigned
