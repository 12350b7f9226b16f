"""The judge of requests catches a planted defect of every kind, in every wire format, and names the field."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from providers.upstream.adapters import ADAPTERS
from providers.upstream.types import HttpRequest, InferenceRequest, Target
from tests.conformance.exchange import Exchange, read
from tests.conformance.requests import judge_request
from tests.conformance.route import way_of
from tests.conformance.verdict import Difference, Refused

Body = dict[str, Any]
Spoil = Callable[[Body], None]
_PIXEL = "aGVsbG8="
_SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
_FUNCTION = {"name": "weather", "description": "Tells the weather", "parameters": _SCHEMA}

_CALLED = {"name": "weather", "arguments": '{"city": "Oslo"}'}
_ADDRESS = "https://x.test/a.png"

CHAT: Body = {
    "model": "m1",
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": {"url": _ADDRESS}}]},
        {"role": "assistant", "tool_calls": [{"id": "call_1", "type": "function", "function": _CALLED}]},
        {"role": "tool", "tool_call_id": "call_1", "content": "rain"},
    ],
    "tools": [{"type": "function", "function": _FUNCTION}],
    "temperature": 0.5,
    "stream": True,
}
RESPONSES: Body = {
    "model": "m1",
    "instructions": "Be brief.",
    "input": [
        {"role": "user", "content": [{"type": "input_text", "text": "What is it?"}, {"type": "input_image", "image_url": _ADDRESS}]},
        {"type": "function_call", "call_id": "call_1", "name": "weather", "arguments": '{"city": "Oslo"}'},
        {"type": "function_call_output", "call_id": "call_1", "output": "rain"},
    ],
    "tools": [{"type": "function", **_FUNCTION}],
    "temperature": 0.5,
    "stream": True,
}
MESSAGES: Body = {
    "model": "m1",
    "max_tokens": 100,
    "system": "Be brief.",
    "messages": [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "What is it?"},
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": _PIXEL}},
            ],
        },
        {"role": "assistant", "content": [{"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Oslo"}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "rain"}]},
    ],
    "tools": [{"name": "weather", "description": "Tells the weather", "input_schema": _SCHEMA}],
    "temperature": 0.5,
    "stream": True,
}
GEMINI: Body = {
    "systemInstruction": {"parts": [{"text": "Be brief."}]},
    "contents": [
        {"role": "user", "parts": [{"text": "What is it?"}, {"inlineData": {"mimeType": "image/png", "data": _PIXEL}}]},
        {"role": "model", "parts": [{"functionCall": {"name": "weather", "args": {"city": "Oslo"}}}]},
        {"role": "user", "parts": [{"functionResponse": {"name": "weather", "response": {"result": "rain"}}}]},
    ],
    "tools": [{"functionDeclarations": [_FUNCTION]}],
    "generationConfig": {"temperature": 0.5},
}
OLLAMA: Body = {
    "model": "m1",
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "What is it?", "images": [_PIXEL]},
        {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "weather", "arguments": {"city": "Oslo"}}}]},
        {"role": "tool", "tool_name": "weather", "content": "rain"},
    ],
    "tools": [{"type": "function", "function": _FUNCTION}],
    "options": {"temperature": 0.5},
    "stream": True,
}
COHERE: Body = {**CHAT, "p": 0.9}
GENERATE: Body = {"inputs": "Once upon", "parameters": {"temperature": 0.5, "stop": ["END"]}, "stream": True}

GEMINI_PATH = "/v1beta/models/gemini-2.0-flash:streamGenerateContent?alt=sse"
FIXTURES: dict[str, tuple[str, str, str, Body]] = {
    "chat": ("openai", "chat.completions", "/v1/chat/completions", CHAT),
    "responses": ("openai", "responses", "/v1/responses", RESPONSES),
    "messages": ("anthropic", "messages", "/v1/messages", MESSAGES),
    "gemini": ("gemini", "streamGenerateContent", GEMINI_PATH, GEMINI),
    "ollama": ("ollama", "ollama.chat", "/api/chat", OLLAMA),
    "cohere": ("cohere", "cohere.chat", "/v2/chat", COHERE),
    "generate": ("huggingface", "hf.task", "/models/acme/gpt2", GENERATE),
    "embeddings": ("openai", "embeddings", "/v1/embeddings", {"model": "m1", "input": ["a", "b"], "dimensions": 8}),
    "gemini embeddings": (
        "gemini",
        "batchEmbedContents",
        "/v1beta/models/e1:batchEmbedContents",
        {"requests": [{"model": "models/e1", "content": {"parts": [{"text": text}]}} for text in "ab"]},
    ),
    "ollama embeddings": ("ollama", "ollama.embed", "/api/embed", {"model": "m1", "input": ["a", "b"]}),
    "cohere embeddings": (
        "cohere",
        "cohere.embed",
        "/v2/embed",
        {"model": "m1", "texts": ["a", "b"], "input_type": "search_document", "embedding_types": ["float"]},
    ),
}


class Spoiled:
    """The real adapter with one planted defect."""

    def __init__(self, wire: Any, spoil: Spoil | None = None, path: Callable[[str], str] = str, headers: Body | None = None) -> None:
        self.wire, self._spoil, self._path, self._headers = wire, spoil, path, headers

    def render(self, request: InferenceRequest, target: Target) -> HttpRequest:
        sent = ADAPTERS[self.wire].render(request, target)
        body = json.loads(sent.body)
        if self._spoil is not None:
            self._spoil(body)
        headers = sent.headers if self._headers is None else self._headers
        return replace(sent, body=json.dumps(body).encode(), path=self._path(sent.path), headers=headers)


@pytest.fixture
def recorded(tmp_path: Path) -> Callable[..., Exchange]:
    def make(fixture: str, status: int = 200, headers: Body | None = None, **changed: Any) -> Exchange:
        provider, api, path, body = FIXTURES[fixture]
        request = {"method": "POST", "path": path, "headers": headers or {}, "body": {**json.loads(json.dumps(body)), **changed}}
        is_stream = bool(body.get("stream")) or api.startswith("stream")
        response = {"status": status, "headers": {}, "body": ""}
        file = tmp_path / "one.json"
        file.write_text(json.dumps({"provider": provider, "api": api, "stream": is_stream, "request": request, "response": response}))
        return read(file, tmp_path)

    return make


def difference(exchange: Exchange, **defect: Any) -> str:
    way = way_of(exchange)
    with pytest.raises(Difference) as found:
        judge_request(exchange, way, Spoiled(way.wire, **defect))
    return str(found.value)


def drop(*path: Any) -> Spoil:
    def spoil(body: Body) -> None:
        for key in path[:-1]:
            body = body[key]
        del body[path[-1]]

    return spoil


def put(value: Any, *path: Any) -> Spoil:
    def spoil(body: Body) -> None:
        for key in path[:-1]:
            body = body[key]
        body[path[-1]] = value

    return spoil


@pytest.mark.parametrize("fixture", FIXTURES)
def test_what_the_adapters_really_send_means_what_was_recorded(fixture: str, recorded: Callable[..., Exchange]) -> None:
    exchange = recorded(fixture)
    way = way_of(exchange)
    judge_request(exchange, way, ADAPTERS[way.wire])


@pytest.mark.parametrize(
    ("fixture", "spoil", "path"),
    [
        pytest.param("chat", drop("tools", 0), "request.tools.length", id="chat: tool dropped"),
        pytest.param("chat", put(0.7, "temperature"), "request.temperature", id="chat: temperature changed"),
        pytest.param("chat", drop("messages", 0), "request.messages.length", id="chat: system text lost"),
        pytest.param("chat", drop("messages", 1, "content", 1), "request.messages[1].content.length", id="chat: image lost"),
        pytest.param("chat", put("user", "messages", 2, "role"), "request.messages[2].role", id="chat: role swapped"),
        pytest.param("chat", drop("stream"), "request.stream", id="chat: stream flag missing"),
        pytest.param("chat", put(0.1, "top_p"), "request.top_p", id="chat: field added"),
        pytest.param("responses", drop("tools", 0), "request.tools.length", id="responses: tool dropped"),
        pytest.param("responses", put(0.7, "temperature"), "request.temperature", id="responses: temperature changed"),
        pytest.param("responses", drop("input", 0, "content", 1), "request.input[0].content.length", id="responses: image lost"),
        pytest.param("responses", drop("stream"), "request.stream", id="responses: stream flag missing"),
        pytest.param("messages", drop("tools", 0), "request.tools.length", id="messages: tool dropped"),
        pytest.param("messages", put(0.7, "temperature"), "request.temperature", id="messages: temperature changed"),
        pytest.param("messages", drop("system"), "request.system", id="messages: system text lost"),
        pytest.param("messages", drop("messages", 0, "content", 1), "request.messages[0].content.length", id="messages: image lost"),
        pytest.param("messages", put("user", "messages", 1, "role"), "request.messages[1].role", id="messages: role swapped"),
        pytest.param("messages", drop("stream"), "request.stream", id="messages: stream flag missing"),
        pytest.param("gemini", drop("tools", 0), "request.tools.length", id="gemini: tool dropped"),
        pytest.param(
            "gemini", put(0.7, "generationConfig", "temperature"), "request.generationConfig.temperature", id="gemini: temperature"
        ),
        pytest.param("gemini", drop("systemInstruction"), "request.systemInstruction", id="gemini: system text lost"),
        pytest.param("gemini", drop("contents", 0, "parts", 1), "request.contents[0].parts.length", id="gemini: image lost"),
        pytest.param("gemini", put("user", "contents", 1, "role"), "request.contents[1].role", id="gemini: role swapped"),
        pytest.param("ollama", drop("tools", 0), "request.tools.length", id="ollama: tool dropped"),
        pytest.param("ollama", put(0.7, "options", "temperature"), "request.temperature", id="ollama: temperature changed"),
        pytest.param("ollama", drop("messages", 0), "request.system", id="ollama: system text lost"),
        pytest.param("ollama", drop("messages", 1, "images"), "request.turns[0].pieces.length", id="ollama: image lost"),
        pytest.param("ollama", put("user", "messages", 2, "role"), "request.turns[0].calls.length", id="ollama: role swapped"),
        pytest.param("ollama", put(False, "stream"), "request.stream", id="ollama: stream flag missing"),
        pytest.param("cohere", drop("tools", 0), "request.tools.length", id="cohere: tool dropped"),
        pytest.param("cohere", put(0.7, "temperature"), "request.temperature", id="cohere: temperature changed"),
        pytest.param("cohere", drop("messages", 0), "request.system", id="cohere: system text lost"),
        pytest.param("cohere", drop("messages", 1, "content", 1), "request.turns[0].pieces.length", id="cohere: image lost"),
        pytest.param("cohere", put("assistant", "messages", 1, "role"), "request.turns[0].role", id="cohere: role swapped"),
        pytest.param("cohere", put(False, "stream"), "request.stream", id="cohere: stream flag missing"),
        pytest.param("generate", put("Once", "inputs"), "request.turns[0].pieces[0][1]", id="generate: prompt cut"),
        pytest.param("generate", put(0.7, "parameters", "temperature"), "request.temperature", id="generate: temperature changed"),
        pytest.param("generate", drop("parameters", "stop"), "request.stop.length", id="generate: stop lost"),
        pytest.param("generate", put(False, "stream"), "request.stream", id="generate: stream flag missing"),
        pytest.param("embeddings", put(["b", "a"], "input"), "request.input[0]", id="embeddings: inputs swapped"),
        pytest.param("embeddings", drop("dimensions"), "request.dimensions", id="embeddings: dimensions lost"),
        pytest.param("gemini embeddings", drop("requests", 1), "request.requests.length", id="gemini embeddings: input lost"),
        pytest.param("ollama embeddings", put(["b", "a"], "input"), "request.inputs[0]", id="ollama embeddings: inputs swapped"),
        pytest.param("cohere embeddings", put(["a"], "texts"), "request.inputs.length", id="cohere embeddings: input lost"),
    ],
)
def test_a_planted_defect_is_named(fixture: str, spoil: Spoil, path: str, recorded: Callable[..., Exchange]) -> None:
    assert difference(recorded(fixture), spoil=spoil).startswith(f"{path}")


@pytest.mark.parametrize(
    ("fixture", "spoil", "path"),
    [
        ("chat", put("hail", "messages", 3, "content"), "turns[2].pieces[0][1]"),
        ("chat", put('{"city": "Rome"}', "messages", 2, "tool_calls", 0, "function", "arguments"), "turns[1].calls[0].arguments.city"),
        ("responses", put("other", "input", -1, "call_id"), "turns[2].answers"),
        ("messages", put({"type": "none"}, "tool_choice"), "choice"),
        ("gemini", put("bearing", "tools", 0, "functionDeclarations", 0, "name"), "tools[0].name"),
    ],
)
def test_a_defect_of_the_translation_alone_is_named(fixture: str, spoil: Spoil, path: str, recorded: Callable[..., Exchange]) -> None:
    exchange = recorded(fixture)
    way = way_of(exchange)

    class Mistranslating(Spoiled):
        def render(self, request: InferenceRequest, target: Target) -> HttpRequest:
            return super().render(request, target) if request.source is None else ADAPTERS[self.wire].render(request, target)

    with pytest.raises(Difference) as found:
        judge_request(exchange, way, Mistranslating(way.wire, spoil))
    assert str(found.value).startswith(f"request, translated.{path}: expected")


@pytest.mark.parametrize("fixture", FIXTURES)
def test_a_wrong_path_is_named(fixture: str, recorded: Callable[..., Exchange]) -> None:
    wrong = difference(recorded(fixture), path=lambda path: path.replace("?", "-nowhere?") if "?" in path else f"{path}-nowhere")
    assert wrong.startswith("request.path: expected")
    assert "nowhere" in wrong


def test_a_stream_of_gemini_is_asked_for_in_the_address(recorded: Callable[..., Exchange]) -> None:
    exchange = recorded("gemini")
    assert difference(exchange, path=lambda path: path.partition("?")[0]).startswith("request.query: expected 'alt=sse'")
    assert difference(exchange, path=lambda path: path.replace("streamG", "g")).startswith("request.path")


def test_headers_that_say_what_the_body_means_must_arrive(recorded: Callable[..., Exchange]) -> None:
    exchange = recorded("messages", headers={"Anthropic-Beta": "context-1m-2025-08-07"})
    way = way_of(exchange)
    judge_request(exchange, way, ADAPTERS[way.wire])
    lost = difference(exchange, headers={"content-type": "application/json"})
    assert lost.startswith("request.headers.anthropic-beta: expected 'context-1m-2025-08-07', got None")
    assert difference(exchange, headers={}).startswith("request.content-type")


def test_a_field_of_one_service_alone_is_explained_and_not_passed_over(recorded: Callable[..., Exchange]) -> None:
    exchange = recorded("chat", venice_parameters={"character_slug": "x"})
    way = way_of(exchange)
    with pytest.raises(Refused, match="'venice_parameters' is not a field"):
        judge_request(exchange, way, ADAPTERS[way.wire])


def test_a_refusal_of_what_the_provider_took_is_a_difference(recorded: Callable[..., Exchange]) -> None:
    assert difference(recorded("chat", temperature=3)).startswith("request: expected 'a request that is taken', got 'temperature:")
    exchange = recorded("chat", temperature=3, status=400)
    way = way_of(exchange)
    judge_request(exchange, way, ADAPTERS[way.wire])


def test_what_only_a_provider_can_be_asked_is_explained(recorded: Callable[..., Exchange]) -> None:
    exchange = recorded("cohere", documents=[{"data": {"text": "x"}}])
    way = way_of(exchange)
    with pytest.raises(Refused, match="documents"):
        judge_request(exchange, way, ADAPTERS[way.wire])


def test_what_is_left_out_in_the_open_is_explained(recorded: Callable[..., Exchange]) -> None:
    exchange = replace(recorded("chat", store=True), provider="groq", vendor="groq", path="/openai/v1/chat/completions")
    way = way_of(exchange)
    with pytest.raises(Refused, match=r"Left out, and the client is told.*: store"):
        judge_request(exchange, way, ADAPTERS[way.wire])


@pytest.mark.parametrize(
    ("provider", "fields"),
    [
        ("vllm", {"reasoning_effort": "none"}),
        ("deepseek", {"reasoning_effort": "none", "messages": CHAT["messages"][:1] + CHAT["messages"][2:]}),
        ("llamacpp", {"tool_choice": {"type": "function", "function": {"name": "weather"}}}),
    ],
)
def test_a_services_own_words_mean_the_same(provider: str, fields: Body, recorded: Callable[..., Exchange]) -> None:
    exchange = replace(recorded("chat", **fields), provider=provider, vendor=provider)
    way = way_of(exchange)
    judge_request(exchange, way, ADAPTERS[way.wire])
