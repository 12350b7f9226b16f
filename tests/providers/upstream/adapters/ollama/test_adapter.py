"""Ollama's native API: what is sent, and what its answers mean."""

from __future__ import annotations

import json

import pytest

from providers.upstream.adapters import ADAPTERS
from providers.upstream.errors import (
    AuthRejected,
    ContextTooLong,
    InvalidBody,
    ModelNotFound,
    Overloaded,
    ServerFailed,
    UnsupportedRequest,
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
from tests.providers.upstream.adapters.wires import calls_of, lines, read_stream, response, text_of

ADAPTER = ADAPTERS[Wire.OLLAMA]
TOOL = ToolSpec("add", "Adds.", {"type": "object", "properties": {"a": {"type": "integer"}}})


def rendered(request, upstream_model: str = "qwen3:4b") -> dict:
    sent = ADAPTER.render_chat(request, rig.target(upstream_model=upstream_model))
    assert sent.path == "/api/chat"
    return json.loads(sent.body)


def message(**fields) -> dict:
    return {"model": "qwen3:4b", "message": {"role": "assistant", "content": "", **fields}, "done": False}


def done(**fields) -> dict:
    return {**message(), "done": True, "done_reason": "stop", "prompt_eval_count": 13, "eval_count": 10, **fields}


# --------------------------------------------------------------------------- requests


def test_a_plain_request_says_that_it_is_no_stream_and_is_never_cut() -> None:
    assert rendered(rig.chat_request(max_output_tokens=7)) == {
        "model": "qwen3:4b",
        "messages": [{"role": "user", "content": "Hi"}],
        "stream": False,
        "truncate": False,
        "options": {"num_predict": 7},
    }


def test_sampling_goes_into_options() -> None:
    body = rendered(rig.chat_request(stream=True, temperature=0.0, top_p=0.5, seed=3, stop=("x",)))
    assert body["stream"] is True
    assert body["options"] == {"num_predict": 1000, "temperature": 0.0, "top_p": 0.5, "seed": 3, "stop": ["x"]}


@pytest.mark.parametrize(
    ("wanted", "format_"), [(ResponseFormat(), "json"), (ResponseFormat(schema={"type": "object"}), {"type": "object"})]
)
def test_json_is_asked_for_by_name_or_by_schema(wanted, format_) -> None:
    assert rendered(rig.chat_request(response_format=wanted))["format"] == format_


@pytest.mark.parametrize(
    ("model", "effort", "think"),
    [("qwen3:4b", "none", False), ("qwen3:4b", "high", True), ("gpt-oss:20b", "minimal", "low"), ("gpt-oss:20b", "medium", "medium")],
)
def test_effort_becomes_a_switch_and_a_level_only_where_the_model_has_levels(model, effort, think) -> None:
    assert rendered(rig.chat_request(reasoning_effort=effort), model)["think"] == think


def test_a_conversation_with_tools_is_told_with_objects_and_names() -> None:
    turns = (
        Message(Role.SYSTEM, (TextPart("Be brief."),)),
        Message(Role.USER, (TextPart("See"), ImagePart(url="data:image/png;base64,QUJD"), ImagePart(data="REVG", media_type="image/png"))),
        Message(Role.ASSISTANT, (ReasoningPart("hm"),), (ToolCall("call_0", "add", '{"a": 1}'), ToolCall("call_1", "now", ""))),
        Message(Role.TOOL, (TextPart("2"),), tool_call_id="call_0"),
    )
    body = rendered(rig.chat_request(messages=turns, tools=(TOOL,)))
    assert body["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "See", "images": ["QUJD", "REVG"]},
        {
            "role": "assistant",
            "content": "",
            "thinking": "hm",
            "tool_calls": [
                {"id": "call_0", "function": {"index": 0, "name": "add", "arguments": {"a": 1}}},
                {"id": "call_1", "function": {"index": 1, "name": "now", "arguments": {}}},
            ],
        },
        {"role": "tool", "content": "2", "tool_name": "add", "tool_call_id": "call_0"},
    ]
    assert body["tools"] == [{"type": "function", "function": {"name": "add", "description": "Adds.", "parameters": dict(TOOL.parameters)}}]


def test_a_client_that_forbids_calls_has_no_tools_offered() -> None:
    assert "tools" not in rendered(rig.chat_request(tools=(TOOL,), tool_choice=ToolChoice(ToolChoiceMode.NONE)))


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"choices": 2}, "n"),
        ({"logprobs": 0}, "logprobs"),
        ({"tools": (TOOL,), "tool_choice": ToolChoice(ToolChoiceMode.REQUIRED)}, "tool_choice"),
        ({"tools": (TOOL,), "tool_choice": ToolChoice(ToolChoiceMode.NAMED, "add")}, "tool_choice"),
        ({"tools": (TOOL,), "parallel_tool_calls": False}, "parallel_tool_calls"),
        ({"messages": (Message(Role.USER, (ImagePart(url="https://example.com/a.png"),)),)}, "messages[0].content"),
        ({"messages": (Message(Role.USER, (TextPart("x"),), name="bob"),)}, "messages[0].name"),
        ({"messages": (Message(Role.ASSISTANT, (), (ToolCall("c", "add", "{oops"),)),)}, "messages[0].tool_calls[0].function.arguments"),
        ({"reasoning_effort": "extreme"}, "reasoning_effort"),
        ({"wire_only": frozenset({"frequency_penalty"})}, "frequency_penalty"),
    ],
)
def test_what_the_server_cannot_do_is_refused_by_name(changes, field) -> None:
    with pytest.raises(UnsupportedRequest) as caught:
        rendered(rig.chat_request(**changes))
    assert caught.value.provider_message.startswith(f"{field} cannot be expressed")


