"""What each service is sent: OpenAI's wire, in the service's own variant of it (wire.md, and the vendors' pages in ``openai.profiles``)."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from providers.catalog import KINDS
from providers.upstream.adapters import ADAPTERS
from providers.upstream.adapters.openai.profiles import PLAIN, PROFILES, profile_of
from providers.upstream.errors import UnsupportedRequest
from providers.upstream.types import (
    ImagePart,
    Message,
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
HELLO = [{"role": "user", "content": "Hi"}]
WEATHER = {"type": "function", "function": {"name": "weather"}}
TIME = {"type": "function", "function": {"name": "time", "parameters": {"type": "object"}}}


def send(kind: str, body: dict[str, Any], **changes: Any):
    """What an OpenAI client's body becomes for a service."""
    request = rig.from_client(Wire.OPENAI_CHAT, {"messages": HELLO, **body}, **changes)
    http = ADAPTER.render_chat(request, rig.target(rig.provider(kind=kind)))
    return json.loads(http.body), http.degraded


def refused(kind: str, body: dict[str, Any], field: str) -> None:
    with pytest.raises(UnsupportedRequest) as error:
        send(kind, body)
    assert field in (error.value.provider_message or "")


def test_every_kind_that_speaks_this_wire_has_a_row() -> None:
    speakers = {kind.slug for kind in KINDS.values() if Wire.OPENAI_CHAT in (kind.adapter, *kind.also_speaks)}
    assert speakers - PROFILES.keys() == set()
    assert profile_of("unheard of") is PLAIN


# --------------------------------------------------------------------------- OpenAI itself


@pytest.mark.parametrize("kind", ["openai", "azure", "openai_compatible"])
def test_nothing_changes_where_the_variant_is_openais_own(kind) -> None:
    body = {
        "messages": [{"role": "developer", "content": "x", "name": "a"}, {"role": "assistant", "content": None, "refusal": "no"}],
        "max_completion_tokens": 5,
        "seed": 0,
        "tool_choice": "required",
        "tools": [WEATHER],
        "n": 2,
        "store": True,
        "stream": False,
        "logit_bias": {"1": 2},
    }
    assert send(kind, body) == ({**body, "model": "gpt-4o-2024"}, ())


@pytest.mark.parametrize("kind", sorted(PROFILES))
def test_U33_nulls_are_left_out_for_everybody(kind) -> None:
    sent, degraded = send(kind, {"stop": None, "seed": None, "user": None, "logprobs": None, "tools": None, "max_tokens": None})
    assert sent in ({"messages": HELLO, "model": "gpt-4o-2024", "max_tokens": 1000},)
    assert degraded == ()


@pytest.mark.parametrize("kind", sorted(PROFILES))
def test_B15_every_call_leaves_with_one_bounded_limit(kind) -> None:
    for given in ({}, {"max_tokens": 7}, {"max_completion_tokens": 7}, {"max_completion_tokens": 10**9}):
        sent, _ = send(kind, given, max_output_tokens=next(iter(given.values()), None))
        limits = {name: sent[name] for name in ("max_tokens", "max_completion_tokens") if name in sent}
        assert list(limits.values()) == [min(next(iter(given.values()), 1000), 1000)]
        assert PROFILES[kind].output_limit in (None, *limits)


@pytest.mark.parametrize("kind", sorted(PROFILES))
def test_U29_streams_ask_for_usage_wherever_the_service_takes_the_question(kind) -> None:
    sent, _ = send(kind, {"stream": True, "stream_options": {"include_usage": False}}, stream=True)
    assert sent["stream"] is True
    assert sent.get("stream_options") == (None if kind in ("mistral", "ditectrev") else {"include_usage": True})


# --------------------------------------------------------------------------- Mistral


def test_a_body_of_an_openai_client_becomes_mistrals() -> None:
    body = {
        "messages": [{"role": "developer", "content": "Be brief."}, *HELLO],
        "max_completion_tokens": 50,
        "seed": 0,
        "tools": [WEATHER, TIME],
        "tool_choice": "required",
        "stream": True,
        "stream_options": {"include_usage": True},
        "store": False,
        "logprobs": False,
        "n": 2,
    }
    sent, degraded = send("mistral", body, stream=True, max_output_tokens=50)
    assert sent == {
        "messages": [{"role": "system", "content": "Be brief."}, *HELLO],
        "model": "gpt-4o-2024",
        "max_tokens": 50,
        "random_seed": 0,
        "tools": [
            {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}},
            TIME,
        ],
        "tool_choice": "any",
        "stream": True,
        "n": 2,
    }
    assert degraded == ()


def test_labels_mistral_refuses_are_left_out_and_reported() -> None:
    sent, degraded = send("mistral", {"user": "u1", "service_tier": "flex", "safety_identifier": "s", "metadata": {"a": "b"}})
    assert degraded == ("safety_identifier", "service_tier", "user")
    assert sent["metadata"] == {"a": "b"}


