"""What was asked, whatever the wire format, and what is wrong with it when it cannot be answered."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from providers.simulator.catalogue import MODELS_BY_NAME, SimulatedModel
from providers.simulator.pictures import seen_in
from providers.simulator.tokens import TOKENS_PER_IMAGE, TOKENS_PER_MESSAGE, count_bytes, count_text

CHOICES_MAX = 8


class Refusal(Exception):
    """The request is refused before any work, so it is never billed. ``code`` and ``param`` are OpenAI's words for it."""

    status = 400
    code: str | None = None

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.code = code or self.code


class UnknownModel(Refusal):
    """``message`` is the model's name: the two wires word it differently."""

    status = 404
    code = "model_not_found"


class InputTooLong(Refusal):
    code = "context_length_exceeded"

    def __init__(self, tokens: int, maximum: int) -> None:
        super().__init__(f"prompt is too long: {tokens} tokens > {maximum} maximum", param="messages")
        self.tokens = tokens
        self.maximum = maximum


@dataclass(frozen=True, slots=True)
class OfferedTool:
    name: str
    schema: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Question:
    """``tools`` are those to call now, in order: none after a tool has answered or when the client forbids it.

    ``schema`` asks for JSON that matches it, ``json_mode`` for any JSON object. ``prompt`` has no directive in it.
    ``inputs`` are the texts to embed. ``speaks`` is false where the answer holds no text (embeddings, counts), ``is_billed``
    where the call is free. ``has_unsigned_calls``: an earlier function call came back without its signature. ``remembered``:
    the answer may be continued by its id, by the same ``account``.
    """

    model: SimulatedModel
    prompt: str
    directive: str
    input_tokens: int
    stream: bool
    max_tokens: int
    tool_answered: bool = False
    tools: tuple[OfferedTool, ...] = ()
    schema: Mapping[str, Any] | None = None
    json_mode: bool = False
    choices: int = 1
    stop: tuple[str, ...] = ()
    seed: int | None = None
    include_usage: bool = False
    show_thinking: bool = False
    inputs: tuple[str, ...] = ()
    dimensions: int | None = None
    as_base64: bool = False
    speaks: bool = True
    is_billed: bool = True
    has_unsigned_calls: bool = False
    account: str = ""
    remembered: bool = False


def decode_object(body: bytes) -> dict[str, Any]:
    try:
        decoded = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Refusal("We could not parse the JSON body of your request.") from error
    if not isinstance(decoded, dict):
        raise Refusal("The JSON body of your request must be an object.")
    return decoded


def known_model(body: Mapping[str, Any]) -> SimulatedModel:
    name = body.get("model")
    if not isinstance(name, str) or not name:
        raise Refusal("you must provide a model parameter", param="model")
    model = MODELS_BY_NAME.get(name)
    if model is None:
        raise UnknownModel(name, param="model")
    return model


def listed_messages(body: Mapping[str, Any], roles: frozenset[str]) -> list[dict[str, Any]]:
    messages = body.get("messages")
    if not isinstance(messages, list):
        raise Refusal("Missing required parameter: 'messages'.", param="messages", code="missing_required_parameter")
    if not messages:
        raise Refusal("Invalid 'messages': empty array. Expected an array with minimum length 1.", param="messages", code="empty_array")
    for number, message in enumerate(messages):
        if not isinstance(message, dict) or message.get("role") not in roles:
            raise Refusal(f"messages.{number}: Input does not match the expected shape.", param=f"messages[{number}]", code="invalid_value")
    return messages


def whole_number(body: Mapping[str, Any], name: str, *, least: int = 1, most: int | None = None) -> int | None:
    """The value of an optional whole-number parameter; raises ``Refusal`` for anything else."""
    value = body.get(name)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or value < least or (most is not None and value > most):
        raise Refusal(f"Invalid value for '{name}': expected a whole number from {least}.", param=name, code="invalid_value")
    return value


def page_size(query: Mapping[str, str], name: str, default: int) -> int:
    """How many models a page of their list holds. Raises ``Refusal``."""
    given = query.get(name, str(default))
    if not given.isdecimal() or not 1 <= int(given) <= 1000:
        raise Refusal(f"Invalid value for '{name}': expected a whole number from 1 to 1000.", param=name)
    return int(given)


def texts(value: Any, name: str) -> tuple[str, ...]:
    """A parameter that is a string or a list of strings."""
    listed = [] if value is None else [value] if isinstance(value, str) else value
    if not isinstance(listed, list) or not all(isinstance(each, str) for each in listed):
        raise Refusal(f"Invalid type for '{name}': expected a string or an array of strings.", param=name, code="invalid_type")
    return tuple(each for each in listed if each)


def text_of(content: Any) -> str:
    """The text of a message's content: a string, or the text parts of a list with what its pictures show."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    parts = [part for part in content if isinstance(part, dict)]
    return "".join(part["text"] if isinstance(part.get("text"), str) else seen_in(part) for part in parts)


def count_content(content: Any) -> int:
    """Tokens of a content: texts and images counted, any other part as its JSON text."""
    if isinstance(content, str):
        return count_text(content)
    return sum(_count_part(part) for part in content) if isinstance(content, list) else 0


def _count_part(part: Any) -> int:
    if not isinstance(part, dict):
        return 0
    if isinstance(part.get("text"), str):
        return count_text(part["text"])
    if part.get("type") in ("image_url", "image"):
        return TOKENS_PER_IMAGE
    return count_json(part)


def count_json(value: Any) -> int:
    return count_bytes(len(msgspec.json.encode(value)))


def count_input(contents: Iterable[Any], extras: Iterable[Any], body_bytes: int) -> int:
    """Input tokens: the contents, three per message, and ``extras`` (tools, tool calls, schemas) as JSON text."""
    counted = sum(TOKENS_PER_MESSAGE + count_content(content) for content in contents)
    return min(counted + sum(count_json(extra) for extra in extras if extra), body_bytes)


def check_length(model: SimulatedModel, input_tokens: int) -> None:
    if input_tokens > model.context_window_tokens:
        raise InputTooLong(input_tokens, model.context_window_tokens)
