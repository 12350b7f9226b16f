"""Gemini bodies in, canonical requests out, and back."""

from __future__ import annotations

import json
from typing import Any

import pytest

from aigateway.dialects.base import Sent
from aigateway.dialects.gemini.dialect import (
    GeminiArrayStream,
    GeminiBatchEmbed,
    GeminiCountTokens,
    GeminiEmbed,
    GeminiGenerate,
    GeminiStream,
)
from aigateway.errors import GatewayError, from_unknown_model, overloaded
from providers.upstream.errors import ModelUnknown
from providers.upstream.types import (
    ChatChoice,
    ChatDelta,
    ChatResponse,
    EmbeddingsResponse,
    FinishReason,
    ImagePart,
    ReasoningPart,
    Role,
    StreamEvent,
    TextPart,
    TokenCount,
    TokenUsage,
    ToolCall,
    ToolCallDelta,
    ToolChoice,
    ToolChoiceMode,
    Wire,
)
from tests.aigateway.samples import explanation, target

HELLO = [{"role": "user", "parts": [{"text": "Hello"}]}]
IN_PATH = Sent(path={"model": "org/m-1"})
USAGE = TokenUsage(input_tokens=6, cache_read_tokens=4, output_tokens=3, reasoning_tokens=2)


def parsed(dialect=GeminiGenerate, **body: Any):
    return dialect().parse(json.dumps(body).encode(), None, IN_PATH).request


def chat(contents: Any = HELLO, **body: Any):
    return parsed(contents=contents, **body)


def refusal(dialect=GeminiGenerate, **body: Any) -> tuple[str | None, str]:
    with pytest.raises(GatewayError) as raised:
        parsed(dialect, **body)
    assert raised.value.status == 400
    return raised.value.param, raised.value.code


# --------------------------------------------------------------------------- requests


@pytest.mark.parametrize("snake", [False, True])
def test_both_spellings_of_every_field_mean_the_same(snake: bool) -> None:
    one, two = ("system_instruction", "generation_config") if snake else ("systemInstruction", "generationConfig")
    names = (
        ["max_output_tokens", "top_p", "stop_sequences", "candidate_count"]
        if snake
        else ["maxOutputTokens", "topP", "stopSequences", "candidateCount"]
    )
    config = dict(zip(names, (7, 0.5, ["x"], 2), strict=True), temperature=0.1, seed=3)
    request = chat(**{one: {"parts": [{"text": "Be "}, {"text": "brief."}]}, two: config})
    assert (request.model, request.max_output_tokens, request.top_p, request.stop, request.choices) == ("org/m-1", 7, 0.5, ("x",), 2)
    assert (request.temperature, request.seed, request.stream, request.wire_only, request.hints) == (
        0.1,
        3,
        False,
        frozenset(),
        frozenset(),
    )
    assert [(message.role, message.text) for message in request.messages] == [(Role.SYSTEM, "Be \n\nbrief."), (Role.USER, "Hello")]


def test_one_part_stands_for_a_list_of_one() -> None:
    assert [message.text for message in chat([{"parts": {"text": "x"}}]).messages] == ["x"]


