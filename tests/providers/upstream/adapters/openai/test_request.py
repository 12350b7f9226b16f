"""What the OpenAI adapter sends."""

from __future__ import annotations

import json

import pytest

from providers.upstream.adapters import ADAPTERS
from providers.upstream.errors import UnsupportedRequest
from providers.upstream.types import (
    ImagePart,
    Message,
    ReasoningPart,
    ResponseFormat,
    Role,
    TextPart,
    ToolCall,
    ToolChoice,
    ToolChoiceMode,
    ToolSpec,
    Wire,
)
from tests.providers.upstream import rig
from tests.providers.upstream.words import says

ADAPTER = ADAPTERS[Wire.OPENAI_CHAT]


def rendered(request, chosen=None) -> dict:
    sent = ADAPTER.render_chat(request, chosen or rig.target())
    assert (sent.method, sent.path, sent.headers["content-type"]) == ("POST", "/chat/completions", "application/json")
    return json.loads(sent.body)


# --------------------------------------------------------------------------- the same wire format


def test_every_field_of_a_client_of_the_same_format_passes() -> None:
    body = {"model": "alias", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 7, "logit_bias": {"1": 2}, "x_vendor": [1]}
    sent = rendered(rig.from_client(Wire.OPENAI_CHAT, body, max_output_tokens=7))
    assert sent == {**body, "model": "gpt-4o-2024"}
    assert body["model"] == "alias", "the client's body is not touched"


@pytest.mark.parametrize(
    ("upstream_model", "field"),
    [
        ("gpt-4o", "max_tokens"),
        ("llama-3", "max_tokens"),
        ("gpt-5", "max_completion_tokens"),
        ("gpt-5.1-mini", "max_completion_tokens"),
        ("gpt-5-2025-08-07", "max_completion_tokens"),
        ("o1", "max_completion_tokens"),
        ("o3-mini", "max_completion_tokens"),
        ("openai/o4-mini", "max_completion_tokens"),
        ("o10-custom", "max_tokens"),
        ("gpt-50", "max_tokens"),
    ],
)
def test_B15_a_missing_output_limit_is_added_under_the_name_the_model_takes(upstream_model, field) -> None:
    sent = rendered(rig.from_client(Wire.OPENAI_CHAT, {"messages": []}), rig.target(upstream_model=upstream_model))
    assert sent[field] == 1000
    assert {"max_tokens", "max_completion_tokens"} & sent.keys() == {field}


@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens"])
def test_the_clients_own_name_for_the_limit_is_kept_and_bounded(field) -> None:
    sent = rendered(rig.from_client(Wire.OPENAI_CHAT, {field: 10**9}, max_output_tokens=10**9), rig.target(upstream_model="gpt-5"))
    assert sent[field] == 1000
    assert {"max_tokens", "max_completion_tokens"} & sent.keys() == {field}


def test_U33_a_limit_sent_as_null_is_replaced() -> None:
    sent = rendered(rig.from_client(Wire.OPENAI_CHAT, {"max_tokens": None, "max_completion_tokens": None}))
    assert "max_completion_tokens" not in sent
    assert sent["max_tokens"] == 1000


def test_U29_streams_always_ask_for_usage_and_keep_other_stream_options() -> None:
    body = {"stream": True, "stream_options": {"include_usage": False, "include_obfuscation": False}}
    sent = rendered(rig.from_client(Wire.OPENAI_CHAT, body, stream=True))
    assert sent["stream"] is True
    assert sent["stream_options"] == {"include_usage": True, "include_obfuscation": False}


# --------------------------------------------------------------------------- translated


CONVERSATION = (
    Message(Role.SYSTEM, (TextPart("Be brief."),)),
    Message(
        Role.USER, (TextPart("Look: "), ImagePart(data="QUJD", media_type="image/png", detail="low"), ImagePart(url="https://x/y.jpg"))
    ),
    Message(Role.ASSISTANT, (), (ToolCall("call_1", "get_weather", '{"city":"Bonn"}'), ToolCall("call_2", "get_time", "{}"))),
    Message(Role.TOOL, (TextPart("rain"),), tool_call_id="call_1"),
    Message(Role.TOOL, (TextPart("noon"),), tool_call_id="call_2"),
    Message(Role.ASSISTANT, (TextPart("Rain at noon."),)),
    Message(Role.USER, (TextPart("Thanks"),), name="ann"),
)


def test_a_whole_conversation_is_translated() -> None:
    assert rendered(rig.chat_request(messages=CONVERSATION))["messages"] == [
        {"role": "system", "content": "Be brief."},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Look: "},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,QUJD", "detail": "low"}},
                {"type": "image_url", "image_url": {"url": "https://x/y.jpg"}},
            ],
        },
        {
            "role": "assistant",
            "tool_calls": [
                {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city":"Bonn"}'}},
                {"id": "call_2", "type": "function", "function": {"name": "get_time", "arguments": "{}"}},
            ],
        },
        {"role": "tool", "tool_call_id": "call_1", "content": "rain"},
        {"role": "tool", "tool_call_id": "call_2", "content": "noon"},
        {"role": "assistant", "content": "Rain at noon."},
        {"role": "user", "name": "ann", "content": "Thanks"},
    ]