def test_turns_keep_only_the_keys_mistral_takes() -> None:
    turn = {"role": "assistant", "content": "a", "refusal": None, "annotations": [], "audio": None, "reasoning_content": "hm", "name": "x"}
    said_no = {"role": "assistant", "content": None, "refusal": "I will not."}
    sent, degraded = send("mistral", {"messages": [{**HELLO[0], "name": "ann"}, turn, said_no]})
    assert sent["messages"] == [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "a"},
        {"role": "assistant", "content": "I will not."},
    ]
    assert degraded == ("messages.name", "messages.reasoning_content")
    refused("mistral", {"messages": [{"role": "assistant", "content": "", "function_call": {"name": "f"}}]}, "messages[0].function_call")


def test_what_clients_echo_is_left_out_and_reported() -> None:
    turn = {"role": "assistant", "content": "a", "provider_specific_fields": {"prefix": "x"}, "cache_control": {"type": "ephemeral"}}
    sent, degraded = send("mistral", {"messages": [turn]})
    assert sent["messages"] == [{"role": "assistant", "content": "a"}]
    assert degraded == ("messages.cache_control", "messages.provider_specific_fields")


def test_tool_call_ids_get_mistrals_form_the_same_in_every_turn() -> None:
    def calls(*ids: str) -> list[dict[str, Any]]:
        return [{"id": one, "type": "function", "function": {"name": "f", "arguments": "{}"}} for one in ids]

    history = [
        *HELLO,
        {"role": "assistant", "tool_calls": calls("call_PTLP8xhu3uwZk4l3nlnrrJha", "D681PevKs")},
        {"role": "tool", "tool_call_id": "call_PTLP8xhu3uwZk4l3nlnrrJha", "content": "x"},
        {"role": "tool", "tool_call_id": "D681PevKs", "content": "y"},
    ]
    first, again = send("mistral", {"messages": history})[0], send("mistral", {"messages": history})[0]
    assert first == again
    made, kept = (call["id"] for call in first["messages"][1]["tool_calls"])
    assert kept == "D681PevKs"
    assert re.fullmatch(r"[A-Za-z0-9]{9}", made)
    assert [turn["tool_call_id"] for turn in first["messages"][2:]] == [made, kept]
    assert send("openai", {"messages": history})[0]["messages"] == history


@pytest.mark.parametrize("field", ["logprobs", "logit_bias", "modalities", "functions", "verbosity", "web_search_options"])
def test_what_mistral_has_no_word_for_is_refused_by_name(field) -> None:
    refused("mistral", {field: [1]}, field)


def test_mistrals_own_fields_and_parts_pass() -> None:
    own = {
        "random_seed": 3,
        "safe_prompt": True,
        "messages": [{"role": "user", "content": [{"type": "document_url", "document_url": "https://x/y.pdf"}]}],
    }
    assert send("mistral", own)[0].items() >= own.items()
    refused("mistral", {"messages": [{"role": "user", "content": [{"type": "video_url"}]}]}, "messages[0].content[0].type 'video_url'")


def test_a_translated_request_speaks_mistral_too() -> None:
    request = rig.chat_request(
        messages=(
            Message(Role.USER, (TextPart("Hi"), ImagePart(url="https://x/y.png"))),
            Message(Role.ASSISTANT, (), (ToolCall("toolu_01", "weather", "{}"),)),
            Message(Role.TOOL, (TextPart("rain"),), tool_call_id="toolu_01"),
        ),
        seed=7,
        tools=(ToolSpec("weather"),),
        tool_choice=ToolChoice(ToolChoiceMode.REQUIRED),
        end_user="u1",
        stream=True,
    )
    http = ADAPTER.render_chat(request, rig.target(rig.provider(kind="mistral")))
    sent = json.loads(http.body)
    assert (sent["random_seed"], sent["tool_choice"], http.degraded) == (7, "any", ("user",))
    assert sent["messages"][1]["tool_calls"][0]["id"] == sent["messages"][2]["tool_call_id"]
    assert sent.keys().isdisjoint({"seed", "stream_options", "user"})


# --------------------------------------------------------------------------- others


@pytest.mark.parametrize("kind", ["deepseek", "groq", "perplexity", "cerebras", "zai"])
def test_several_answers_are_refused_where_one_is_all_there_is(kind) -> None:
    refused(kind, {"n": 2}, "n cannot")
    assert send(kind, {"n": 1})[0]["n"] == 1