def test_B07_a_second_channel_for_the_same_value_is_refused() -> None:
    twice = {"generationConfig": {"maxOutputTokens": 1}, "generation_config": {"maxOutputTokens": 9}}
    assert refusal(contents=HELLO, **twice) == ("generation_config", "duplicate_field")
    inside = {"generationConfig": {"maxOutputTokens": 1, "max_output_tokens": 9}}
    assert refusal(contents=HELLO, **inside) == ("generationConfig.max_output_tokens", "duplicate_field")
    assert refusal(contents=HELLO, model="models/other")[0] == "model"
    assert chat(model="models/org/m-1").model == "org/m-1"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"contents": []}, "contents"),
        ({}, "contents"),
        ({"contents": [{"role": "user", "parts": []}]}, "contents[0].parts"),
        ({"contents": [{"role": "system", "parts": [{"text": "x"}]}]}, "contents[0].role"),
        ({"contents": [{"parts": [{}]}]}, "contents[0].parts[0]"),
        ({"contents": [{"parts": [{"text": 7}]}]}, "contents[0].parts[0]"),
        ({"contents": [{"parts": [{"functionResponse": {"name": "f", "response": {}}}]}]}, "contents[0].parts[0].functionResponse.name"),
        ({"contents": [{"role": "model", "parts": [{"functionCall": {"args": {}}}]}]}, "contents[0].parts[0].functionCall.name"),
        ({"contents": HELLO, "max_tokens": 5}, "maxTokens"),
        ({"contents": HELLO, "tools": [{"functionDeclarations": 5}]}, "tools[0].functionDeclarations"),
        ({"contents": HELLO, "tools": [{"functionDeclarations": [5]}]}, "tools[0].functionDeclarations[0]"),
        ({"contents": HELLO, "generationConfig": {"maxTokens": 5}}, "generationConfig.maxTokens"),
        ({"contents": HELLO, "generationConfig": {"maxOutputTokens": 0}}, "generationConfig.maxOutputTokens"),
        ({"contents": HELLO, "generationConfig": {"temperature": 3}}, "generationConfig.temperature"),
        ({"contents": HELLO, "generationConfig": {"responseModalities": ["IMAGE"]}}, "generationConfig.responseModalities"),
        ({"contents": HELLO, "serviceTier": "priority"}, "serviceTier"),
        ({"contents": HELLO, "toolConfig": {"functionCallingConfig": {"mode": "SOME"}}}, "toolConfig.functionCallingConfig.mode"),
    ],
)
def test_B08_a_field_that_cannot_be_is_named(body: dict, param: str) -> None:
    assert refusal(**body)[0] == param


def test_parts_become_texts_images_calls_and_results() -> None:
    contents = [
        {"parts": [{"text": "Look"}, {"inline_data": {"mime_type": "image/png", "data": "_-8="}}]},
        {"role": "model", "parts": [
            {"text": "hm", "thought": True, "thoughtSignature": "t"},
            {"functionCall": {"name": "f", "args": {"some_key": 1}}, "thought_signature": "sig"},
            {"functionCall": {"name": "f", "id": "x"}},
        ]},
        {"role": "user", "parts": [
            {"functionResponse": {"name": "f", "response": {"result": "42"}}},
            {"functionResponse": {"name": "f", "id": "x", "response": {"some_key": [1]}}},
            {"text": "So?"},
        ]},
    ]  # fmt: skip
    first, model, one, two, last = chat(contents).messages
    assert first.parts == (TextPart("Look"), ImagePart(data="/+8=", media_type="image/png"))
    assert model.parts == (ReasoningPart("hm"),)
    assert model.tool_calls == (ToolCall("call_0", "f", '{"some_key":1}', "sig"), ToolCall("x", "f", "{}"))
    assert [(message.role, message.tool_call_id, message.text) for message in (one, two)] == [
        (Role.TOOL, "call_0", "42"),
        (Role.TOOL, "x", '{"some_key":[1]}'),
    ]
    assert (last.role, last.text) == (Role.USER, "So?")


def test_tools_schemas_and_choice_are_read() -> None:
    parameters = {
        "type": "OBJECT",
        "properties": {"type": {"type": "STRING", "nullable": True}, "l": {"type": "ARRAY", "items": {"type": "NUMBER"}}},
    }
    declared = [
        {"name": "f", "parameters": parameters},
        {"name": "g", "parametersJsonSchema": {"type": "object", "x_y": 1}, "response": {"type": "STRING"}},
    ]
    choice = {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["f"]}}
    request = chat(tools=[{"function_declarations": declared}], tool_config=choice)
    assert [tool.parameters for tool in request.tools] == [
        {"type": "object", "properties": {"type": {"type": ["string", "null"]}, "l": {"type": "array", "items": {"type": "number"}}}},
        {"type": "object", "x_y": 1},
    ]
    assert request.tool_choice == ToolChoice(ToolChoiceMode.NAMED, "f")
    assert (request.wire_only, request.hints) == (frozenset(), {"functionDeclarations.response"})


