"""Cohere's own API: what is sent, and what its answers mean."""

from __future__ import annotations

import json

import pytest

from providers.upstream.adapters import ADAPTERS
from providers.upstream.errors import (
    AuthRejected,
    BillingRefused,
    ContextTooLong,
    InvalidBody,
    ModelNotFound,
    QuotaExhausted,
    RateLimited,
    StreamTruncated,
    UnsupportedRequest,
    UpstreamError,
)
from providers.upstream.types import (
    Capability,
    EmbeddingsRequest,
    FinishReason,
    ImagePart,
    Message,
    ReasoningPart,
    ResponseFormat,
    Role,
    TextPart,
    TokenUsage,
    ToolCall,
    ToolChoice,
    ToolChoiceMode,
    ToolSpec,
    Wire,
)
from tests.providers.upstream import rig
from tests.providers.upstream.adapters.wires import calls_of, events, read_stream, response, text_of

ADAPTER = ADAPTERS[Wire.COHERE]
ADD, NOW = ToolSpec("add", "Adds.", {"type": "object"}), ToolSpec("now", None, {"type": "object"})
USAGE = {
    "billed_units": {"input_tokens": 8, "output_tokens": 50},
    "tokens": {"input_tokens": 1394, "output_tokens": 55},
    "cached_tokens": 1360,
}


def rendered(request) -> dict:
    sent = ADAPTER.render_chat(request, rig.target(upstream_model="command-a"))
    assert sent.path == "/v2/chat"
    return json.loads(sent.body)


def answer(finish: str = "COMPLETE", **message) -> dict:
    return {"id": "1", "message": {"role": "assistant", **message}, "finish_reason": finish, "usage": USAGE}


def event(kind: str, message: dict | None = None, **fields) -> dict:
    return {"type": kind, "delta": {"message": message or {}}, **fields}


def end(finish: str = "COMPLETE", **delta) -> dict:
    return {"type": "message-end", "delta": {"finish_reason": finish, "usage": USAGE, **delta}}


# --------------------------------------------------------------------------- requests


def test_every_option_has_its_own_name() -> None:
    request = rig.chat_request(
        stream=True, max_output_tokens=9, temperature=0.3, top_p=0.5, seed=3, stop=("x",),
        response_format=ResponseFormat(schema={"type": "object"})
    )  # fmt: skip
    assert rendered(request) == {
        "model": "command-a",
        "messages": [{"role": "user", "content": "Hi"}],
        "max_tokens": 9,
        "stream": True,
        "temperature": 0.3,
        "p": 0.5,
        "seed": 3,
        "stop_sequences": ["x"],
        "response_format": {"type": "json_object", "json_schema": {"type": "object"}},
    }


def test_a_conversation_with_tools_images_and_reasoning() -> None:
    turns = (
        Message(Role.SYSTEM, (TextPart("Be brief."),)),
        Message(
            Role.USER, (TextPart("See"), ImagePart(url="https://x/a.png", detail="low"), ImagePart(data="QUJD", media_type="image/png"))
        ),
        Message(Role.ASSISTANT, (ReasoningPart("hm", signature="theirs"),), (ToolCall("c1", "add", '{"a": 1}'),)),
        Message(Role.TOOL, (TextPart("2"),), tool_call_id="c1"),
    )
    body = rendered(rig.chat_request(messages=turns, tools=(ADD,)))
    assert body["messages"] == [
        {"role": "system", "content": "Be brief."},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "See"},
                {"type": "image_url", "image_url": {"url": "https://x/a.png", "detail": "low"}},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,QUJD"}},
            ],
        },
        {
            "role": "assistant",
            "content": [{"type": "thinking", "thinking": "hm"}],
            "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "2"},
    ]


@pytest.mark.parametrize(
    ("choice", "word", "offered"),
    [
        (None, None, ["add", "now"]),
        (ToolChoice(ToolChoiceMode.AUTO), None, ["add", "now"]),
        (ToolChoice(ToolChoiceMode.NONE), "NONE", ["add", "now"]),
        (ToolChoice(ToolChoiceMode.REQUIRED), "REQUIRED", ["add", "now"]),
        (ToolChoice(ToolChoiceMode.NAMED, "now"), "REQUIRED", ["now"]),
    ],
)
def test_a_named_tool_is_offered_alone_and_required(choice, word, offered) -> None:
    body = rendered(rig.chat_request(tools=(ADD, NOW), tool_choice=choice))
    assert (body.get("tool_choice"), [tool["function"]["name"] for tool in body["tools"]]) == (word, offered)


