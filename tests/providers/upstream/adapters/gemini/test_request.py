"""What the Gemini adapter sends."""

from __future__ import annotations

import json

import pytest

from providers.upstream.adapters import ADAPTERS
from providers.upstream.adapters.gemini.turns import FOREIGN_SIGNATURE
from providers.upstream.errors import UnsupportedRequest
from providers.upstream.types import (
    CountTokensRequest,
    EmbeddingsRequest,
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
from tests.providers.upstream.words import says

ADAPTER = ADAPTERS[Wire.GEMINI]
VERTEX = "https://us-east5-aiplatform.googleapis.com/v1/projects/p/locations/us-east5/publishers/google"
WEATHER = ToolSpec("weather", "Says it.", {"$schema": "x", "type": "object", "properties": {"$schema": {"const": 1}}})


def target(model: str = "gemini-3-flash"):
    return rig.target(upstream_model=model)


def rendered(request, model: str = "gemini-3-flash") -> dict:
    return json.loads(ADAPTER.render_chat(request, target(model)).body)


def config(model: str = "gemini-3-flash", **changes) -> dict:
    found = rendered(rig.chat_request(**changes), model)["generationConfig"]
    assert found.pop("maxOutputTokens") > 0
    return found


def called(signature: str | None = None, result: str = '{"sky": "blue"}') -> tuple[Message, ...]:
    return (
        Message(Role.USER, (TextPart("Weather?"),)),
        Message(Role.ASSISTANT, (), (ToolCall("c1", "weather", '{"city":"Rome"}', signature), ToolCall("c2", "weather", ""))),
        Message(Role.TOOL, (TextPart(result),), tool_call_id="c1"),
        Message(Role.TOOL, (TextPart("rain"),), tool_call_id="c2"),
        Message(Role.USER, (TextPart("Go on."),)),
    )


@pytest.mark.parametrize(
    ("model", "stream", "path"),
    [
        ("gemini-3-flash", False, "/models/gemini-3-flash:generateContent"),
        ("models/gemini-3-flash", True, "/models/gemini-3-flash:streamGenerateContent?alt=sse"),
        ("tunedModels/mine", False, "/tunedModels/mine:generateContent"),
        ("a/../b?key=x#y", False, "/models/a%2F..%2Fb%3Fkey%3Dx%23y:generateContent"),
    ],
)
def test_B16_the_model_stands_in_the_path_and_cannot_leave_it(model: str, stream: bool, path: str) -> None:
    assert ADAPTER.render_chat(rig.chat_request(stream=stream), target(model)).path == path


@pytest.mark.parametrize(("outer", "inner"), [("generationConfig", "maxOutputTokens"), ("generation_config", "max_output_tokens")])
def test_every_field_of_a_client_of_the_same_format_passes_in_its_own_spelling(outer: str, inner: str) -> None:
    body = {"model": "models/x", "contents": [], "cachedContent": "c/1", outer: {"topK": 3, inner: 5}}
    sent = rendered(rig.from_client(Wire.GEMINI, body, max_output_tokens=5))
    assert sent == {"contents": [], "cachedContent": "c/1", outer: {"topK": 3, inner: 5}}


def test_B15_the_output_limit_is_added_and_bounded() -> None:
    assert rendered(rig.chat_request())["generationConfig"]["maxOutputTokens"] == 1000
    assert rendered(rig.from_client(Wire.GEMINI, {"contents": []}, max_output_tokens=None))["generationConfig"] == {"maxOutputTokens": 1000}
    body = {"contents": [], "generation_config": {"max_output_tokens": 10**9}}
    assert rendered(rig.from_client(Wire.GEMINI, body, max_output_tokens=10**9))["generation_config"] == {"max_output_tokens": 1000}


def test_a_conversation_becomes_turns_of_user_and_model() -> None:
    messages = (Message(Role.SYSTEM, (TextPart("Be brief."),)), *called(), Message(Role.SYSTEM, (TextPart("Be kind."),)))
    sent = rendered(rig.chat_request(messages=messages), "gemini-2.5-flash")
    assert sent["systemInstruction"] == {"parts": [{"text": "Be brief."}, {"text": "Be kind."}]}
    assert [turn["role"] for turn in sent["contents"]] == ["user", "model", "user"]
    assert sent["contents"][1]["parts"] == [
        {"functionCall": {"name": "weather", "args": {"city": "Rome"}, "id": "c1"}},
        {"functionCall": {"name": "weather", "args": {}, "id": "c2"}},
    ]
    assert sent["contents"][2]["parts"] == [
        {"functionResponse": {"name": "weather", "response": {"sky": "blue"}, "id": "c1"}},
        {"functionResponse": {"name": "weather", "response": {"result": "rain"}, "id": "c2"}},
        {"text": "Go on."},
    ]


@pytest.mark.parametrize("result", ["[1]", "7", "null", "not json", ""])
def test_a_result_that_is_no_object_is_wrapped_as_it_is(result: str) -> None:
    sent = rendered(rig.chat_request(messages=called(result=result)))
    assert sent["contents"][2]["parts"][0]["functionResponse"]["response"] == {"result": result}


@pytest.mark.parametrize(
    ("model", "signature", "expected"),
    [
        ("gemini-3-pro", "sig", "sig"),
        ("gemini-2.5-pro", "sig", "sig"),
        ("gemini-3-pro", None, FOREIGN_SIGNATURE),
        ("gemini-flash-latest", None, FOREIGN_SIGNATURE),
        ("gemini-2.5-pro", None, None),
    ],
)
def test_the_first_call_of_a_step_carries_its_signature_or_googles_word_for_none(model: str, signature, expected) -> None:
    first, second = rendered(rig.chat_request(messages=called(signature)), model)["contents"][1]["parts"]
    assert (first.get("thoughtSignature"), second.get("thoughtSignature")) == (expected, None)


def test_images_go_by_data_or_by_address() -> None:
    parts = (
        ImagePart(data="QUJD", media_type="image/png"),
        ImagePart(url="data:image/gif;base64,R0lG"),
        ImagePart(url="https://example.com/cat.jpg?size=2"),
        ImagePart(url="https://example.com/cat"),
    )
    sent = rendered(rig.chat_request(messages=(Message(Role.USER, parts),)))
    assert sent["contents"][0]["parts"] == [
        {"inlineData": {"mimeType": "image/png", "data": "QUJD"}},
        {"inlineData": {"mimeType": "image/gif", "data": "R0lG"}},
        {"fileData": {"fileUri": "https://example.com/cat.jpg?size=2", "mimeType": "image/jpeg"}},
        {"fileData": {"fileUri": "https://example.com/cat"}},
    ]


def test_tools_and_their_choice_are_translated() -> None:
    sent = rendered(rig.chat_request(tools=(WEATHER, ToolSpec("now")), tool_choice=ToolChoice(ToolChoiceMode.NAMED, "weather")))
    schema = {"type": "object", "properties": {"$schema": {"enum": [1]}}}
    assert sent["tools"] == [
        {"functionDeclarations": [{"name": "weather", "description": "Says it.", "parametersJsonSchema": schema}, {"name": "now"}]}
    ]
    assert sent["toolConfig"] == {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["weather"]}}