def test_U33_what_was_not_asked_for_is_left_out_never_null() -> None:
    assert rendered(rig.chat_request()) == {
        "model": "gpt-4o-2024",
        "messages": [{"role": "user", "content": "Hi"}],
        "max_tokens": 1000,
    }


def test_all_options_are_translated() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    sent = rendered(
        rig.chat_request(
            stream=True,
            max_output_tokens=50,
            temperature=0.0,
            top_p=0.5,
            stop=("a", "b"),
            seed=0,
            choices=2,
            tools=(ToolSpec("f", "does f", schema, strict=True), ToolSpec("g")),
            tool_choice=ToolChoice(ToolChoiceMode.NAMED, "f"),
            parallel_tool_calls=False,
            response_format=ResponseFormat("answer", schema, strict=True),
            reasoning_effort="low",
        )
    )
    del sent["messages"]
    assert sent == {
        "model": "gpt-4o-2024",
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": 50,
        "temperature": 0.0,
        "top_p": 0.5,
        "stop": ["a", "b"],
        "seed": 0,
        "n": 2,
        "tools": [
            {"type": "function", "function": {"name": "f", "description": "does f", "parameters": schema, "strict": True}},
            {"type": "function", "function": {"name": "g"}},
        ],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
        "parallel_tool_calls": False,
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "answer", "schema": schema, "strict": True},
        },
        "reasoning_effort": "low",
    }


@pytest.mark.parametrize("mode", [ToolChoiceMode.AUTO, ToolChoiceMode.NONE, ToolChoiceMode.REQUIRED])
def test_tool_choice_words(mode) -> None:
    assert rendered(rig.chat_request(tools=(ToolSpec("f"),), tool_choice=ToolChoice(mode)))["tool_choice"] == mode.value


def test_json_mode() -> None:
    assert rendered(rig.chat_request(response_format=ResponseFormat()))["response_format"] == {"type": "json_object"}


def test_the_end_users_id_becomes_user() -> None:
    assert rendered(rig.from_client(Wire.ANTHROPIC_MESSAGES, {}, end_user="u1"))["user"] == "u1"


def test_what_only_another_wire_format_can_carry_is_refused_by_name() -> None:
    request = rig.from_client(Wire.ANTHROPIC_MESSAGES, {}, wire_only=frozenset({"top_k", "messages[0].content[0].type 'document'"}))
    with pytest.raises(UnsupportedRequest) as refused:
        rendered(request)
    assert "messages[0].content[0].type" in refused.value.provider_message
    assert rendered(rig.from_client(Wire.OPENAI_CHAT, {"top_k": 5}, wire_only=frozenset({"top_k"})))["top_k"] == 5


def test_hints_of_another_wire_format_are_left_out_and_reported() -> None:
    foreign = rig.from_client(Wire.ANTHROPIC_MESSAGES, {}, hints=frozenset({"metadata.team", "service_tier"}))
    assert ADAPTER.render_chat(foreign, rig.target()).degraded == ("metadata.team", "service_tier")
    own = rig.from_client(Wire.OPENAI_CHAT, {"service_tier": "flex"}, hints=frozenset({"service_tier"}))
    sent = ADAPTER.render_chat(own, rig.target())
    assert (sent.degraded, json.loads(sent.body)["service_tier"]) == ((), "flex")


def test_log_probabilities_are_asked_for() -> None:
    sent = rendered(rig.chat_request(logprobs=3))
    assert (sent["logprobs"], sent["top_logprobs"]) == (True, 3)
    assert "top_logprobs" not in rendered(rig.chat_request(logprobs=0))


EARLIER_REASONING = Message(Role.ASSISTANT, (ReasoningPart("hm", "sig"), TextPart("x")))


def test_earlier_reasoning_goes_back_where_there_is_a_place_for_it_and_is_reported_where_not() -> None:
    def sent(kind: str):
        return ADAPTER.render_chat(rig.chat_request(messages=(EARLIER_REASONING,)), rig.target(rig.provider(kind=kind)))

    assert json.loads(sent("openai").body)["messages"] == [{"role": "assistant", "content": "x"}]
    assert sent("openai").degraded == ("messages.reasoning",)
    assert json.loads(sent("deepseek").body)["messages"] == [{"role": "assistant", "reasoning_content": "hm", "content": "x"}]
    assert sent("deepseek").degraded == ()


NOT_FOR_OPENAI = [
    Message(Role.USER, (ReasoningPart("hm", "sig"), TextPart("x"))),
    Message(Role.TOOL, (ImagePart(url="https://x"),), tool_call_id="c"),
    Message(Role.SYSTEM, (ImagePart(url="https://x"),)),
    Message(Role.USER, (ImagePart(data="QUJD"),)),
]


@pytest.mark.parametrize("message", NOT_FOR_OPENAI)
def test_parts_that_have_no_place_are_refused(message) -> None:
    with pytest.raises(UnsupportedRequest, check=says("messages[0].content")):
        rendered(rig.chat_request(messages=(message,)))


def test_a_forced_tool_without_tools_is_refused() -> None:
    with pytest.raises(UnsupportedRequest, check=says("tool_choice")):
        rendered(rig.chat_request(tool_choice=ToolChoice(ToolChoiceMode.REQUIRED)))
