"""Requests of Anthropic's messages and token counts."""

from __future__ import annotations

from typing import Any

from tests.conformance.asked import (
    Asked,
    Called,
    Format,
    Tool,
    Turn,
    image_of,
    object_of,
    objects_of,
    others_of,
    schema_of,
    texts_of,
    typed_name,
    word_of,
)

_KNOWN = (
    *("model", "messages", "system", "max_tokens", "stream", "temperature", "top_p", "stop_sequences", "tools", "tool_choice", "thinking"),
    *("output_config", "output_format", "metadata"),
)
_CHOICES = {"any": "required", None: "auto"}


def read_messages(body: dict[str, Any], path: str = "") -> Asked:
    choice = object_of(body.get("tool_choice"))
    config = object_of(body.get("output_config"))
    wanted = object_of(config.get("format")) or object_of(body.get("output_format"))
    asked = Asked(
        model=word_of(body.get("model")),
        system="\n\n".join(_texts(body.get("system"))),
        tools=[_tool(tool) for tool in objects_of(body.get("tools"))],
        choice=f"={choice.get('name')}" if choice.get("type") == "tool" else _CHOICES.get(choice.get("type"), word_of(choice.get("type"))),
        parallel=choice.get("disable_parallel_tool_use") is not True,
        limit=body.get("max_tokens"),
        temperature=body.get("temperature"),
        top_p=body.get("top_p"),
        stop=texts_of(body.get("stop_sequences")),
        format=Format(schema_of(wanted.get("schema")), kind=typed_name(wanted, "", "json_schema")) if wanted else None,
        stream=body.get("stream") is True,
        user=word_of(object_of(body.get("metadata")).get("user_id")),
        others=others_of(body, _KNOWN),
    )
    _read_thinking(asked, object_of(body.get("thinking")), config.get("effort"))
    for message in objects_of(body.get("messages")):
        asked.turns += _turns(message)
    return asked.tidy()


def _read_thinking(asked: Asked, thinking: dict[str, Any], effort: Any) -> None:
    asked.budget = thinking.get("budget_tokens")
    asked.effort = {"enabled": "on", "disabled": "off", "adaptive": "on"}.get(word_of(thinking.get("type")))
    asked.effort = effort if effort and asked.effort != "off" else asked.effort


def _texts(content: Any) -> list[str]:
    return [content] if isinstance(content, str) else [word_of(block.get("text")) for block in objects_of(content)]


def _tool(tool: dict[str, Any]) -> Tool:
    return Tool(word_of(tool.get("name")), word_of(tool.get("description")), schema_of(tool.get("input_schema")), tool.get("strict"))


def _turns(message: dict[str, Any]) -> list[Turn]:
    """A result of a tool is a turn of its own."""
    role, content = word_of(message.get("role")), message.get("content")
    turns = [Turn(role)]
    for block in [{"type": "text", "text": content}] if isinstance(content, str) else objects_of(content):
        if block.get("type") == "tool_result":
            result = Turn("tool", answers=word_of(block.get("tool_use_id")))
            inner = block.get("content")
            for part in [{"type": "text", "text": inner}] if isinstance(inner, str) else objects_of(inner):
                _take(result, part)
            turns += [result, Turn(role)]
        else:
            _take(turns[-1], block)
    return turns


def _take(turn: Turn, block: dict[str, Any]) -> None:
    source = object_of(block.get("source"))
    match block.get("type"):
        case "text":
            turn.pieces.append(("text", block.get("text")))
        case "image" if source.get("type") == "base64":
            turn.pieces.append(image_of(f"data:{source.get('media_type')};base64,{source.get('data')}"))
        case "image" if source.get("type") == "url":
            turn.pieces.append(image_of(source.get("url")))
        case "document" if source.get("type") == "text":
            turn.pieces.append(("text", source.get("data")))
        case "thinking" if block.get("signature"):  # what nobody signed is not taken back
            turn.reasoning += word_of(block.get("thinking"))
            turn.signatures.append(word_of(block.get("signature")))
        case "redacted_thinking":
            turn.signatures.append(word_of(block.get("data")))
        case "tool_use":
            turn.calls.append(Called(word_of(block.get("id")), word_of(block.get("name")), block.get("input")))
        case _:
            turn.pieces.append(("other", block))
