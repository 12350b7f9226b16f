"""What a Responses request asks: https://platform.openai.com/docs/api-reference/responses/create ."""

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
    text_of,
    whole_number,
)

OUTPUT_TOKENS_MIN = 16
FIELDS = frozenset(
    (
        *("model", "input", "instructions", "max_output_tokens", "stream", "stream_options", "temperature", "top_p", "tools"),
        *("tool_choice", "text", "reasoning", "previous_response_id", "store", "metadata", "parallel_tool_calls", "include"),
        *("truncation", "user", "service_tier", "safety_identifier", "prompt_cache_key", "prompt_cache_retention", "background"),
        *("conversation", "max_tool_calls", "prompt", "top_logprobs", "context_management"),
    )
)
ROLES = frozenset({"system", "developer", "user", "assistant"})
ITEMS = frozenset({"message", "function_call", "function_call_output", "reasoning", "item_reference", "compaction"})
PARTS = frozenset({"input_text", "output_text", "refusal", "input_image", "input_file", "input_audio"})


def read_question(body: bytes, account: str) -> tuple[Question, str | None]:
    """The question, and the id of the response it continues. Raises ``Refusal``."""
    asked = decode_object(body)
    for name in sorted(asked.keys() - FIELDS):
        raise Refusal(f"Unknown parameter: '{name}'.", param=name, code="unknown_parameter")
    model = known_model(asked)
    items = _items(asked.get("input"))
    directive, prompt = _prompt(asked, items)
    schema, json_mode = _format(asked)
    contents = [_counted(item) for item in items]
    if asked.get("instructions"):
        contents.append(asked["instructions"])
    tools = _tools(asked)
    input_tokens = count_input(contents, [*tools, schema], len(body))
    check_length(model, input_tokens)
    answered = items[-1].get("type") == "function_call_output"
    reasoning = asked.get("reasoning")
    question = Question(
        model=model,
        prompt=prompt,
        directive=directive,
        input_tokens=input_tokens,
        stream=asked.get("stream") is True,
        max_tokens=whole_number(asked, "max_output_tokens", least=OUTPUT_TOKENS_MIN, most=model.max_output_tokens)
        or model.max_output_tokens,
        tool_answered=answered,
        tools=() if answered else _offered(asked, tools),
        schema=schema,
        json_mode=json_mode,
        show_thinking=isinstance(reasoning, dict) and bool(reasoning.get("summary")),
        account=account,
        remembered=asked.get("store") is not False,
    )
    previous = asked.get("previous_response_id")
    return question, previous if isinstance(previous, str) else None


def _items(given: Any) -> list[dict[str, Any]]:
    if isinstance(given, str) and given:
        return [{"type": "message", "role": "user", "content": given}]
    if not isinstance(given, list) or not given:
        raise Refusal("Missing required parameter: 'input'.", param="input", code="missing_required_parameter")
    called: set[str] = set()
    for number, item in enumerate(given):
        where = f"input[{number}]"
        if not isinstance(item, dict):
            raise Refusal(f"Invalid type for '{where}': expected an object.", param=where, code="invalid_type")
        kind = item.get("type", "message")
        if kind not in ITEMS or (kind == "message" and item.get("role") not in ROLES):
            raise Refusal(
                f"Invalid value: '{kind}'.", param=f"{where}.type" if kind not in ITEMS else f"{where}.role", code="invalid_value"
            )
        _check_parts(where, item.get("content"), kind)
        if kind == "function_call":
            called.add(str(item.get("call_id")))
        if kind == "function_call_output" and not isinstance(item.get("call_id"), str):
            raise Refusal(f"Missing required parameter: '{where}.call_id'.", param=f"{where}.call_id", code="missing_required_parameter")
    return given


def _check_parts(where: str, content: Any, kind: str) -> None:
    for place, part in enumerate(content if isinstance(content, list) and kind == "message" else ()):
        if not isinstance(part, dict) or part.get("type") not in PARTS:
            shown = part.get("type") if isinstance(part, dict) else part
            raise Refusal(f"Invalid value: '{shown}'.", param=f"{where}.content[{place}].type", code="invalid_value")


def _counted(item: Mapping[str, Any]) -> Any:
    """The item's content with its images in the form that is counted as images."""
    content = item.get("content", item.get("output", item.get("arguments")))
    if not isinstance(content, list):
        return content
    return [{"type": "image"} if part.get("type") == "input_image" else part for part in content if isinstance(part, dict)]


def _prompt(asked: Mapping[str, Any], items: list[dict[str, Any]]) -> tuple[str, str]:
    users = (text_of(item.get("content")) for item in reversed(items) if item.get("role") == "user")
    directive, prompt = find_directive(next(users, ""))
    metadata = asked.get("metadata")
    for place in (asked.get("user"), *(metadata.values() if isinstance(metadata, dict) else ())):
        if not directive and isinstance(place, str):
            directive, _ = find_directive(place)
    return directive, prompt


def _format(asked: Mapping[str, Any]) -> tuple[Mapping[str, Any] | None, bool]:
    text = asked.get("text")
    wanted = text.get("format") if isinstance(text, dict) else None
    if not isinstance(wanted, dict) or wanted.get("type") == "text":
        return None, False
    if wanted.get("type") == "json_object":
        return None, True
    if wanted.get("type") != "json_schema" or not wanted.get("name") or not isinstance(wanted.get("schema"), dict):
        raise Refusal("Missing required parameter: 'text.format.name'.", param="text.format.name", code="missing_required_parameter")
    return dict(wanted["schema"]), False


def _tools(asked: Mapping[str, Any]) -> list[dict[str, Any]]:
    listed = asked.get("tools") or []
    for number, tool in enumerate(listed):
        if not isinstance(tool, dict) or (tool.get("type") == "function" and not isinstance(tool.get("name"), str)):
            where = f"tools[{number}].name"
            raise Refusal(f"Missing required parameter: '{where}'.", param=where, code="missing_required_parameter")
    return list(listed)


def _offered(asked: Mapping[str, Any], listed: list[dict[str, Any]]) -> tuple[OfferedTool, ...]:
    tools = tuple(
        OfferedTool(tool["name"], tool.get("parameters") or {"type": "object"}) for tool in listed if tool.get("type") == "function"
    )
    choice = asked.get("tool_choice")
    if isinstance(choice, dict) and choice.get("type") == "function":
        tools = tuple(tool for tool in tools if tool.name == choice.get("name"))
        if not tools:
            raise Refusal(f"Tool choice '{choice.get('name')}' not found in 'tools' parameter.", param="tool_choice", code="invalid_value")
    return () if choice == "none" else tools
