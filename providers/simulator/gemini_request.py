"""What a Gemini request asks: https://ai.google.dev/api/generate-content . Keys are taken in both spellings, as Google takes them."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

from providers.simulator.catalogue import MODELS_BY_NAME, SimulatedModel
from providers.simulator.controls import find_directive
from providers.simulator.questions import (
    CHOICES_MAX,
    OfferedTool,
    Question,
    Refusal,
    UnknownModel,
    check_length,
    count_input,
    text_of,
    texts,
    whole_number,
)

FIELDS = frozenset(
    {
        "contents",
        "systemInstruction",
        "tools",
        "toolConfig",
        "safetySettings",
        "generationConfig",
        "cachedContent",
        "model",
        "labels",
        "store",
        "serviceTier",
    }
)
CONFIG_FIELDS = frozenset(
    (
        *("temperature", "topP", "topK", "candidateCount", "maxOutputTokens", "stopSequences", "responseMimeType", "responseSchema"),
        *("responseJsonSchema", "presencePenalty", "frequencyPenalty", "seed", "responseLogprobs", "logprobs", "thinkingConfig"),
        *("responseModalities", "speechConfig", "imageConfig", "mediaResolution", "enableEnhancedCivicAnswers", "responseFormat"),
    )
)
PARTS = frozenset(
    (
        *("text", "inlineData", "fileData", "functionCall", "functionResponse", "executableCode", "codeExecutionResult"),
        *("thought", "thoughtSignature", "videoMetadata", "mediaResolution", "partMetadata", "toolCall", "toolResponse"),
    )
)


def model_named(name: str) -> SimulatedModel:
    model = MODELS_BY_NAME.get(name)
    if model is None:
        raise UnknownModel(name, param="model")
    return model


def camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def known(value: Any, where: str, fields: frozenset[str]) -> dict[str, Any]:
    """``value`` with its keys in camel case. Raises ``Refusal`` as Google's JSON reader does for any it does not know."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise Refusal(f"Invalid value at '{where}' (type.googleapis.com/google.ai.generativelanguage.v1beta), expected an object")
    spelled = {camel(name): each for name, each in value.items()}
    for name in sorted(spelled.keys() - fields):
        at = f" at '{where}'" if where else ""
        raise Refusal(f'Invalid JSON payload received. Unknown name "{name}"{at}: Cannot find field.')
    return spelled


def read_question(asked: Mapping[str, Any], name: str, size: int, *, stream: bool) -> Question:
    model = model_named(name)
    top = known(asked, "", FIELDS)
    contents = _contents(top.get("contents"))
    config = known(top.get("generationConfig"), "generation_config", CONFIG_FIELDS)
    users = (text_of(parts) for role, parts in reversed(contents) if role != "model")
    directive, prompt = find_directive(next((text for text in users if text), ""))
    if not directive and isinstance(top.get("labels"), dict):
        directive = next((words for value in top["labels"].values() if (words := find_directive(str(value))[0])), "")
    schema, json_mode = _format(config)
    spoken = [[_counted(part) for part in parts] for _, parts in contents]
    if top.get("systemInstruction"):
        spoken.append([_counted(part) for part in _contents([{**top["systemInstruction"], "role": "user"}])[0][1]])
    tools = _tools(top)
    input_tokens = count_input(spoken, [*(tool.schema for tool in tools), schema], size)
    check_length(model, input_tokens)
    answered = any("functionResponse" in part for part in contents[-1][1])
    thinking = config.get("thinkingConfig")
    return Question(
        model=model,
        prompt=prompt,
        directive=directive,
        input_tokens=input_tokens,
        stream=stream,
        max_tokens=whole_number(config, "maxOutputTokens", most=model.max_output_tokens) or model.max_output_tokens,
        tool_answered=answered,
        tools=() if answered else _offered(top, tools),
        schema=schema,
        json_mode=json_mode,
        choices=whole_number(config, "candidateCount", most=CHOICES_MAX) or 1,
        stop=texts(config.get("stopSequences"), "stop_sequences"),
        seed=whole_number(config, "seed", least=-(2**31)),
        show_thinking=isinstance(thinking, dict) and bool(thinking.get("includeThoughts", thinking.get("include_thoughts"))),
        has_unsigned_calls=any(_is_unsigned(parts) for role, parts in contents if role == "model"),
    )


