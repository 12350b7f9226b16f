"""What the Anthropic adapter sends."""

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


def test_the_end_users_id_of_an_openai_client_is_kept() -> None:
    assert rendered(rig.from_client(Wire.OPENAI_CHAT, {"user": "u1"}))["metadata"] == {"user_id": "u1"}


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"choices": 2}, "n"),
        ({"seed": 1}, "seed"),
        ({"temperature": 1.5}, "temperature"),
        ({"response_format": ResponseFormat()}, "response_format"),
        ({"tool_choice": ToolChoice(ToolChoiceMode.NAMED, "f")}, "tool_choice"),
        ({"reasoning_effort": "high", "max_output_tokens": 1000}, "reasoning_effort"),
        ({"messages": (Message(Role.ASSISTANT, (), (ToolCall("t", "f", "{broken"),)),)}, "messages[0].tool_calls[0].function.arguments"),
        ({"messages": (Message(Role.USER, (ImagePart(url="https://x", detail="low"),)),)}, "messages[0].content"),
        ({"messages": (Message(Role.ASSISTANT, (ReasoningPart("hm"),)),)}, "messages[0].content"),
        ({"messages": (Message(Role.USER, (TextPart("x"),), name="ann"),)}, "messages[0].name"),
    ],
)
def test_what_cannot_be_expressed_is_refused_by_name(changes, field) -> None:
    with pytest.raises(UnsupportedRequest) as refused:
        rendered(rig.chat_request(**changes), upstream_model="claude-sonnet-4-5")
    assert refused.value.detail.startswith(field)


OPENAI_ONLY = [
    ({"logprobs": True}, "logprobs"),
    ({"frequency_penalty": 0.5}, "frequency_penalty"),
    ({"store": True}, "store"),
    ({"service_tier": "flex"}, "service_tier"),
    ({"web_search_options": {}}, "web_search_options"),
    ({"tools": [{"type": "custom", "custom": {}}]}, "tools[0].type"),
    ({"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}]}, "messages[0].content[0].type"),
    ({"messages": [{"role": "assistant", "content": "x", "audio": {"id": "a"}}]}, "messages[0].audio"),
]


@pytest.mark.parametrize(("body", "field"), OPENAI_ONLY)
def test_fields_of_an_openai_client_that_would_get_lost_are_refused(body, field) -> None:
    with pytest.raises(UnsupportedRequest) as refused:
        rendered(rig.from_client(Wire.OPENAI_CHAT, body))
    assert field in refused.value.detail


def test_fields_that_change_nothing_are_left_out() -> None:
    neutral = {"logprobs": False, "frequency_penalty": 0, "presence_penalty": 0.0, "store": None, "service_tier": "auto", "logit_bias": {}}
    assert rendered(rig.from_client(Wire.OPENAI_CHAT, neutral)).keys() == {"model", "messages", "max_tokens"}