@pytest.mark.parametrize(
    ("effort", "thinking"),
    [("none", {"type": "disabled"}), ("low", {"type": "enabled", "token_budget": 999}), ("high", {"type": "enabled"})],
)
def test_effort_is_a_budget_below_the_output_limit(effort, thinking) -> None:
    assert rendered(rig.chat_request(reasoning_effort=effort))["thinking"] == thinking


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"choices": 2}, "n"),
        ({"logprobs": 0}, "logprobs"),
        ({"tools": (ADD,), "parallel_tool_calls": False}, "parallel_tool_calls"),
        ({"tool_choice": ToolChoice(ToolChoiceMode.REQUIRED)}, "tool_choice"),
        ({"tools": (ADD,), "tool_choice": ToolChoice(ToolChoiceMode.NAMED, "other")}, "tool_choice"),
        ({"messages": (Message(Role.SYSTEM, (ImagePart(url="https://x/a.png"),)),)}, "messages[0].content"),
        ({"messages": (Message(Role.USER, (TextPart("x"),), name="bob"),)}, "messages[0].name"),
        ({"wire_only": frozenset({"top_k"})}, "top_k"),
    ],
)
def test_what_the_api_cannot_do_is_refused_by_name(changes, field) -> None:
    with pytest.raises(UnsupportedRequest) as caught:
        rendered(rig.chat_request(**changes))
    assert caught.value.provider_message.startswith(f"{field} cannot be expressed")


def test_a_top_p_the_api_does_not_take_becomes_the_nearest_and_is_told() -> None:
    sent = ADAPTER.render_chat(rig.chat_request(top_p=1.0, end_user="u"), rig.target())
    assert (json.loads(sent.body)["p"], sent.degraded) == (0.99, ("top_p", "user"))


# --------------------------------------------------------------------------- answers


def test_usage_is_what_is_billed_without_the_prompt_template() -> None:
    body = answer(content=[{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "8"}])
    body["usage"] = {**USAGE, "tokens": {**USAGE["tokens"], "reasoning_tokens": 38}}
    parsed = ADAPTER.parse_chat(response(body))
    assert (parsed.choices[0].text, parsed.choices[0].reasoning) == ("8", (ReasoningPart("hm"),))
    assert parsed.usage == TokenUsage(input_tokens=8, output_tokens=12, reasoning_tokens=38)


def test_tool_calls_with_their_plan() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a":1}'}}
    choice = ADAPTER.parse_chat(response(answer("TOOL_CALL", tool_plan="I will add.", tool_calls=[call]))).choices[0]
    assert (choice.text, choice.tool_calls) == ("", (ToolCall("c1", "add", '{"a":1}'),))
    assert (choice.reasoning, choice.finish_reason) == ((ReasoningPart("I will add."),), FinishReason.TOOL_CALLS)


@pytest.mark.parametrize(
    ("reason", "ours"),
    [
        ("COMPLETE", FinishReason.STOP),
        ("STOP_SEQUENCE", FinishReason.STOP),
        ("MAX_TOKENS", FinishReason.LENGTH),
        ("ERROR_TOXIC", FinishReason.CONTENT_FILTER),
    ],
)
def test_every_way_to_end(reason, ours) -> None:
    assert ADAPTER.parse_chat(response(answer(reason, content=[]))).choices[0].finish_reason is ours


def test_generation_that_failed_on_their_side_is_no_answer() -> None:
    with pytest.raises(StreamTruncated):
        ADAPTER.parse_chat(response(answer("ERROR", content=[])))
    with pytest.raises(InvalidBody):
        ADAPTER.parse_chat(response({"id": "1"}))


@pytest.mark.parametrize(
    "body",
    [
        {"response_id": "r", "generation_id": "g", "text": "Arr", "finish_reason": "COMPLETE", "meta": USAGE},
        {"id": "g", "generations": [{"text": "Arr", "finish_reason": "COMPLETE"}], "meta": USAGE},
    ],
)
def test_the_first_version_is_read_too(body) -> None:
    parsed = ADAPTER.parse_chat(response(body))
    assert (parsed.id, parsed.choices[0].text, parsed.usage.output_tokens) == ("g", "Arr", 50)