@pytest.mark.parametrize(
    ("config", "field", "value"),
    [
        ({"thinkingConfig": {"thinkingLevel": "HIGH"}}, "reasoning_effort", "high"),
        ({"thinkingConfig": {"thinkingBudget": 0}}, "reasoning_effort", "none"),
        ({"thinkingConfig": {"thinkingBudget": 5000}}, "reasoning_effort", "medium"),
        ({"thinkingConfig": {"thinkingBudget": -1}}, "reasoning_effort", None),
        ({"responseLogprobs": True, "logprobs": 3}, "logprobs", 3),
        ({"responseLogprobs": True}, "logprobs", 0),
        ({"logprobs": 3}, "logprobs", None),
    ],
)
def test_options_of_generation_are_read(config: dict, field: str, value: Any) -> None:
    assert getattr(chat(generationConfig=config), field) == value


def test_structured_output_is_read_in_either_form() -> None:
    of = [chat(generationConfig={"responseMimeType": "application/json", **more}).response_format.schema for more in (
        {"responseSchema": {"type": "OBJECT"}}, {"responseJsonSchema": {"type": "object", "$defs": {}}}, {})]  # fmt: skip
    assert of == [{"type": "object"}, {"type": "object", "$defs": {}}, None]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"tools": [{"googleSearch": {}}, {"codeExecution": {}}]}, {"tools[0].googleSearch", "tools[1].codeExecution"}),
        ({"cachedContent": "cachedContents/1"}, {"cachedContent"}),
        ({"generationConfig": {"topK": 3, "presencePenalty": 0.1}}, {"generationConfig.topK", "generationConfig.presencePenalty"}),
        ({"generationConfig": {"responseModalities": ["TEXT", "AUDIO"]}}, {"generationConfig.responseModalities"}),
        ({"generationConfig": {"responseMimeType": "text/x.enum"}}, {"generationConfig.responseMimeType 'text/x.enum'"}),
        ({"safetySettings": [{"category": "C", "threshold": "BLOCK_LOW_AND_ABOVE"}]}, {"safetySettings"}),
        (
            {"contents": [{"parts": [{"fileData": {"fileUri": "https://youtu.be/x", "mimeType": "video/mp4"}}]}]},
            {"contents[0].parts[0].fileData.fileUri"},
        ),
        (
            {"contents": [{"parts": [{"inlineData": {"data": "", "mimeType": "audio/wav"}}]}]},
            {"contents[0].parts[0].inlineData.mimeType 'audio/wav'"},
        ),
        ({"contents": [{"parts": [{"executableCode": {}}]}]}, {"contents[0].parts[0].executableCode"}),
        ({"toolConfig": {"retrievalConfig": {"languageCode": "de"}}}, {"toolConfig.retrievalConfig"}),
    ],
)
def test_what_only_a_gemini_upstream_can_honour_is_named(body: dict, expected: set[str]) -> None:
    assert chat(**body).wire_only == expected


def test_what_changes_no_answer_is_a_hint() -> None:
    off = [{"category": "C", "threshold": "BLOCK_NONE"}]
    request = chat(labels={"team_name": "x"}, safetySettings=off, generationConfig={"thinkingConfig": {"thinkingBudget": 9}})
    assert (request.wire_only, request.hints) == (frozenset(), {"labels", "safetySettings", "thinkingConfig.thinkingBudget"})


def test_a_file_counts_as_something_whose_size_the_body_does_not_bound() -> None:
    assert (
        chat([{"parts": [{"fileData": {"fileUri": "https://e.com/a.png", "mimeType": "image/png"}}, {"text": "?"}]}]).images_by_address == 1
    )


def test_counting_takes_the_contents_or_a_whole_request() -> None:
    assert parsed(GeminiCountTokens, contents=HELLO).chat.messages[0].text == "Hello"
    whole = {"model": "models/org/m-1", "contents": HELLO, "systemInstruction": {"parts": [{"text": "s"}]}}
    request = parsed(GeminiCountTokens, generate_content_request=whole)
    assert (len(request.chat.messages), request.source.body) == (2, {"generate_content_request": whole})
    assert refusal(GeminiCountTokens, generateContentRequest=whole, contents=HELLO)[0] == "generateContentRequest"


