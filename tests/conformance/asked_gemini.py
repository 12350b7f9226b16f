"""Requests of Gemini: contents, token counts and embeddings. Every name may be written in camel case or with underscores."""

from __future__ import annotations

import re
from typing import Any

from tests.conformance.asked import (
    Asked,
    Called,
    Format,
    Tool,
    Turn,
    image_of,
    json_value,
    object_of,
    objects_of,
    others_of,
    schema_of,
    texts_of,
    word_of,
)

_KNOWN = ("contents", "model", "systemInstruction", "tools", "toolConfig", "generationConfig", "generateContentRequest")
_CONFIG = (
    *("maxOutputTokens", "temperature", "topP", "stopSequences", "seed", "candidateCount", "responseMimeType", "responseSchema"),
    *("responseJsonSchema", "responseLogprobs", "logprobs", "thinkingConfig"),
)
_ROLES = {"model": "assistant", "": "user", "function": "user"}
_CHOICES = {"AUTO": "auto", "NONE": "none", "ANY": "required", "VALIDATED": "auto"}
_MODEL = re.compile(r"/((?:models|tunedModels)/[^:?]+|[^/:?]+):")


def model_of(path: str) -> str:
    found = _MODEL.search(path)
    return found[1].removeprefix("models/") if found else ""


def read_contents(body: dict[str, Any], path: str = "") -> Asked:
    body = object_of(_at(body, "generateContentRequest")) or body
    config = object_of(_at(body, "generationConfig"))
    calling = object_of(_at(object_of(_at(body, "toolConfig")), "functionCallingConfig"))
    declared = [one for tool in objects_of(body.get("tools")) for one in objects_of(_at(tool, "functionDeclarations"))]
    thinking = object_of(_at(config, "thinkingConfig"))
    asked = Asked(
        model=model_of(path),
        system="\n\n".join(word_of(part.get("text")) for part in _parts(object_of(_at(body, "systemInstruction")))),
        tools=[_tool(one) for one in declared],
        choice=_choice(calling),
        limit=_at(config, "maxOutputTokens"),
        temperature=config.get("temperature"),
        top_p=_at(config, "topP"),
        stop=texts_of(_at(config, "stopSequences")),
        seed=config.get("seed"),
        n=_at(config, "candidateCount") or 1,
        format=_format(config),
        effort=word_of(_at(thinking, "thinkingLevel")).lower() or None,
        budget=_at(thinking, "thinkingBudget"),
        logprobs=(config.get("logprobs") or 0) if _at(config, "responseLogprobs") else None,
        stream=":streamGenerateContent" in path,
        others=others_of(_camel(body), _KNOWN) | others_of(_camel(config), _CONFIG),
    )
    asked.effort = asked.effort or {None: None, 0: "off"}.get(asked.budget, "on")
    if _at(thinking, "includeThoughts") and asked.effort is None:
        asked.others["thinkingConfig.includeThoughts"] = True
    for content in objects_of(body.get("contents")):
        asked.turns += _turns(content)
    return asked.tidy()


def read_embeddings(body: dict[str, Any], path: str = "") -> Asked:
    rows = objects_of(body["requests"]) if "requests" in body else [body]
    known = ("content", "model", "outputDimensionality")
    return Asked(
        model=model_of(path),
        inputs=["".join(word_of(part.get("text")) for part in _parts(object_of(row.get("content")))) for row in rows],
        dimensions=next((_at(row, "outputDimensionality") for row in rows), None),
        others={name: value for row in rows for name, value in others_of(_camel(row), known).items()},
    )


def _at(source: dict[str, Any], name: str) -> Any:
    """``name`` is in camel case."""
    return source.get(name, source.get(_underscored(name)))


def _underscored(name: str) -> str:
    return re.sub(r"[A-Z]", lambda letter: f"_{letter[0].lower()}", name)


def _camel(source: dict[str, Any]) -> dict[str, Any]:
    return {re.sub(r"_([a-z])", lambda letter: letter[1].upper(), name): value for name, value in source.items()}


def _parts(content: dict[str, Any]) -> list[dict[str, Any]]:
    parts = content.get("parts")
    return [parts] if isinstance(parts, dict) else objects_of(parts)


def _tool(declaration: dict[str, Any]) -> Tool:
    schema = _at(declaration, "parametersJsonSchema") or declaration.get("parameters")
    return Tool(word_of(declaration.get("name")), word_of(declaration.get("description")), schema_of(schema))


def _choice(calling: dict[str, Any]) -> str:
    allowed = texts_of(_at(calling, "allowedFunctionNames"))
    if calling.get("mode") == "ANY" and len(allowed) == 1:
        return f"={allowed[0]}"
    mode = word_of(calling.get("mode"))
    return _CHOICES.get(mode, mode or "auto")


def _format(config: dict[str, Any]) -> Format | None:
    if _at(config, "responseMimeType") != "application/json":
        return None
    schema = _at(config, "responseJsonSchema") or _at(config, "responseSchema")
    return Format(schema_of(schema)) if schema else Format()


def _turns(content: dict[str, Any]) -> list[Turn]:
    role = _ROLES.get(word_of(content.get("role")), word_of(content.get("role")))
    turns = [Turn(role)]
    for part in _parts(content):
        answer = object_of(_at(part, "functionResponse"))
        if answer:
            turns += [_result(answer), Turn(role)]
        else:
            _take(turns[-1], part)
    return turns


def _result(answer: dict[str, Any]) -> Turn:
    """A result must be an object: a text is wrapped into one, under one of two names."""
    response = answer.get("response")
    if isinstance(response, dict) and len(response) == 1:
        (name, value), *_ = response.items()
        response = json_value(value) if name in ("result", "output") and isinstance(value, str) else response
        response = response if isinstance(response, dict) else value
    turn = Turn("tool", [("text" if isinstance(response, str) else "value", response)])
    turn.answers, turn.name = word_of(answer.get("id")), word_of(answer.get("name"))
    for inner in objects_of(answer.get("parts")):
        _take(turn, inner)
    return turn


def _take(turn: Turn, part: dict[str, Any]) -> None:
    """The signature of a text is left aside: only those of calls must come back."""
    blob, file, call = (object_of(_at(part, name)) for name in ("inlineData", "fileData", "functionCall"))
    if call:
        signature = word_of(_at(part, "thoughtSignature"))
        turn.calls.append(Called(word_of(call.get("id")), word_of(call.get("name")), call.get("args") or {}, signature))
    elif blob:
        turn.pieces.append(image_of(f"data:{_at(blob, 'mimeType')};base64,{blob.get('data')}"))
    elif file:
        turn.pieces += [image_of(_at(file, "fileUri")), ("media type", _at(file, "mimeType"))]
    elif isinstance(part.get("text"), str):
        if part.get("thought") is True:
            turn.reasoning += part["text"]
        else:
            turn.pieces.append(("text", part["text"]))
    elif set(part) - {"thoughtSignature", "thought_signature", "thought"}:
        turn.pieces.append(("other", part))
