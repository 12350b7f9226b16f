"""Anthropic messages and model list, as recorded from the provider (plain, the exact event sequence, errors)."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from providers.simulator.answers import Answer, Call, Choice, pieces_of
from providers.simulator.catalogue import SimulatedModel
from providers.simulator.controls import Fault, find_directive
from providers.simulator.questions import (
    InputTooLong,
    OfferedTool,
    Question,
    Refusal,
    UnknownModel,
    check_length,
    count_input,
    decode_object,
    known_model,
    listed_messages,
    page_size,
    text_of,
    texts,
    whole_number,
)
from providers.simulator.tokens import count_text, split_text
from providers.simulator.wires import EVENT_STREAM, ErrorAnswer, Event, UsageReport
from providers.upstream.types import Capability

ROLES = frozenset({"user", "assistant"})
CREATED_AT = "2026-01-01T00:00:00Z"
ARGUMENT_FRAGMENT_TOKENS = 2
THOUGHT = "The simulator thinks about this for a moment."
SIGNATURE = "c2ltdWxhdGVk"
STOP_REASONS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use", "content_filter": "refusal"}

_PING = b'event: ping\ndata: {"type": "ping"}\n\n'
_OVERLOADED = (529, "overloaded_error", "Overloaded", True)
_FAILURES: dict[Fault, tuple[int, str, str, bool]] = {
    Fault.HTTP_400: (400, "invalid_request_error", "messages.0: Input does not match the expected shape.", False),
    Fault.HTTP_401: (401, "authentication_error", "invalid x-api-key", False),
    Fault.HTTP_402: (402, "billing_error", "There is an issue with your billing or payment information.", False),
    Fault.HTTP_403: (403, "permission_error", "Your API key does not have permission to use the specified resource.", False),
    Fault.HTTP_404: (404, "not_found_error", "model: sim-gone", False),
    Fault.HTTP_429: (429, "rate_limit_error", "This request would exceed your organization's rate limit.", True),
    Fault.HTTP_500: (500, "api_error", "Internal server error", False),
    Fault.HTTP_503: (503, "api_error", "Service unavailable", True),
    Fault.HTTP_529: _OVERLOADED,
    Fault.BLOCKED: (400, "invalid_request_error", "Output blocked by content filtering policy", False),
    Fault.QUOTA: (
        400,
        "invalid_request_error",
        "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to upgrade or purchase credits.",
        False,
    ),
}


class AnthropicWire:
    name = "anthropic"
    stream_type = EVENT_STREAM
    headers: Mapping[str, str] = {
        "anthropic-ratelimit-requests-limit": "4000",
        "anthropic-ratelimit-requests-remaining": "3999",
        "anthropic-ratelimit-requests-reset": "1970-01-01T00:00:00Z",
        "anthropic-ratelimit-tokens-limit": "2400000",
        "anthropic-ratelimit-tokens-remaining": "2400000",
        "anthropic-ratelimit-tokens-reset": "1970-01-01T00:00:00Z",
    }
    padding = (b'event: ping\ndata: {"type": "ping", "padding": "', b'"}\n\n')

    def key_of(self, headers: Mapping[str, str]) -> str | None:
        if "x-api-key" in headers:
            return headers["x-api-key"]
        scheme, _, key = headers.get("authorization", "").partition(" ")
        return key.strip() if scheme.lower() == "bearer" else None

    def parse(self, body: bytes, headers: Mapping[str, str]) -> Question:
        if not headers.get("anthropic-version"):
            raise Refusal("anthropic-version: header is required")
        asked = decode_object(body)
        model = known_model(asked)
        messages = listed_messages(asked, ROLES)
        limit = whole_number(asked, "max_tokens", most=model.max_output_tokens)
        if limit is None:
            raise Refusal("max_tokens: Field required")
        directive, prompt = _prompt(asked, messages)
        schema = _schema_of(asked)
        contents = [message.get("content") for message in messages]
        if asked.get("system"):
            contents.append(asked["system"])
        input_tokens = count_input(contents, [*_tools_of(asked), schema], len(body))
        check_length(model, input_tokens)
        answered = _has_tool_result(messages[-1].get("content"))
        thinking = asked.get("thinking")
        return Question(
            model=model,
            prompt=prompt,
            directive=directive,
            input_tokens=input_tokens,
            stream=asked.get("stream") is True,
            max_tokens=limit,
            tool_answered=answered,
            tools=() if answered else _offered(asked),
            schema=schema,
            stop=texts(asked.get("stop_sequences"), "stop_sequences"),
            show_thinking=isinstance(thinking, dict) and thinking.get("type") in ("enabled", "adaptive"),
        )

    def answer_id(self, answer: Answer) -> str:
        return f"msg_sim{answer.number}"

    def whole(self, answer: Answer, question: Question, usage: UsageReport) -> bytes:
        choice = answer.choices[0]
        content: list[dict[str, Any]] = []
        if question.show_thinking and answer.usage.reasoning_tokens:
            content.append({"type": "thinking", "thinking": THOUGHT, "signature": SIGNATURE})
        if choice.text:
            content.append({"type": "text", "text": choice.text})
        content += [{"type": "tool_use", "id": _tool_id(call), "name": call.name, "input": _arguments(call)} for call in choice.calls]
        body = _message(self.answer_id(answer), answer.model, content)
        body["stop_reason"], body["stop_sequence"] = _stop(choice)
        if usage.present:
            body["usage"] = _usage(answer, answer.usage.output_tokens + answer.usage.reasoning_tokens)
        return msgspec.json.encode(body)

    def events(self, answer: Answer, question: Question, usage: UsageReport) -> Iterator[Event]:
        choice = answer.choices[0]
        message = _message(self.answer_id(answer), answer.model, [])
        if usage.present:
            message["usage"] = _usage(answer, 1)
        yield _event({"type": "message_start", "message": message}, 0)
        index = 0
        if question.show_thinking and answer.usage.reasoning_tokens:
            yield from _thinking_events()
            index = 1
        if not choice.calls:
            yield from _text_events(index, choice.text)
        yield from _call_events(index, choice)
        reason, sequence = _stop(choice)
        end: dict[str, Any] = {"type": "message_delta", "delta": {"stop_reason": reason, "stop_sequence": sequence}}
        if usage.present:
            end["usage"] = _usage(answer, choice.output_tokens + answer.usage.reasoning_tokens)
        if usage.on_every_event or usage.twice:
            yield _event(end, choice.output_tokens)
        yield _event(end, choice.output_tokens)
        yield _event({"type": "message_stop"}, choice.output_tokens)

    def failure(self, fault: Fault, retry_after: str) -> ErrorAnswer:
        status, kind, message, retry = _FAILURES[fault]
        return _error(status, kind, message, retry=retry, headers={"retry-after": retry_after} if status == 429 else {})

    def refusal(self, refusal: Refusal) -> ErrorAnswer:
        if isinstance(refusal, UnknownModel):
            return _error(404, "not_found_error", f"model: {refusal.message}")
        message = refusal.message if refusal.param is None or isinstance(refusal, InputTooLong) else f"{refusal.param}: {refusal.message}"
        return _error(refusal.status, "invalid_request_error", message)

    def bad_key(self, key: str | None) -> ErrorAnswer:
        return _error(401, "authentication_error", "invalid x-api-key" if key else "x-api-key header is required")

    def error_in_200(self) -> tuple[bytes, bytes]:
        body = {"type": "error", "error": {"details": None, "type": "overloaded_error", "message": "Overloaded"}}
        return msgspec.json.encode(body), _event(body, 0).raw

    def models(self, models: tuple[SimulatedModel, ...], query: Mapping[str, str]) -> bytes:
        names = [model.name for model in models]
        start = names.index(query["after_id"]) + 1 if query.get("after_id") in names else 0
        page = models[start : start + page_size(query, "limit", 20)]
        ends = {"first_id": page[0].name if page else None, "last_id": page[-1].name if page else None}
        return msgspec.json.encode({"data": [_listed(model) for model in page], "has_more": start + len(page) < len(models), **ends})

    def model(self, model: SimulatedModel) -> bytes:
        return msgspec.json.encode(_listed(model))


def _prompt(asked: Mapping[str, Any], messages: list[dict[str, Any]]) -> tuple[str, str]:
    """The directive, wherever it stands, and the last user text without it; a tool's answer is not a user's text."""
    users = (text_of(message.get("content")) for message in reversed(messages) if message["role"] == "user")
    directive, prompt = find_directive(next((text for text in users if text), ""))
    metadata = asked.get("metadata")
    for place in metadata.values() if isinstance(metadata, dict) else ():
        if not directive and isinstance(place, str):
            directive, _ = find_directive(place)
    return directive, prompt


def _schema_of(asked: Mapping[str, Any]) -> Mapping[str, Any] | None:
    config = asked.get("output_config")
    wanted = config.get("format") if isinstance(config, dict) else asked.get("output_format")
    if not isinstance(wanted, dict):
        return None
    if wanted.get("type") != "json_schema" or not isinstance(wanted.get("schema"), dict):
        raise Refusal("output_config.format: Input does not match the expected shape.")
    return dict(wanted["schema"])


def _tools_of(asked: Mapping[str, Any]) -> list[dict[str, Any]]:
    listed = asked.get("tools") or []
    if not isinstance(listed, list):
        raise Refusal("tools: Input should be a valid list")
    for number, tool in enumerate(listed):
        if not isinstance(tool, dict) or not isinstance(tool.get("name"), str) or not isinstance(tool.get("input_schema"), dict):
            raise Refusal(f"tools.{number}.custom.input_schema: Field required")
    return listed


def _offered(asked: Mapping[str, Any]) -> tuple[OfferedTool, ...]:
    tools = tuple(OfferedTool(tool["name"], tool["input_schema"]) for tool in _tools_of(asked))
    choice = asked.get("tool_choice")
    if not isinstance(choice, dict) or choice.get("type") in ("auto", "any"):
        return tools
    if choice.get("type") == "none":
        return ()
    named = tuple(tool for tool in tools if tool.name == choice.get("name"))
    if not named:
        raise Refusal(f"Tool '{choice.get('name')}' not found in provided tools")
    return named


def _has_tool_result(content: Any) -> bool:
    return isinstance(content, list) and any(isinstance(part, dict) and part.get("type") == "tool_result" for part in content)


def _message(answer_id: str, model: SimulatedModel, content: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "model": model.name,
        "id": answer_id,
        "type": "message",
        "role": "assistant",
        "content": content,
        "stop_reason": None,
        "stop_sequence": None,
    }


def _stop(choice: Choice) -> tuple[str, str | None]:
    return ("stop_sequence", choice.stopped_at) if choice.stopped_at is not None else (STOP_REASONS[choice.finish], None)


def _usage(answer: Answer, output_tokens: int) -> dict[str, Any]:
    """Anthropic's convention: cached tokens are additional to the input, thinking is part of the output."""
    usage: dict[str, Any] = {
        "input_tokens": answer.usage.input_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": answer.usage.cached_tokens,
        "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
        "output_tokens": output_tokens,
        "service_tier": "standard",
    }
    if answer.usage.reasoning_tokens and output_tokens > 1:
        usage["output_tokens_details"] = {"thinking_tokens": answer.usage.reasoning_tokens}
    return usage