def test_texts_to_embed_are_read_in_either_form() -> None:
    content = {"parts": [{"text": "a"}, {"text": "b"}]}
    request = parsed(GeminiEmbed, content=content, output_dimensionality=8, taskType="CLUSTERING")
    assert (request.inputs, request.dimensions, request.wire_only, request.model) == (("ab",), 8, {"taskType"}, "org/m-1")
    batch = parsed(GeminiBatchEmbed, requests=[{"model": "models/org/m-1", "content": content}, {"content": {"parts": [{"text": "c"}]}}])
    assert (batch.inputs, batch.dimensions, batch.wire_only) == (("ab", "c"), None, frozenset())
    assert refusal(GeminiBatchEmbed, requests=[])[0] == "requests"
    assert refusal(GeminiBatchEmbed, requests=[{"content": content, "foo": 1}])[0] == "requests[0].foo"
    assert refusal(GeminiBatchEmbed, requests=[{"content": content, "model": "models/other"}])[0] == "model"
    assert refusal(GeminiEmbed, content={"parts": []})[0] == "content.parts"


# --------------------------------------------------------------------------- answers


def answer(*choices: ChatChoice, wire: Wire = Wire.OPENAI_CHAT) -> ChatResponse:
    return ChatResponse("r1", "m-2026", choices, USAGE, wire, b"THEIR BYTES")


def test_same_wire_passes_the_bytes() -> None:
    assert GeminiGenerate().render(answer(wire=Wire.GEMINI), explanation()) == b"THEIR BYTES"


def test_an_answer_is_translated_with_calls_thoughts_and_usage() -> None:
    calls = (ToolCall("c1", "f", '{"a":1}', "sig"), ToolCall("c2", "g", ""))
    choice = ChatChoice(0, "Hi", FinishReason.TOOL_CALLS, (ReasoningPart("hm"),), calls)
    body = json.loads(GeminiGenerate().render(answer(choice), explanation()))
    assert body == {
        "candidates": [{"index": 0, "finishReason": "STOP", "content": {"role": "model", "parts": [
            {"text": "hm", "thought": True},
            {"text": "Hi"},
            {"functionCall": {"id": "c1", "name": "f", "args": {"a": 1}}, "thoughtSignature": "sig"},
            {"functionCall": {"id": "c2", "name": "g", "args": {}}},
        ]}}],
        "usageMetadata": {
            "promptTokenCount": 10, "cachedContentTokenCount": 4, "candidatesTokenCount": 3, "thoughtsTokenCount": 2, "totalTokenCount": 15,
        },
        "modelVersion": "m-2026",
        "responseId": "r1",
    }  # fmt: skip


def test_arguments_that_are_no_object_are_reported_and_never_guessed_at() -> None:
    choice = ChatChoice(0, "", FinishReason.TOOL_CALLS, tool_calls=(ToolCall("c1", "f", '{"a":'),))
    [candidate] = json.loads(GeminiGenerate().render(answer(choice), explanation()))["candidates"]
    assert (candidate["finishReason"], candidate["finishMessage"], candidate["content"]["parts"]) == (
        "MALFORMED_FUNCTION_CALL",
        'f: {"a":',
        [],
    )


def test_counts_and_vectors_are_translated() -> None:
    assert json.loads(GeminiCountTokens().render(TokenCount(7, Wire.ANTHROPIC_MESSAGES, b""), explanation())) == {"totalTokens": 7}
    vectors = EmbeddingsResponse("m", ((0.5, 1.0),), TokenUsage(input_tokens=2, output_tokens=0), Wire.OPENAI_EMBEDDINGS, b"")
    assert json.loads(GeminiEmbed().render(vectors, explanation()))["embedding"] == {"values": [0.5, 1.0]}
    assert json.loads(GeminiBatchEmbed().render(vectors, explanation()))["embeddings"] == [{"values": [0.5, 1.0]}]