@pytest.mark.parametrize(("mode", "name"), [("auto", "AUTO"), ("none", "NONE"), ("required", "ANY")])
def test_every_mode_of_choice_has_a_word(mode: str, name: str) -> None:
    sent = rendered(rig.chat_request(tools=(WEATHER,), tool_choice=ToolChoice(ToolChoiceMode(mode))))
    assert sent["toolConfig"] == {"functionCallingConfig": {"mode": name}}


def test_sampling_and_format_have_their_own_names() -> None:
    assert config(temperature=0.5, top_p=0.9, stop=("a",), seed=7, choices=2, logprobs=3) == {
        "temperature": 0.5, "topP": 0.9, "stopSequences": ["a"], "seed": 7, "candidateCount": 2, "responseLogprobs": True, "logprobs": 3,
    }  # fmt: skip
    assert config(logprobs=0) == {"responseLogprobs": True}
    assert config(response_format=ResponseFormat()) == {"responseMimeType": "application/json"}
    schema = {"type": "object", "additionalProperties": False, "$comment": "x"}
    assert config(response_format=ResponseFormat(schema=schema, strict=True)) == {
        "responseMimeType": "application/json",
        "responseJsonSchema": {"type": "object", "additionalProperties": False},
    }


@pytest.mark.parametrize(
    ("model", "effort", "thinking"),
    [
        ("gemini-2.5-flash", "none", {"thinkingBudget": 0, "includeThoughts": False}),
        ("gemini-2.5-flash", "minimal", {"thinkingBudget": 1024, "includeThoughts": True}),
        ("gemini-2.5-pro", "medium", {"thinkingBudget": 8192, "includeThoughts": True}),
        ("gemini-2.5-pro", "high", {"thinkingBudget": 24576, "includeThoughts": True}),
        ("gemini-3-flash", "minimal", {"thinkingLevel": "minimal", "includeThoughts": True}),
        ("gemini-3-pro-preview", "minimal", {"thinkingLevel": "low", "includeThoughts": True}),
        ("gemini-3-flash", "xhigh", {"thinkingLevel": "high", "includeThoughts": True}),
        ("gemini-2.0-flash", "none", None),
        ("gemini-3-flash", None, None),
    ],
)
def test_effort_becomes_a_budget_or_a_level(model: str, effort, thinking) -> None:
    assert config(model, reasoning_effort=effort).get("thinkingConfig") == thinking


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"wire_only": frozenset({"logit_bias"})}, "logit_bias"),
        ({"choices": 9}, "n "),
        ({"tools": (WEATHER,), "parallel_tool_calls": False}, "parallel_tool_calls"),
        ({"tool_choice": ToolChoice(ToolChoiceMode.REQUIRED)}, "tool_choice"),
        ({"reasoning_effort": "none"}, "reasoning_effort"),
        ({"reasoning_effort": "a lot"}, "reasoning_effort"),
        ({"messages": (Message(Role.SYSTEM, (TextPart("x"),)),)}, "messages"),
        ({"messages": (Message(Role.USER, (TextPart("x"),), name="bob"),)}, "messages[0].name"),
        ({"messages": (Message(Role.USER, (ImagePart(url="http://example.com/a.png"),)),)}, "messages[0].content"),
        ({"messages": (Message(Role.ASSISTANT, (ImagePart(data="QQ==", media_type="image/png"),)),)}, "messages[0].content"),
        ({"messages": (Message(Role.TOOL, (TextPart("x"),), tool_call_id="c9"),)}, "messages[0].tool_call_id"),
        ({"messages": (Message(Role.ASSISTANT, (), (ToolCall("c", "f", "[1]"),)),)}, "messages[0].tool_calls[0].function.arguments"),
    ],
)
def test_what_cannot_be_expressed_is_refused_by_name(changes: dict, field: str) -> None:
    with pytest.raises(UnsupportedRequest) as raised:
        rendered(rig.chat_request(**changes))
    assert str(raised.value.provider_message).startswith(field)


