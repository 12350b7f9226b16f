"""Requests in OpenAI's formats: chat completions, responses and embeddings, with the words of compatible services."""

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

STREAM_USAGE = "stream_options.include_usage"
_CHAT = (
    *("model", "messages", "stream", "stream_options", "max_tokens", "max_completion_tokens", "temperature", "top_p", "stop", "seed"),
    *("random_seed", "n", "tools", "tool_choice", "parallel_tool_calls", "response_format", "reasoning_effort", "logprobs"),
    *("top_logprobs", "user"),
)
_RESPONSES = (
    *("model", "input", "instructions", "stream", "max_output_tokens", "temperature", "top_p", "top_logprobs", "tools", "tool_choice"),
    *("parallel_tool_calls", "text", "reasoning", "user", "include", "stream_options"),
)
_EMBEDDINGS = ("model", "input", "dimensions", "output_dimension", "user", "encoding_format")
_NO_REASONING = {"thinking": {"type": "disabled"}, "chat_template_kwargs": {"enable_thinking": False}}
_ROLES = {"developer": "system", "function": "tool"}
_CHOICES = {"any": "required", None: "auto"}
_LOGPROBS = "message.output_text.logprobs"


def in_plain_words(body: dict[str, Any]) -> dict[str, Any]:
    """What a service says in its own words for "do not reason" becomes OpenAI's."""
    switched_off = [name for name, value in _NO_REASONING.items() if body.get(name) == value]
    if not switched_off or body.get("reasoning_effort") not in (None, "none"):
        return body
    return {**{name: value for name, value in body.items() if name not in switched_off}, "reasoning_effort": "none"}


def read_chat(body: dict[str, Any], path: str = "") -> Asked:
    body = in_plain_words(body)
    asked = _common(body, _CHAT)
    asked.turns = [_turn(message) for message in objects_of(body.get("messages"))]
    asked.tools = [_tool(tool, object_of(tool.get("function"))) for tool in objects_of(body.get("tools"))]
    if object_of(body.get("stream_options")).get("include_usage"):
        asked.others[STREAM_USAGE] = True
    asked.limit = body.get("max_completion_tokens") or body.get("max_tokens")
    asked.stop = texts_of(body.get("stop"))
    asked.seed = body.get("seed") if body.get("seed") is not None else body.get("random_seed")
    asked.n = body.get("n") or 1
    asked.format = _format(object_of(body.get("response_format")), "json_schema")
    asked.effort = body.get("reasoning_effort")
    asked.logprobs = (body.get("top_logprobs") or 0) if body.get("logprobs") else None
    return asked.tidy()


def read_embeddings(body: dict[str, Any], path: str = "") -> Asked:
    given = body.get("input")
    is_one = isinstance(given, str) or (isinstance(given, list) and bool(given) and all(isinstance(item, int) for item in given))
    return Asked(
        model=word_of(body.get("model")),
        inputs=[given] if is_one else list(given or ()),
        dimensions=body.get("dimensions") or body.get("output_dimension"),
        user=word_of(body.get("user")),
        others=others_of(body, _EMBEDDINGS),
    )


def read_responses(body: dict[str, Any], path: str = "") -> Asked:
    asked = _common(body, _RESPONSES)
    asked.system = word_of(body.get("instructions"))
    given = body.get("input")
    items = [{"role": "user", "content": given}] if isinstance(given, str) else objects_of(given)
    asked.turns = [_item(item) for item in items]
    asked.tools = [_tool(tool, tool) for tool in objects_of(body.get("tools"))]
    asked.limit = body.get("max_output_tokens")
    text = object_of(body.get("text"))
    asked.format = _format(object_of(text.get("format")), "")
    asked.others |= {f"text.{name}": value for name, value in text.items() if name != "format" and value not in (None, "medium")}
    reasoning = object_of(body.get("reasoning"))
    asked.effort = reasoning.get("effort")
    asked.others |= {f"reasoning.{name}": value for name, value in reasoning.items() if name != "effort" and value}
    asked.others |= {f"include.{name}": True for name in texts_of(body.get("include")) if name != _LOGPROBS}
    asked.logprobs = body.get("top_logprobs") if _LOGPROBS in texts_of(body.get("include")) or body.get("top_logprobs") else None
    return asked.tidy()