DELTAS = (
    ChatDelta(id="u1", model="m-9", reasoning="hm"),
    ChatDelta(text="Hi"),
    ChatDelta(tool_calls=(ToolCallDelta(0, "c1", "f", '{"a"', "sig"),)),
    ChatDelta(tool_calls=(ToolCallDelta(0, arguments=":1}"),)),
    ChatDelta(finish_reason=FinishReason.TOOL_CALLS),
    ChatDelta(usage=USAGE),
)


def streamed(dialect, wire: Wire = Wire.OPENAI_CHAT, events=None) -> list[bytes]:
    call = dialect.parse(json.dumps({"contents": HELLO}).encode(), None, IN_PATH)
    assert call.request.stream
    renderer = dialect.stream_renderer(call, target(), wire)
    events = events if events is not None else [StreamEvent(b"", delta) for delta in DELTAS]
    return [*(renderer.event(event) for event in events), renderer.end(explanation)]


def check_chunks(chunks: list[dict]) -> None:
    assert [chunk["candidates"][0]["content"]["parts"] for chunk in chunks] == [
        [{"text": "hm", "thought": True}],
        [{"text": "Hi"}],
        [{"functionCall": {"id": "c1", "name": "f", "args": {"a": 1}}, "thoughtSignature": "sig"}],
    ]
    assert ["usageMetadata" in chunk for chunk in chunks] == [False, False, True]
    assert (chunks[-1]["candidates"][0]["finishReason"], chunks[-1]["usageMetadata"]["totalTokenCount"]) == ("STOP", 15)
    assert {(chunk["responseId"], chunk["modelVersion"]) for chunk in chunks} == {("u1", "m-9")}


def test_a_translated_stream_ends_with_calls_finish_and_usage() -> None:
    events = b"".join(streamed(GeminiStream())).split(b"\r\n\r\n")
    assert events.pop() == b""
    check_chunks([json.loads(event.removeprefix(b"data: ")) for event in events])
    check_chunks(json.loads(b"".join(streamed(GeminiArrayStream()))))


def test_same_wire_events_pass_byte_for_byte_or_change_only_their_frame() -> None:
    sse = [b'data: {"a":\r\ndata: 1}\r\n\r\n', b"data: {}\r\n\r\n"]
    array = [b'[{"a": 1}', b"\n,\n{}", b"\n]"]
    as_events = [StreamEvent(raw, ChatDelta()) for raw in sse], [StreamEvent(raw, ChatDelta()) for raw in array]
    assert streamed(GeminiStream(), Wire.GEMINI, as_events[0])[:2] == sse
    assert json.loads(b"".join(streamed(GeminiArrayStream(), Wire.GEMINI, as_events[0]))) == [{"a": 1}, {}]
    assert b"".join(streamed(GeminiStream(), Wire.GEMINI, as_events[1])) == b'data: {"a": 1}\r\n\r\ndata: {}\r\n\r\n'


def test_a_broken_stream_says_so_and_stays_open() -> None:
    for dialect, head, tail in ((GeminiStream(), b'data: {"error":{', b"\r\n\r\n"), (GeminiArrayStream(), b'[{"error":{', b"}")):
        call = dialect.parse(json.dumps({"contents": HELLO}).encode(), None, IN_PATH)
        raw = dialect.stream_renderer(call, target(), Wire.OPENAI_CHAT).error(overloaded(), "req_1")
        assert (raw.startswith(head), raw.endswith(tail)) == (True, True)
        assert dialect.render_stream_error(overloaded(), "req_1") == raw


def test_errors_wear_googles_envelope_with_our_code_and_request_id() -> None:
    error = json.loads(GeminiGenerate().render_error(overloaded(), "req_1"))["error"]
    info, retry = error["details"]
    assert (error["code"], error["status"], info["reason"], retry["retryDelay"]) == (503, "UNAVAILABLE", "GATEWAY_OVERLOADED", "1s")
    assert (info["metadata"]["code"], info["metadata"]["request_id"]) == ("gateway_overloaded", "req_1")
    unknown = json.loads(GeminiGenerate().render_error(from_unknown_model(ModelUnknown("x")), "req_1"))["error"]
    assert (unknown["code"], unknown["status"], unknown["details"][0]["metadata"]["param"]) == (404, "NOT_FOUND", "model")