def test_what_changes_no_answer_is_left_out_and_told() -> None:
    request = rig.chat_request(end_user="u", reasoning_effort="low", hints=frozenset({"store"}))
    assert ADAPTER.render_chat(request, rig.target(upstream_model="qwen3")).degraded == ("reasoning_effort", "store", "user")


# --------------------------------------------------------------------------- answers


def test_a_whole_answer_with_thinking_and_calls() -> None:
    calls = [{"function": {"name": "add", "arguments": {"a": 1}}}, {"id": "call_x", "function": {"name": "now", "arguments": {}}}]
    answer = ADAPTER.parse_chat(response(done(message={"content": "Hello", "thinking": "hm", "tool_calls": calls})))
    choice = answer.choices[0]
    assert (choice.text, choice.reasoning, choice.finish_reason) == ("Hello", (ReasoningPart("hm"),), FinishReason.TOOL_CALLS)
    assert choice.tool_calls == (ToolCall("call_0", "add", '{"a":1}'), ToolCall("call_x", "now", "{}"))
    assert (answer.model, answer.usage) == ("qwen3:4b", TokenUsage(input_tokens=13, output_tokens=10))


@pytest.mark.parametrize(("reason", "ours"), [("length", FinishReason.LENGTH), ("stop", FinishReason.STOP), ("load", FinishReason.STOP)])
def test_every_way_to_end(reason, ours) -> None:
    assert ADAPTER.parse_chat(response(done(done_reason=reason))).choices[0].finish_reason is ours


def test_a_prompt_from_the_cache_is_unknown_and_not_zero() -> None:
    body = done()
    del body["prompt_eval_count"]
    usage = ADAPTER.parse_chat(response(body)).usage
    assert (usage.input_tokens, usage.output_tokens, usage.is_complete) == (None, 10, False)


@pytest.mark.parametrize("body", [b"<html>", {"done": True}, message(content="half")])
def test_a_body_that_is_no_finished_answer_is_invalid(body) -> None:
    with pytest.raises(InvalidBody):
        ADAPTER.parse_chat(response(body))


def test_a_stream_of_lines_with_thinking_text_and_whole_calls() -> None:
    call = {"function": {"index": 0, "name": "add", "arguments": {"a": 1}}}
    stream = lines(message(thinking="hm"), message(content="Hel"), message(content="lo"), message(tool_calls=[call]),
                   message(tool_calls=[call]), done())  # fmt: skip
    deltas, parser = read_stream(Wire.OLLAMA, stream)
    assert (text_of(deltas), "".join(delta.reasoning for delta in deltas)) == ("Hello", "hm")
    assert calls_of(deltas) == [("call_0", "add", '{"a":1}'), ("call_1", "add", '{"a":1}')]
    assert (deltas[-1].finish_reason, deltas[-1].is_end) == (FinishReason.TOOL_CALLS, True)
    assert (parser.is_complete, parser.usage_is_final, parser.usage) == (True, True, TokenUsage(input_tokens=13, output_tokens=10))