def _common(body: dict[str, Any], known: tuple[str, ...]) -> Asked:
    return Asked(
        model=word_of(body.get("model")),
        temperature=body.get("temperature"),
        top_p=body.get("top_p"),
        choice=_choice(body.get("tool_choice")),
        parallel=body.get("parallel_tool_calls") is not False,
        stream=body.get("stream") is True,
        user=word_of(body.get("user")),
        others=others_of(body, known),
    )


def _choice(choice: Any) -> str:
    if isinstance(choice, dict):
        return "=" + typed_name(choice, object_of(choice.get("function")).get("name") or choice.get("name"))
    return _CHOICES.get(choice, choice)


def _tool(tool: dict[str, Any], function: dict[str, Any]) -> Tool:
    return Tool(
        typed_name(tool, function.get("name")),
        word_of(function.get("description")),
        schema_of(function.get("parameters")),
        function.get("strict"),
    )


def _format(wanted: dict[str, Any], wrapper: str) -> Format | None:
    if wanted.get("type") in (None, "text"):
        return None
    if wanted["type"] != "json_schema":
        return Format(kind=typed_name(wanted, "", "json_object"))
    inner = object_of(wanted.get(wrapper)) if wrapper else wanted
    described = {"description": inner["description"]} if inner.get("description") else {}
    return Format(schema_of({**described, **object_of(inner.get("schema"))}), inner.get("strict"), word_of(inner.get("name")))


# --------------------------------------------------------------------------- chat turns


def _turn(message: dict[str, Any]) -> Turn:
    role = word_of(message.get("role"))
    turn = Turn(_ROLES.get(role, role), name=word_of(message.get("name")) if role != "tool" else "")
    turn.answers = word_of(message.get("tool_call_id"))
    turn.reasoning = word_of(message.get("reasoning_content")) or word_of(message.get("reasoning"))
    for block in objects_of(message.get("thinking_blocks")):
        turn.reasoning = word_of(block.get("thinking")) or turn.reasoning
        turn.signatures += [word_of(block.get("signature") or block.get("data"))]
    content = message.get("content")
    for part in [{"type": "text", "text": content}] if isinstance(content, str) else objects_of(content):
        _take_part(turn, part)
    if message.get("refusal") and not turn.pieces:
        turn.pieces.append(("text", message["refusal"]))
    turn.calls = [_call(call) for call in objects_of(message.get("tool_calls"))]
    return turn


def _take_part(turn: Turn, part: dict[str, Any]) -> None:
    match part.get("type"):
        case "text" | "input_text" | "output_text":
            turn.pieces.append(("text", part.get("text")))
        case "refusal":
            turn.pieces.append(("text", part.get("refusal")))
        case "image_url" | "input_image" if part.get("image_url"):
            image = part["image_url"]
            turn.pieces.append(image_of(image.get("url") if isinstance(image, dict) else image))
            turn.pieces += detail_of(image if isinstance(image, dict) else part)
        case "thinking":
            thought = part.get("thinking")
            turn.reasoning += thought if isinstance(thought, str) else "".join(word_of(one.get("text")) for one in objects_of(thought))
        case _:
            turn.pieces.append(("other", part))


def _call(call: dict[str, Any]) -> Called:
    function = object_of(call.get("function"))
    google = object_of(object_of(call.get("extra_content")).get("google"))
    return Called(
        word_of(call.get("id")),
        typed_name(call, function.get("name")),
        json_value(function.get("arguments")),
        word_of(google.get("thought_signature")),
    )


# --------------------------------------------------------------------------- items of responses


def _item(item: dict[str, Any]) -> Turn:
    kind = item.get("type", "message")
    if kind == "function_call":
        call = Called(word_of(item.get("call_id")), word_of(item.get("name")), json_value(item.get("arguments")))
        return Turn("assistant", calls=[call])
    if kind == "function_call_output":
        turn = Turn("tool", answers=word_of(item.get("call_id")))
        content = item.get("output")
    elif kind == "message":
        role = word_of(item.get("role"))
        turn, content = Turn(_ROLES.get(role, role)), item.get("content")
    elif kind == "reasoning":
        pieces = objects_of(item.get("content")) or objects_of(item.get("summary"))
        return Turn(
            "assistant",
            reasoning="".join(word_of(piece.get("text")) for piece in pieces),
            signatures=[word_of(item.get("encrypted_content") or item.get("id"))],
        )
    else:
        return Turn("assistant", [("other", item)])
    for part in [{"type": "input_text", "text": content}] if isinstance(content, str) else objects_of(content):
        _take_part(turn, part)
    return turn
