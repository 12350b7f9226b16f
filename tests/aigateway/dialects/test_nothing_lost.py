"""What a client's format holds beyond the canonical request is named, so that a translation refuses or reports it (S01, M06)."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest

from aigateway.dialects.anthropic_messages.dialect import AnthropicMessages
from aigateway.dialects.base import Dialect, Sent
from aigateway.dialects.gemini.dialect import GeminiEmbed, GeminiGenerate
from aigateway.dialects.openai_chat.dialect import OpenAIChat
from aigateway.dialects.openai_embeddings import OpenAIEmbeddings
from aigateway.dialects.openai_responses.dialect import OpenAIResponses
from aigateway.errors import GatewayError
from providers.upstream.types import ChatRequest, EmbeddingsRequest

Body = dict[str, Any]
_PARAMETERS = {"type": "object", "properties": {}}
_IMAGE = {"url": "https://x.test/a.png"}

BODIES: dict[str, tuple[type[Dialect], Body]] = {
    "chat": (
        OpenAIChat,
        {
            "model": "m",
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": _IMAGE}]},
                {"role": "assistant", "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
                {"role": "tool", "tool_call_id": "c", "content": "b"},
            ],
            "tools": [{"type": "function", "function": {"name": "f"}}],
            "tool_choice": {"type": "function", "function": {"name": "f"}},
            "response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": _PARAMETERS}},
            "stream_options": {"include_usage": True},
        },
    ),
    "responses": (
        OpenAIResponses,
        {
            "model": "m",
            "input": [
                {"role": "user", "content": [{"type": "input_text", "text": "a"}, {"type": "input_image", "image_url": _IMAGE["url"]}]},
                {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
                {"type": "function_call_output", "call_id": "c", "output": "b"},
                {"role": "assistant", "content": [{"type": "output_text", "text": "d"}]},
                {"role": "user", "content": "e"},
            ],
            "tools": [{"type": "function", "name": "f"}],
            "tool_choice": {"type": "function", "name": "f"},
            "text": {"format": {"type": "json_schema", "name": "s", "schema": _PARAMETERS}},
            "reasoning": {"effort": "low"},
        },
    ),
    "messages": (
        AnthropicMessages,
        {
            "model": "m",
            "max_tokens": 10,
            "system": [{"type": "text", "text": "s"}],
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image", "source": {"type": "url", **_IMAGE}}]},
                {"role": "assistant", "content": [{"type": "tool_use", "id": "c", "name": "f", "input": {}}]},
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c", "content": [{"type": "text", "text": "b"}]}]},
            ],
            "tools": [{"name": "f", "input_schema": _PARAMETERS}],
            "tool_choice": {"type": "tool", "name": "f"},
            "thinking": {"type": "adaptive"},
            "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": _PARAMETERS}},
        },
    ),
    "gemini": (
        GeminiGenerate,
        {
            "systemInstruction": {"parts": [{"text": "s"}]},
            "contents": [
                {"role": "user", "parts": [{"text": "a"}, {"inlineData": {"mimeType": "image/png", "data": "aGk="}}]},
                {"role": "model", "parts": [{"functionCall": {"name": "f", "args": {}}}]},
                {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {"result": "b"}}}]},
            ],
            "tools": [{"functionDeclarations": [{"name": "f"}]}],
            "toolConfig": {"functionCallingConfig": {"mode": "ANY"}},
            "generationConfig": {"thinkingConfig": {"thinkingBudget": 2048}},
        },
    ),
    "gemini embeddings": (GeminiEmbed, {"content": {"parts": [{"text": "a"}]}}),
}
# The client's own words: names of arguments, properties and results.
_FREE = frozenset({"schema", "input_schema", "parameters", "args", "input", "response"})


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every object inside a body that is the format's and not the client's own."""
    if isinstance(value, dict):
        yield path
        for key, inner in value.items():
            if key not in _FREE or (key == "input" and isinstance(inner, list)):
                yield from places(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from places(inner, (*path, index))


CASES = [pytest.param(name, path, id=f"{name}: {path}") for name, (_, body) in BODIES.items() for path in places(body)]


def parse(dialect: type[Dialect], body: Body) -> ChatRequest | EmbeddingsRequest:
    request = dialect().parse(json.dumps(body).encode(), None, Sent(path={"model": "m"})).request
    assert isinstance(request, ChatRequest | EmbeddingsRequest)
    return request


@pytest.mark.parametrize(("name", "path"), CASES)
def test_S01_a_field_nobody_knows_is_refused_or_named(name: str, path: tuple[Any, ...]) -> None:
    dialect, body = BODIES[name]
    before = parse(dialect, body)
    longer = copy.deepcopy(body)
    place: Any = longer
    for key in path:
        place = place[key]
    place["nobody_knows"] = "1"
    try:
        after = parse(dialect, longer)
        said = (after.wire_only | after.hints) - (before.wire_only | before.hints)
    except GatewayError as refusal:
        said = {refusal.message}
    assert any("nobody_knows" in name or "nobodyKnows" in name for name in said)


@pytest.mark.parametrize("name", BODIES)
def test_a_body_of_known_fields_alone_translates(name: str) -> None:
    dialect, body = BODIES[name]
    assert parse(dialect, body).wire_only == frozenset()


@pytest.mark.parametrize("name", ["chat", "responses", "messages", "gemini"])
def test_an_unknown_field_that_is_null_asks_for_nothing(name: str) -> None:
    dialect, body = BODIES[name]
    assert parse(dialect, {**body, "nobody_knows": None}).wire_only == frozenset()


def test_thoughts_that_are_asked_for_without_an_effort_are_named() -> None:
    body = {"contents": [{"parts": [{"text": "a"}]}], "generationConfig": {"thinkingConfig": {"includeThoughts": True}}}
    assert parse(GeminiGenerate, body).hints == {"thinkingConfig.includeThoughts"}


# --------------------------------------------------------------------------- what compatible services add to OpenAI's formats


def chat(**fields: Any) -> ChatRequest:
    request = parse(OpenAIChat, {"model": "m", "messages": [{"role": "user", "content": "a"}], **fields})
    assert isinstance(request, ChatRequest)
    return request


def refused_field(dialect: type[Dialect], body: Body) -> str | None:
    with pytest.raises(GatewayError) as refused:
        parse(dialect, body)
    assert refused.value.status == 400
    return refused.value.param


def test_openrouters_wish_for_usage_is_a_hint() -> None:
    request = chat(usage={"include": True})
    assert (request.wire_only, request.hints) == (frozenset(), {"usage"})
    assert request.source is not None
    assert request.source.body["usage"] == {"include": True}


def test_a_tool_without_a_type_is_a_function() -> None:
    request = chat(tools=[{"function": {"name": "f"}}])
    assert [tool.name for tool in request.tools] == ["f"]
    assert request.source is not None
    assert request.source.body["tools"] == [{"type": "function", "function": {"name": "f"}}]


def test_a_schema_needs_no_name() -> None:
    wanted = chat(response_format={"type": "json_schema", "json_schema": {"schema": _PARAMETERS}}).response_format
    assert wanted is not None
    assert (wanted.name, wanted.schema) == ("response", _PARAMETERS)


def test_groqs_ordinary_tier_is_taken_and_others_are_not() -> None:
    assert chat(service_tier="on_demand").hints == frozenset()
    body = {"model": "m", "messages": [{"role": "user", "content": "a"}], "service_tier": "performance"}
    assert refused_field(OpenAIChat, body) == "service_tier"


def test_other_models_than_the_one_that_was_checked_and_priced_are_refused() -> None:
    body = {"model": "cheap", "messages": [{"role": "user", "content": "a"}], "models": ["cheap", "dear"]}
    assert refused_field(OpenAIChat, body) == "models"
    assert parse(OpenAIChat, {**body, "models": ["cheap"]}).model == "cheap"


def test_voyages_and_mistrals_fields_of_embeddings_pass_to_their_own_wire_only() -> None:
    body = {"model": "m", "input": ["a"], "input_type": "document", "truncation": True, "output_dtype": "int8", "output_dimension": 8}
    request = parse(OpenAIEmbeddings, body)
    assert isinstance(request, EmbeddingsRequest)
    assert (request.wire_only, request.dimensions) == ({"input_type", "truncation", "output_dtype"}, 8)
    assert request.source is not None
    assert request.source.body == body


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"dimensions": 8, "output_dimension": 16}, "output_dimension"),
        ({"encoding_format": "base64", "output_dtype": "int8"}, "output_dtype"),
    ],
)
def test_contradictions_in_embeddings_are_refused(fields: Body, param: str) -> None:
    assert refused_field(OpenAIEmbeddings, {"model": "m", "input": "a", **fields}) == param