@pytest.mark.parametrize(
    ("kind", "effort", "fields"),
    [
        ("openai", "none", {"reasoning_effort": "none"}),
        ("deepseek", "none", {"thinking": {"type": "disabled"}}),
        ("deepseek", "high", {"reasoning_effort": "high"}),
        ("mistral", "high", {"reasoning_effort": "high"}),
        ("openrouter", "low", {"reasoning_effort": "low"}),
        ("vllm", "none", {"chat_template_kwargs": {"enable_thinking": False}}),
        ("llamacpp", "none", {"chat_template_kwargs": {"enable_thinking": False}}),
        ("llamacpp", "high", {"reasoning_effort": "high"}),
    ],
)
def test_reasoning_effort_in_each_services_words(kind, effort, fields) -> None:
    sent, degraded = send(kind, {"reasoning_effort": effort})
    words = ("reasoning_effort", "thinking", "chat_template_kwargs")
    assert {name: sent[name] for name in words if name in sent} == fields
    assert degraded == ()


def test_a_services_own_switch_wins_over_the_translated_one() -> None:
    sent, _ = send("vllm", {"reasoning_effort": "none", "chat_template_kwargs": {"enable_thinking": True, "x": 1}})
    assert sent["chat_template_kwargs"] == {"enable_thinking": True, "x": 1}


def test_json_schema_is_refused_where_only_json_object_is_offered() -> None:
    schema = {"type": "json_schema", "json_schema": {"name": "a", "schema": {}}}
    refused("deepseek", {"response_format": schema}, "response_format")
    assert send("deepseek", {"response_format": {"type": "json_object"}})[0]["response_format"] == {"type": "json_object"}
    with pytest.raises(UnsupportedRequest, check=says("response_format")):
        ADAPTER.render_chat(rig.chat_request(response_format=ResponseFormat("a", {})), rig.target(rig.provider(kind="deepseek")))


def test_images_are_refused_by_name_where_only_text_is_read() -> None:
    picture = [{"role": "user", "content": [{"type": "text", "text": "x"}, {"type": "image_url", "image_url": {"url": "https://x/y"}}]}]
    refused("deepseek", {"messages": picture}, "messages[0].content[1].type 'image_url'")
    assert send("groq", {"messages": picture})[0]["messages"] == picture


def test_groq_is_sent_nothing_it_answers_with_400() -> None:
    sent, degraded = send("groq", {"messages": [{**HELLO[0], "name": "ann"}], "store": True})
    assert (sent["messages"], degraded) == (HELLO, ("messages.name", "store"))
    for field in ("logprobs", "top_logprobs", "logit_bias"):
        refused("groq", {field: 1}, field)


def test_geminis_openai_door_is_sent_no_unknown_names() -> None:
    sent, degraded = send("gemini_openai", {"store": True, "metadata": {"a": "b"}, "frequency_penalty": 0, "reasoning_effort": "low"})
    assert sent == {"messages": HELLO, "model": "gpt-4o-2024", "max_tokens": 1000, "reasoning_effort": "low"}
    assert degraded == ("metadata", "store")
    refused("gemini_openai", {"seed": 0}, "seed")


def test_a_named_tool_becomes_the_only_one_where_names_are_ignored() -> None:
    body = {"tools": [WEATHER, TIME], "tool_choice": {"type": "function", "function": {"name": "time"}}}
    sent, _ = send("llamacpp", body)
    assert (sent["tools"], sent["tool_choice"]) == ([TIME], "required")
    assert send("vllm", body)[0]["tool_choice"] == body["tool_choice"]
    refused("llamacpp", {**body, "tools": [WEATHER]}, "tool_choice")


@pytest.mark.parametrize(("kind", "role"), [("openai", "developer"), ("groq", "developer"), ("deepseek", "system"), ("vllm", "system")])
def test_the_developer_role_where_it_is_known(kind, role) -> None:
    assert send(kind, {"messages": [{"role": "developer", "content": "x"}]})[0]["messages"][0]["role"] == role


# --------------------------------------------------------------------------- OpenRouter's and llama.cpp's own


@pytest.mark.parametrize("kind", ["openai", "groq", "mistral", "xai"])
def test_openrouters_wish_for_usage_stays_with_openrouter(kind) -> None:
    body = {"usage": {"include": True}}
    assert send("openrouter", body)[0]["usage"] == {"include": True}
    sent, left_out = send(kind, body)
    assert "usage" not in sent
    assert left_out == ("usage",)


def test_an_image_in_a_tools_result_goes_where_the_service_looks_at_it() -> None:
    call = Message(Role.ASSISTANT, tool_calls=(ToolCall("c1", "look", "{}"),))
    result = Message(Role.TOOL, (ImagePart(data="aGk=", media_type="image/png"),), tool_call_id="c1")
    request = rig.chat_request(messages=(call, result))
    http = ADAPTER.render_chat(request, rig.target(rig.provider(kind="llamacpp")))
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}
    assert json.loads(http.body)["messages"][1] == {"role": "tool", "tool_call_id": "c1", "content": [image]}
    with pytest.raises(UnsupportedRequest, check=says("images in a turn of role tool")):
        ADAPTER.render_chat(request, rig.target(rig.provider(kind="openai")))
