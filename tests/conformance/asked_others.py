"""Requests of Ollama, Cohere and Hugging Face's text generation."""

from __future__ import annotations

from typing import Any

from tests.conformance.asked import (
    Asked,
    Called,
    Format,
    Tool,
    Turn,
    detail_of,
    image_of,
    json_value,
    object_of,
    objects_of,
    others_of,
    schema_of,
    texts_of,
    typed_name,
    word_of,
)

_OLLAMA = ("model", "messages", "stream", "options", "tools", "format", "think", "truncate")
_OLLAMA_OPTIONS = ("num_predict", "temperature", "top_p", "seed", "stop")
_COHERE = (
    *("model", "messages", "stream", "max_tokens", "temperature", "p", "seed", "stop_sequences", "tools", "tool_choice", "thinking"),
    *("response_format", "strict_tools"),
)
_EFFORTS = {True: "on", False: "off"}


def read_ollama(body: dict[str, Any], path: str = "") -> Asked:
    """Streams unless told otherwise. An output limit below one means none."""
    options, wanted, think = object_of(body.get("options")), body.get("format"), body.get("think")
    limit = options.get("num_predict")
    asked = Asked(
        model=word_of(body.get("model")),
        tools=[_tool(tool) for tool in objects_of(body.get("tools"))],
        limit=limit if isinstance(limit, int) and limit > 0 else None,
        temperature=options.get("temperature"),
        top_p=options.get("top_p"),
        stop=texts_of(options.get("stop")),
        seed=options.get("seed"),
        format=Format(schema_of(wanted)) if isinstance(wanted, dict) else Format() if wanted else None,
        effort=think if isinstance(think, str) else _EFFORTS.get(think),
        stream=body.get("stream") is not False,
        others=others_of(body, _OLLAMA) | {f"options.{name}": value for name, value in others_of(options, _OLLAMA_OPTIONS).items()},
    )
    for message in objects_of(body.get("messages")):
        turn = Turn(word_of(message.get("role")), [("text", word_of(message.get("content")))])
        turn.pieces += [("image", word_of(image).rpartition(",")[2]) for image in message.get("images") or ()]
        turn.reasoning = word_of(message.get("thinking"))
        turn.calls = [_call(call) for call in objects_of(message.get("tool_calls"))]
        turn.answers, turn.name = word_of(message.get("tool_call_id")), word_of(message.get("tool_name"))
        asked.turns.append(turn)
    return asked.tidy()


def read_cohere(body: dict[str, Any], path: str = "") -> Asked:
    thinking, wanted = object_of(body.get("thinking")), object_of(body.get("response_format"))
    schema = wanted.get("json_schema") or wanted.get("schema")
    asked = Asked(
        model=word_of(body.get("model")),
        tools=[_tool(tool, strict=body.get("strict_tools")) for tool in objects_of(body.get("tools"))],
        choice=word_of(body.get("tool_choice")).lower() or "auto",
        limit=body.get("max_tokens"),
        temperature=body.get("temperature"),
        top_p=body.get("p"),
        stop=texts_of(body.get("stop_sequences")),
        seed=body.get("seed"),
        format=None
        if wanted.get("type") in (None, "text")
        else Format(schema_of(schema) if schema else None, kind=typed_name(wanted, "", "json_object")),
        effort={"enabled": "on", "disabled": "off"}.get(word_of(thinking.get("type"))),
        budget=thinking.get("token_budget"),
        stream=body.get("stream") is True,
        others=others_of(body, _COHERE),
    )
    for message in objects_of(body.get("messages")):
        turn = Turn(word_of(message.get("role")), answers=word_of(message.get("tool_call_id")))
        content = message.get("content")
        for part in [{"type": "text", "text": content}] if isinstance(content, str) else objects_of(content):
            _take(turn, part)
        turn.calls = [_call(call) for call in objects_of(message.get("tool_calls"))]
        asked.turns.append(turn)
    return asked.tidy()


def read_generate(body: dict[str, Any], path: str = "") -> Asked:
    """A prompt is one turn of a user. The task endpoint names the model in its path."""
    parameters = object_of(body.get("parameters"))
    known = ("max_new_tokens", "temperature", "top_p", "seed", "stop", "do_sample", "details", "return_full_text", "grammar", "truncate")
    grammar = object_of(parameters.get("grammar"))
    return Asked(
        model=path.partition("?")[0].rpartition("/models/")[2],
        turns=[Turn("user", [("text", body["inputs"])])] if isinstance(body.get("inputs"), str) else [],
        limit=parameters.get("max_new_tokens"),
        temperature=0 if parameters.get("do_sample") is False else parameters.get("temperature"),
        top_p=parameters.get("top_p"),
        stop=texts_of(parameters.get("stop")),
        seed=parameters.get("seed"),
        format=Format(schema_of(grammar.get("value"))) if grammar else None,
        stream=body.get("stream") is True or path.endswith("/generate_stream"),
        others=others_of(body, ("inputs", "parameters", "stream", "model", "options")) | others_of(parameters, known),
    )


def read_ollama_embed(body: dict[str, Any], path: str = "") -> Asked:
    given = body.get("input")
    return Asked(
        model=word_of(body.get("model")),
        inputs=texts_of(given),
        dimensions=body.get("dimensions"),
        others=others_of(body, ("model", "input", "dimensions", "truncate")),
    )


def read_cohere_embed(body: dict[str, Any], path: str = "") -> Asked:
    known = ("model", "texts", "output_dimension", "truncate")
    others = others_of(body, known)
    others = {name: value for name, value in others.items() if (name, value) != ("embedding_types", ["float"])}
    return Asked(
        model=word_of(body.get("model")), inputs=texts_of(body.get("texts")), dimensions=body.get("output_dimension"), others=others
    )


def _tool(tool: dict[str, Any], strict: bool | None = None) -> Tool:
    function = object_of(tool.get("function"))
    return Tool(typed_name(tool, function.get("name")), word_of(function.get("description")), schema_of(function.get("parameters")), strict)


def _call(call: dict[str, Any]) -> Called:
    function = object_of(call.get("function"))
    return Called(word_of(call.get("id")), typed_name(call, function.get("name")), json_value(function.get("arguments")))


def _take(turn: Turn, part: dict[str, Any]) -> None:
    match part.get("type"):
        case "text":
            turn.pieces.append(("text", part.get("text")))
        case "image_url":
            turn.pieces += [image_of(object_of(part.get("image_url")).get("url")), *detail_of(object_of(part.get("image_url")))]
        case "thinking":
            turn.reasoning += word_of(part.get("thinking"))
        case _:
            turn.pieces.append(("other", part))