def test_a_stream_without_its_last_line_is_not_complete() -> None:
    _, parser = read_stream(Wire.OLLAMA, lines(message(content="Hel")))
    assert not parser.is_complete


def test_an_error_line_in_a_stream_is_raised_as_its_class() -> None:
    with pytest.raises(Overloaded):
        read_stream(Wire.OLLAMA, lines(message(content="Hel"), {"error": "model requires more system memory (9 GiB)"}))
    with pytest.raises(ServerFailed):
        read_stream(Wire.OLLAMA, lines({"error": "an error was encountered while running the model"}))


@pytest.mark.parametrize(
    ("status", "text", "kind"),
    [
        (404, "model 'x' not found", ModelNotFound),
        (400, "registry.ollama.ai/library/x does not support tools", UnsupportedRequest),
        (400, '"x" does not support thinking', UnsupportedRequest),
        (400, "the input length exceeds the context length", ContextTooLong),
        (500, "model requires more system memory (9 GiB) than is available (3 GiB)", Overloaded),
        (503, "server busy, please try again. maximum pending requests exceeded", Overloaded),
        (500, "llama runner process has terminated", ServerFailed),
        (401, "unauthorized", AuthRejected),
    ],
)
def test_errors_become_their_class(status, text, kind) -> None:
    assert type(ADAPTER.parse_error(response({"error": text}, status))) is kind


# --------------------------------------------------------------------------- models, embeddings


def test_the_list_tells_what_it_tells() -> None:
    rows = [
        {"name": "llama3.1:latest", "details": {"family": "llama", "families": ["llama"]}},
        {"name": "llava:7b", "details": {"family": "llama", "families": ["llama", "clip"]}},
        {"name": "nomic-embed-text:latest", "details": {"family": "nomic-bert"}},
        {"name": "qwen3:4b", "capabilities": ["completion", "tools", "thinking"], "details": {"context_length": 40960}},
    ]
    llama, llava, nomic, qwen = ADAPTER.parse_models(response({"models": rows}))[0]
    assert (llama.name, llama.capabilities) == ("llama3.1:latest", None)
    assert llava.said == {Capability.VISION}
    assert Capability.VISION in llava.capabilities
    assert (nomic.capabilities, nomic.said) == ({Capability.EMBEDDINGS}, None)
    assert {Capability.CHAT, Capability.TOOLS, Capability.REASONING} <= qwen.capabilities
    assert Capability.VISION not in qwen.capabilities
    assert qwen.context_window_tokens == 40960
    assert ADAPTER.render_models(None).path == "/api/tags"


def test_embeddings_keep_their_order_and_are_never_cut() -> None:
    request = EmbeddingsRequest("m", ("a", "b"), 10, dimensions=2)
    sent = ADAPTER.render_embeddings(request, rig.target(upstream_model="nomic-embed-text"))
    assert (sent.path, json.loads(sent.body)) == (
        "/api/embed",
        {"model": "nomic-embed-text", "input": ["a", "b"], "truncate": False, "dimensions": 2},
    )
    body = {"model": "nomic-embed-text", "embeddings": [[1, 0.5], [0, 1]], "prompt_eval_count": 4}
    answer = ADAPTER.parse_embeddings(request, response(body))
    assert (answer.vectors, answer.usage) == (((1.0, 0.5), (0.0, 1.0)), TokenUsage(input_tokens=4, output_tokens=0))


@pytest.mark.parametrize("rows", [[[1.0]], [[1.0], []], [[1.0], ["x"]], "x", None])
def test_another_number_of_vectors_or_none_at_all_is_invalid(rows) -> None:
    with pytest.raises(InvalidBody):
        ADAPTER.parse_embeddings(EmbeddingsRequest("m", ("a", "b"), 10), response({"embeddings": rows}))


def test_the_older_single_vector_is_read_and_token_ids_are_refused() -> None:
    answer = ADAPTER.parse_embeddings(EmbeddingsRequest("m", ("a",), 10), response({"embedding": [0.5]}))
    assert (answer.vectors, answer.usage.input_tokens) == (((0.5,),), None)
    with pytest.raises(UnsupportedRequest):
        ADAPTER.render_embeddings(EmbeddingsRequest("m", ((1, 2),), 10), rig.target())