def _contents(given: Any) -> list[tuple[str, list[dict[str, Any]]]]:
    if isinstance(given, dict):
        given = [given]
    if not isinstance(given, list) or not given:
        raise Refusal("* GenerateContentRequest.contents: contents is not specified")
    read: list[tuple[str, list[dict[str, Any]]]] = []
    for number, content in enumerate(given):
        turn = known(content, f"contents[{number}]", frozenset({"role", "parts"}))
        if turn.get("role", "user") not in ("user", "model", "function"):
            raise Refusal("Please use a valid role: user, model.")
        parts = turn.get("parts")
        parts = [parts] if isinstance(parts, dict) else parts
        if not isinstance(parts, list) or not parts:
            raise Refusal(f"* GenerateContentRequest.contents[{number}].parts: contents.parts must not be empty.")
        read.append((turn.get("role", "user"), [_part(part, f"contents[{number}].parts[{place}]") for place, part in enumerate(parts)]))
    _check_order(read)
    return read


def _part(given: Any, where: str) -> dict[str, Any]:
    part = known(given, where, PARTS)
    if not part.keys() & (PARTS - {"thought", "thoughtSignature", "videoMetadata"}):
        raise Refusal(f"* GenerateContentRequest.{where}.data: required oneof field 'data' must have one initialized field")
    call = part.get("functionCall")
    if call is not None and (not isinstance(call, dict) or not isinstance(call.get("args", {}), dict)):
        raise Refusal(f"Invalid value at '{where}.function_call.args' (type.googleapis.com/google.protobuf.Struct)")
    answer = part.get("functionResponse")
    if answer is not None and (not isinstance(answer, dict) or not isinstance(answer.get("response"), dict)):
        raise Refusal(f"Invalid value at '{where}.function_response.response' (type.googleapis.com/google.protobuf.Struct)")
    return part


def _check_order(contents: list[tuple[str, list[dict[str, Any]]]]) -> None:
    """As many answers as calls, in the very next turn."""
    for (_, before), (_, after) in itertools.pairwise(contents):
        calls, answers = sum("functionCall" in part for part in before), sum("functionResponse" in part for part in after)
        if calls != answers:
            raise Refusal(
                "Please ensure that the number of function response parts is equal to "
                "the number of function call parts of the function call turn."
            )


def _is_unsigned(parts: list[dict[str, Any]]) -> bool:
    """The first call of a turn carries the signature: https://ai.google.dev/gemini-api/docs/thought-signatures ."""
    first = next((part for part in parts if "functionCall" in part), None)
    return first is not None and not first.get("thoughtSignature")


def _counted(part: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "image"} if "inlineData" in part or "fileData" in part else dict(part)


def _format(config: Mapping[str, Any]) -> tuple[Mapping[str, Any] | None, bool]:
    schema = config.get("responseJsonSchema") or config.get("responseSchema")
    is_json = config.get("responseMimeType") == "application/json"
    if schema and not is_json:
        raise Refusal("Function calling with a response mime type: 'text/plain' and a response schema is unsupported")
    return (_plain_schema(schema), False) if isinstance(schema, dict) else (None, is_json)


def _plain_schema(value: Any) -> Any:
    """JSON schema: Google's own form has its types in capitals."""
    if isinstance(value, dict):
        return {key: each.lower() if key == "type" and isinstance(each, str) else _plain_schema(each) for key, each in value.items()}
    return [_plain_schema(each) for each in value] if isinstance(value, list) else value


def _tools(top: Mapping[str, Any]) -> tuple[OfferedTool, ...]:
    found: list[OfferedTool] = []
    for tool in top.get("tools") or ():
        declared = tool.get("functionDeclarations", tool.get("function_declarations")) if isinstance(tool, dict) else None
        for function in declared or ():
            if not isinstance(function, dict) or not isinstance(function.get("name"), str):
                raise Refusal("* GenerateContentRequest.tools[0].function_declarations[0].name: Invalid function name.")
            spelled = {camel(name): each for name, each in function.items()}
            schema = spelled.get("parametersJsonSchema") or spelled.get("parameters") or {"type": "object"}
            found.append(OfferedTool(function["name"], _plain_schema(schema)))
    return tuple(found)


def _offered(top: Mapping[str, Any], tools: tuple[OfferedTool, ...]) -> tuple[OfferedTool, ...]:
    config = top.get("toolConfig") or {}
    calling = config.get("functionCallingConfig", config.get("function_calling_config")) or {}
    mode = calling.get("mode", "AUTO")
    if mode not in ("AUTO", "ANY", "NONE", "VALIDATED", "MODE_UNSPECIFIED"):
        raise Refusal("Invalid value at 'tool_config.function_calling_config.mode'")
    names = calling.get("allowedFunctionNames", calling.get("allowed_function_names"))
    return () if mode == "NONE" else tuple(tool for tool in tools if not names or tool.name in names)