def test_a_stream_of_reasoning_text_and_fragments_of_calls() -> None:
    def call(**function) -> dict:
        return {"tool_calls": {"id": "c1", "function": function} if "name" in function else {"function": function}}

    stream = events(
        {"type": "message-start", "id": "m1", "delta": {"message": {"role": "assistant"}}},
        event("tool-plan-delta", {"tool_plan": "I will."}),
        event("content-start", {"content": {"type": "text", "text": ""}}, index=0),
        event("content-delta", {"content": {"thinking": "hm"}}),
        event("content-delta", {"content": {"text": "Hi"}}),
        event("citation-start", {"citations": {"start": 0}}),
        event("tool-call-start", call(name="add", arguments=""), index=1),
        event("tool-call-delta", call(arguments='{"a":'), index=1),
        event("tool-call-delta", call(arguments="1}"), index=1),
        {"type": "tool-call-end", "index": 1},
        event("tool-call-start", call(name="now", arguments=""), index=2),
        {"type": "tool-call-end", "index": 2},
        end("TOOL_CALL"),
    )
    deltas, parser = read_stream(Wire.COHERE, stream + b"data: [DONE]\n\n")
    assert (text_of(deltas), "".join(delta.reasoning for delta in deltas)) == ("Hi", "I will.hm")
    assert calls_of(deltas) == [("c1", "add", '{"a":1}'), ("c1", "now", "{}")]
    assert [delta.finish_reason for delta in deltas if delta.finish_reason] == [FinishReason.TOOL_CALLS]
    assert (parser.upstream_id, parser.usage, parser.usage_is_final) == ("m1", TokenUsage(input_tokens=8, output_tokens=50), True)
    assert (parser.is_complete, deltas[-1].is_end) == (True, True)


def test_a_stream_that_ends_before_its_end_event_is_not_complete() -> None:
    _, parser = read_stream(Wire.COHERE, events(event("content-delta", {"content": {"text": "Hi"}})))
    assert not parser.is_complete


@pytest.mark.parametrize("bad", [{"message": "internal server error"}, end("ERROR", error="it broke"), {"type": "error", "message": "x"}])
def test_an_error_in_a_stream_is_raised(bad) -> None:
    with pytest.raises(UpstreamError):
        read_stream(Wire.COHERE, events(bad))


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (401, {"message": "invalid api token"}, AuthRejected),
        (498, {"message": "invalid token"}, AuthRejected),
        (404, {"id": "1", "message": "model 'x' not found, make sure the correct model ID was used"}, ModelNotFound),
        (400, {"error_type": "TOO_MANY_TOKENS", "message": "too many tokens: size limit exceeded"}, ContextTooLong),
        (429, {"message": "You are using a Trial key, which is limited to 40 API calls / minute."}, RateLimited),
        (429, {"message": "You are using a Trial key, which is limited to 1000 API calls / month."}, QuotaExhausted),
        (402, {"message": "Please add or update your payment method to continue"}, BillingRefused),
        (400, {"message": "tools is not supported by the provided model"}, UnsupportedRequest),
    ],
)
def test_errors_become_their_class(status, body, kind) -> None:
    assert type(ADAPTER.parse_error(response(body, status))) is kind


# --------------------------------------------------------------------------- models, embeddings


def test_the_list_tells_endpoints_features_window_and_the_next_page() -> None:
    rows = [
        {"name": "command-a", "endpoints": ["chat", "generate"], "context_length": 288000, "features": ["tools", "json_schema"]},
        {"name": "embed-v4", "endpoints": ["embed"], "context_length": 0},
    ]
    (command, embed), cursor = ADAPTER.parse_models(response({"models": rows, "next_page_token": "p&2"}))
    assert command.capabilities == {Capability.CHAT, Capability.STREAM, Capability.TOOLS, Capability.JSON_SCHEMA}
    assert (command.context_window_tokens, Capability.VISION in command.said) == (288000, True)
    assert (embed.capabilities, embed.context_window_tokens) == ({Capability.EMBEDDINGS}, None)
    assert ADAPTER.render_models(cursor).path == "/v1/models?page_size=1000&page_token=p%262"


def test_embeddings_name_their_purpose_and_are_never_cut() -> None:
    request = EmbeddingsRequest("m", ("a",), 10, dimensions=256)
    sent = ADAPTER.render_embeddings(request, rig.target(upstream_model="embed-v4"))
    assert sent.path == "/v2/embed"
    assert json.loads(sent.body) == {
        "model": "embed-v4", "texts": ["a"], "input_type": "search_document", "embedding_types": ["float"], "truncate": "NONE",
        "output_dimension": 256,
    }  # fmt: skip
    body = {"id": "e", "embeddings": {"float": [[0.5, 1]]}, "meta": {"billed_units": {"input_tokens": 3}}}
    parsed = ADAPTER.parse_embeddings(request, response(body))
    assert (parsed.vectors, parsed.usage, parsed.id) == (((0.5, 1.0),), TokenUsage(input_tokens=3, output_tokens=0), "e")


def test_more_texts_than_the_api_takes_are_refused() -> None:
    with pytest.raises(UnsupportedRequest):
        ADAPTER.render_embeddings(EmbeddingsRequest("m", ("a",) * 97, 10), rig.target())