@pytest.mark.parametrize(("model", "effort"), [("gemini-2.5-pro", "none"), ("gemini-2.0-flash", "low")])
def test_reasoning_that_cannot_be_set_is_refused(model: str, effort: str) -> None:
    with pytest.raises(UnsupportedRequest, check=says("reasoning_effort")):
        config(model, reasoning_effort=effort)


def test_what_is_left_out_is_told() -> None:
    message = Message(Role.ASSISTANT, (ReasoningPart("hm"), TextPart("yes")), name="bot")
    image = Message(Role.USER, (ImagePart(data="QQ==", media_type="image/png", detail="high"),))
    request = rig.chat_request(
        messages=(image, message), seed=2**40, end_user="u1", hints=frozenset({"metadata"}), tools=(ToolSpec("f", strict=True),)
    )
    sent = ADAPTER.render_chat(request, target())
    assert sent.degraded == ("assistant.name", "image detail", "metadata", "reasoning", "seed", "tools.strict", "user")
    assert "seed" not in json.loads(sent.body)["generationConfig"]


def test_counting_sends_the_whole_request() -> None:
    counted = CountTokensRequest(rig.chat_request(messages=(Message(Role.SYSTEM, (TextPart("s"),)), *called()), tools=(WEATHER,)))
    sent = ADAPTER.render_count_tokens(counted, target())
    body = json.loads(sent.body)["generateContentRequest"]
    assert sent.path == "/models/gemini-3-flash:countTokens"
    assert (body["model"], set(body)) == ("models/gemini-3-flash", {"model", "contents", "systemInstruction", "tools"})
    vertex = json.loads(ADAPTER.render_count_tokens(counted, rig.target(rig.provider(VERTEX))).body)
    assert set(vertex) == {"contents", "systemInstruction", "tools"}


def test_a_count_of_the_same_format_names_the_providers_model() -> None:
    body = {"generateContentRequest": {"model": "models/alias", "contents": []}}
    sent = ADAPTER.render_count_tokens(CountTokensRequest(rig.from_client(Wire.GEMINI, body)), target())
    assert json.loads(sent.body) == {"generateContentRequest": {"model": "models/gemini-3-flash", "contents": []}}


def test_embeddings_go_in_one_call() -> None:
    request = EmbeddingsRequest("e", ("a", "b"), 10, dimensions=64, end_user="u")
    sent = ADAPTER.render_embeddings(request, target("gemini-embedding-001"))
    one = {"model": "models/gemini-embedding-001", "outputDimensionality": 64}
    assert (sent.path, sent.degraded) == ("/models/gemini-embedding-001:batchEmbedContents", ("user",))
    assert json.loads(sent.body) == {"requests": [{**one, "content": {"parts": [{"text": text}]}} for text in "ab"]}


def test_vertex_embeds_one_text_at_a_time() -> None:
    spec = rig.target(rig.provider(VERTEX), upstream_model="gemini-embedding-2")
    sent = ADAPTER.render_embeddings(EmbeddingsRequest("e", ("a",), 10), spec)
    assert (sent.path, json.loads(sent.body)) == ("/models/gemini-embedding-2:embedContent", {"content": {"parts": [{"text": "a"}]}})
    with pytest.raises(UnsupportedRequest, check=says("input")):
        ADAPTER.render_embeddings(EmbeddingsRequest("e", ("a", "b"), 10), spec)


def test_token_ids_are_refused() -> None:
    with pytest.raises(UnsupportedRequest, check=says("input")):
        ADAPTER.render_embeddings(EmbeddingsRequest("e", ((1, 2),), 10), target())


def test_embeddings_of_the_same_format_name_the_providers_model() -> None:
    body = {"requests": [{"model": "models/alias", "content": {"parts": [{"text": "a"}]}, "taskType": "CLUSTERING"}]}
    request = EmbeddingsRequest("alias", ("a",), 10, source=SourceBody(Wire.GEMINI, body))
    sent = json.loads(ADAPTER.render_embeddings(request, target("gemini-embedding-001")).body)
    assert sent["requests"] == [{**body["requests"][0], "model": "models/gemini-embedding-001"}]
