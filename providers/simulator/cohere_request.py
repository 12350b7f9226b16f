"""What a Cohere v2 request asks: https://docs.cohere.com/reference/chat , .../embed ."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from providers.simulator.controls import find_directive
from providers.simulator.questions import (
    OfferedTool,
    Question,
    Refusal,
    check_length,
    count_input,
    decode_object,
    known_model,
    listed_messages,
    text_of,
    texts,
    whole_number,
)
from providers.simulator.tokens import count_text
from providers.simulator.vectors import DIMENSIONS_MAX

ROLES = frozenset({"system", "user", "assistant", "tool", "developer"})
FIELDS = frozenset(
    (
        *("model", "messages", "stream", "tools", "strict_tools", "documents", "citation_options", "response_format", "safety_mode"),
        *("max_tokens", "stop_sequences", "temperature", "seed", "frequency_penalty", "presence_penalty", "k", "p", "logprobs"),
        *("tool_choice", "thinking", "priority", "reasoning_effort"),
    )
)
EMBED_FIELDS = frozenset(
    {"model", "input_type", "texts", "images", "inputs", "embedding_types", "truncate", "max_tokens", "output_dimension", "priority"}
)
INPUT_TYPES = frozenset({"search_document", "search_query", "classification", "clustering", "image"})
TEXTS_MAX = 96


def read_question(body: bytes) -> Question:
    asked = decode_object(body)
    refuse_unknown(asked, FIELDS)
    model = known_model(asked)
    messages = listed_messages(asked, ROLES)
    for message in messages:
        if message["role"] == "tool" and not message.get("tool_call_id"):
            raise Refusal("invalid request: tool messages must have a tool_call_id")
    users = (message for message in reversed(messages) if message["role"] == "user")
    directive, prompt = find_directive(text_of(next(users, {}).get("content")))
    schema, json_mode = _format(asked)
    tools = _tools(asked)
    extras = [*(tool.schema for tool in tools), schema, *(message.get("tool_calls") for message in messages)]
    tokens = count_input((message.get("content") for message in messages), extras, len(body))
    check_length(model, tokens)
    answered = messages[-1]["role"] == "tool"
    choice = asked.get("tool_choice")
    if choice not in (None, "REQUIRED", "NONE"):
        raise Refusal(f"invalid request: tool_choice must be one of [REQUIRED, NONE], got {choice}")
    return Question(
        model=model,
        prompt=prompt,
        directive=directive,
        input_tokens=tokens,
        stream=asked.get("stream") is True,
        max_tokens=whole_number(asked, "max_tokens", most=model.max_output_tokens) or model.max_output_tokens,
        tool_answered=answered,
        tools=() if answered or choice == "NONE" else tools,
        schema=schema,
        json_mode=json_mode,
        stop=texts(asked.get("stop_sequences"), "stop_sequences"),
        seed=whole_number(asked, "seed", least=0),
    )


def read_embedding(body: bytes) -> Question:
    asked = decode_object(body)
    refuse_unknown(asked, EMBED_FIELDS)
    model = known_model(asked)
    if asked.get("input_type") not in INPUT_TYPES:
        raise Refusal("invalid request: valid input_type must be provided with the provided model")
    inputs = texts(asked.get("texts"), "texts")
    if not inputs or len(inputs) > TEXTS_MAX:
        raise Refusal(f"invalid request: total number of texts must be at most {TEXTS_MAX} - received {len(inputs)}")
    kinds = asked.get("embedding_types") or ["float"]
    tokens = sum(count_text(text) for text in inputs)
    check_length(model, tokens)
    return Question(
        model=model,
        prompt="",
        directive=find_directive(inputs[0])[0],
        input_tokens=tokens,
        stream=False,
        max_tokens=1,
        inputs=inputs,
        dimensions=whole_number(asked, "output_dimension", most=DIMENSIONS_MAX),
        as_base64=kinds == ["base64"],
        speaks=False,
    )


def refuse_unknown(asked: Mapping[str, Any], fields: frozenset[str]) -> None:
    unknown = sorted(asked.keys() - fields)
    if unknown:
        wrong = Refusal(f"unknown field: parameter '{unknown[0]}' is not a valid field")
        wrong.status = 422
        raise wrong


def _format(asked: Mapping[str, Any]) -> tuple[Mapping[str, Any] | None, bool]:
    wanted = asked.get("response_format")
    if not isinstance(wanted, dict) or wanted.get("type") == "text":
        return None, False
    if wanted.get("type") != "json_object":
        raise Refusal("invalid request: response_format.type must be one of [text, json_object]")
    schema = wanted.get("json_schema", wanted.get("schema"))
    return (dict(schema), False) if isinstance(schema, dict) else (None, True)


def _tools(asked: Mapping[str, Any]) -> tuple[OfferedTool, ...]:
    found: list[OfferedTool] = []
    for tool in asked.get("tools") or ():
        function = tool.get("function") if isinstance(tool, dict) else None
        if (
            not isinstance(function, dict)
            or not isinstance(function.get("name"), str)
            or not isinstance(function.get("parameters", {}), dict)
        ):
            raise Refusal("invalid request: tools[0].function is not valid")
        found.append(OfferedTool(function["name"], function.get("parameters") or {"type": "object"}))
    return tuple(found)