def _event(body: dict[str, Any], output_tokens: int, *, is_content: bool = False) -> Event:
    return Event(b"event: " + body["type"].encode() + b"\ndata: " + msgspec.json.encode(body) + b"\n\n", output_tokens, is_content)


def _thinking_events() -> Iterator[Event]:
    block = {"type": "thinking", "thinking": "", "signature": ""}
    yield _event({"type": "content_block_start", "index": 0, "content_block": block}, 0)
    for delta in ({"type": "thinking_delta", "thinking": THOUGHT}, {"type": "signature_delta", "signature": SIGNATURE}):
        yield _event({"type": "content_block_delta", "index": 0, "delta": delta}, 0, is_content=True)
    yield _event({"type": "content_block_stop", "index": 0}, 0)


def _text_events(index: int, text: str) -> Iterator[Event]:
    yield _event({"type": "content_block_start", "index": index, "content_block": {"type": "text", "text": ""}}, 0)
    yield Event(_PING, 0, False)
    start = b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,"delta":{"type":"text_delta","text":' % index
    tokens = 0
    for piece, tokens in pieces_of(text):
        yield Event(start + piece + b"}}\n\n", tokens, True)
    yield _event({"type": "content_block_stop", "index": index}, tokens)


def _call_events(index: int, choice: Choice) -> Iterator[Event]:
    """A tool_use block per call: first an empty fragment, then the arguments in pieces."""
    done = 0
    for place, call in enumerate(choice.calls, index):
        done = min(done + count_text(call.name), choice.output_tokens)
        block = {"type": "tool_use", "id": _tool_id(call), "name": call.name, "input": {}}
        yield _event({"type": "content_block_start", "index": place, "content_block": block}, done, is_content=True)
        if place == index:
            yield Event(_PING, done, False)
        pieces = split_text(call.arguments) if call.arguments else []
        yield _fragment(place, "", done)
        for at in range(0, len(pieces), ARGUMENT_FRAGMENT_TOKENS):
            group = pieces[at : at + ARGUMENT_FRAGMENT_TOKENS]
            yield _fragment(place, "".join(text for text, _ in group), min(done + group[-1][1], choice.output_tokens))
        done = min(done + count_text(call.arguments), choice.output_tokens)
        yield _event({"type": "content_block_stop", "index": place}, done)


def _fragment(index: int, partial: str, tokens: int) -> Event:
    delta = {"type": "input_json_delta", "partial_json": partial}
    return _event({"type": "content_block_delta", "index": index, "delta": delta}, tokens, is_content=True)


def _tool_id(call: Call) -> str:
    return f"toolu_{call.id}"


def _arguments(call: Call) -> Any:
    """The arguments as an object; a call cut short by its limit has none."""
    try:
        return msgspec.json.decode(call.arguments)
    except msgspec.DecodeError:
        return {}


def _listed(model: SimulatedModel) -> dict[str, Any]:
    return {
        "type": "model",
        "id": model.name,
        "display_name": model.display_name,
        "created_at": CREATED_AT,
        "max_input_tokens": model.context_window_tokens,
        "max_tokens": model.max_output_tokens,
        "capabilities": {
            "image_input": {"supported": Capability.VISION in model.capabilities},
            "structured_outputs": {"supported": Capability.JSON_SCHEMA in model.capabilities},
            "thinking": {"supported": model.reasons},
        },
    }


def _error(status: int, kind: str, message: str, *, retry: bool = False, headers: Mapping[str, str] | None = None) -> ErrorAnswer:
    request_id = f"req_{secrets.token_hex(8)}"
    body = msgspec.json.encode({"type": "error", "error": {"type": kind, "message": message}, "request_id": request_id})
    always = {"content-type": "application/json", "request-id": request_id, "x-should-retry": "true" if retry else "false"}
    return ErrorAnswer(status, body, {**always, **(headers or {})})
