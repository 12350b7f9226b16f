"""Ollama's own API: https://docs.ollama.com/api (chat as JSON lines, embed, tags, show, errors)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from providers.simulator.answers import Answer, Choice
from providers.simulator.catalogue import SimulatedModel
from providers.simulator.controls import Fault, find_directive
from providers.simulator.pictures import seen
from providers.simulator.plain_errors import bearer, failure_of
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
    texts,
    whole_number,
)
from providers.simulator.tokens import TOKENS_PER_IMAGE, count_text, split_text
from providers.simulator.vectors import DIMENSIONS_MAX, vector_of
from providers.simulator.wires import ErrorAnswer, Event, UsageReport

ROLES = frozenset({"system", "user", "assistant", "tool"})
THOUGHT = "The simulator thinks about this for a moment."
MODIFIED_AT = "2026-01-01T00:00:00Z"
UNLIMITED = (-1, -2)
"""``num_predict`` without a limit, and up to the end of the context."""


class OllamaWire:
    name = "ollama"
    stream_type = "application/x-ndjson"
    headers: Mapping[str, str] = {}
    padding = (b'{"padding":"', b'"}\n')

    def key_of(self, headers: Mapping[str, str]) -> str | None:
        return bearer(headers)

    def parse(self, body: bytes, headers: Mapping[str, str]) -> Question:  # noqa: ARG002 - other wires read them
        asked = decode_object(body)
        model = known_model(asked)
        messages = listed_messages(asked, ROLES)
        options = asked.get("options") or {}
        _check_types(asked, options, messages)
        users = (message["content"] + _seen(message) for message in reversed(messages) if message["role"] == "user")
        directive, prompt = find_directive(next(users, ""))
        tools = _tools(asked)
        images = sum(len(message.get("images") or ()) for message in messages)
        schema = asked.get("format") if isinstance(asked.get("format"), dict) else None
        extras = [*(tool.schema for tool in tools), schema, *(message.get("tool_calls") for message in messages)]
        tokens = min(
            count_input((message.get("content") for message in messages), extras, len(body)) + images * TOKENS_PER_IMAGE, len(body)
        )
        check_length(model, tokens)
        limit = None if options.get("num_predict") in UNLIMITED else whole_number(options, "num_predict")
        answered = messages[-1]["role"] == "tool"
        return Question(
            model=model,
            prompt=prompt,
            directive=directive,
            input_tokens=tokens,
            stream=asked.get("stream") is not False,
            max_tokens=min(limit or model.max_output_tokens, model.max_output_tokens),
            tool_answered=answered,
            tools=() if answered else tools,
            schema=schema,
            json_mode=asked.get("format") == "json",
            stop=texts(options.get("stop"), "stop"),
            seed=whole_number(options, "seed", least=-(2**63)),
            show_thinking=asked.get("think") not in (None, False),
        )

    def answer_id(self, answer: Answer) -> str:
        """It sends none: the bill has one all the same."""
        return f"ollama-sim{answer.number}"

    def whole(self, answer: Answer, question: Question, usage: UsageReport) -> bytes:
        choice = answer.choices[0]
        message: dict[str, Any] = {"role": "assistant", "content": choice.text}
        if question.show_thinking and answer.usage.reasoning_tokens:
            message["thinking"] = THOUGHT
        if choice.calls:
            message["tool_calls"] = _calls(choice)
        return msgspec.json.encode({**_head(answer), "message": message, **_end(answer, choice, usage)})

    def events(self, answer: Answer, question: Question, usage: UsageReport) -> Iterator[Event]:
        choice, head = answer.choices[0], _head(answer)
        going = {"created_at": head["created_at"], "done": False}

        def line(message: dict[str, Any], tokens: int) -> Event:
            counts = _counts(answer, tokens) if usage.present and usage.on_every_event else {}
            whole = {**head, "message": {"role": "assistant", "content": "", **message}, **going, **counts}
            return Event(msgspec.json.encode(whole) + b"\n", tokens, True)

        if question.show_thinking and answer.usage.reasoning_tokens:
            yield line({"thinking": THOUGHT}, 0)
        for piece, tokens in split_text(choice.text) if choice.text else ():
            yield line({"content": piece}, tokens)
        for call in _calls(choice):
            yield line({"tool_calls": [call]}, choice.output_tokens)
        end = {**head, "message": {"role": "assistant", "content": ""}, **_end(answer, choice, usage)}
        for _ in range(2 if usage.twice else 1):
            yield Event(msgspec.json.encode(end) + b"\n", choice.output_tokens, False)

    # ------------------------------------------------------------------ errors

    def failure(self, fault: Fault, retry_after: str) -> ErrorAnswer:
        status, text, headers = failure_of(fault, retry_after)
        return _error(status, text, headers)

    def refusal(self, refusal: Refusal) -> ErrorAnswer:
        if isinstance(refusal, UnknownModel):
            return _error(404, f"model '{refusal.message}' not found")
        if isinstance(refusal, InputTooLong):
            return _error(400, "the input length exceeds the context length")
        return _error(refusal.status, refusal.message)

    def bad_key(self, key: str | None) -> ErrorAnswer:  # noqa: ARG002 - one answer for both
        return _error(401, "Unauthorized")

    def error_in_200(self) -> tuple[bytes, bytes]:
        body = b'{"error":"an error was encountered while running the model: unexpected EOF"}'
        return body, body + b"\n"

    # ------------------------------------------------------------------ models

    def models(self, models: tuple[SimulatedModel, ...], query: Mapping[str, str]) -> bytes:  # noqa: ARG002 - one page
        return msgspec.json.encode({"models": [{"name": each.name, "model": each.name, **_described()} for each in models]})

    def model(self, model: SimulatedModel) -> bytes:
        """What ``/api/show`` answers."""
        can = ["completion", "tools", "vision", *(["thinking"] if model.reasons else [])]
        facts = {"general.architecture": "simulated", "simulated.context_length": model.context_window_tokens}
        return msgspec.json.encode({**_described(), "template": "{{ .Prompt }}", "capabilities": can, "model_info": facts})


class OllamaEmbed(OllamaWire):
    def parse(self, body: bytes, headers: Mapping[str, str]) -> Question:  # noqa: ARG002 - other wires read them
        asked = decode_object(body)
        model = known_model(asked)
        inputs = texts(asked.get("input"), "input")
        tokens = sum(count_text(text) for text in inputs)
        check_length(model, tokens)
        directive = find_directive(inputs[0])[0] if inputs else ""
        dimensions = whole_number(asked, "dimensions", most=DIMENSIONS_MAX)
        return Question(model, "", directive, tokens, stream=False, max_tokens=1, inputs=inputs, dimensions=dimensions, speaks=False)

    def whole(self, answer: Answer, question: Question, usage: UsageReport) -> bytes:
        vectors = [vector_of(text, question.dimensions) for text in question.inputs]
        body: dict[str, Any] = {"model": answer.model.name, "embeddings": vectors, "total_duration": 1_000_000, "load_duration": 1000}
        if usage.present:
            body["prompt_eval_count"] = answer.usage.input_tokens
        return msgspec.json.encode(body)


def _seen(message: Mapping[str, Any]) -> str:
    return "".join(seen(picture) for picture in message.get("images") or ())


def _check_types(asked: Mapping[str, Any], options: Any, messages: list[dict[str, Any]]) -> None:
    """What Go's JSON reader refuses; fields it does not know it passes over."""
    if not isinstance(options, dict):
        raise Refusal("json: cannot unmarshal into Go struct field ChatRequest.options of type map[string]interface {}")
    if not isinstance(asked.get("stream", True), bool):
        raise Refusal("json: cannot unmarshal into Go struct field ChatRequest.stream of type bool")
    if asked.get("format") not in (None, "", "json") and not isinstance(asked["format"], dict):
        raise Refusal('invalid format: expected "json" or a JSON schema')
    for message in messages:
        message["content"] = message.get("content") or ""
        if not isinstance(message["content"], str):
            raise Refusal("json: cannot unmarshal array into Go struct field ChatRequest.messages.content of type string")
        for call in message.get("tool_calls") or ():
            if not isinstance((call.get("function") or {}).get("arguments", {}), dict):
                raise Refusal("json: cannot unmarshal string into Go struct field .messages.tool_calls.function.arguments of type map")


def _tools(asked: Mapping[str, Any]) -> tuple[OfferedTool, ...]:
    listed = [tool["function"] for tool in asked.get("tools") or () if isinstance(tool, dict) and isinstance(tool.get("function"), dict)]
    return tuple(OfferedTool(tool.get("name", ""), tool.get("parameters") or {"type": "object"}) for tool in listed)


def _head(answer: Answer) -> dict[str, Any]:
    created = datetime.fromtimestamp(answer.created_s, UTC).isoformat().replace("+00:00", "Z")
    return {"model": answer.model.name, "created_at": created}


def _end(answer: Answer, choice: Choice, usage: UsageReport) -> dict[str, Any]:
    """A tool call ends with ``stop`` as any other answer."""
    ended = {"done": True, "done_reason": "length" if choice.finish == "length" else "stop"}
    times = {"total_duration": 2_000_000, "load_duration": 1000, "prompt_eval_duration": 1000, "eval_duration": 1000}
    return {**ended, **times, **(_counts(answer, answer.usage.output_tokens) if usage.present else {})}


def _counts(answer: Answer, output_tokens: int) -> dict[str, int]:
    """Ollama's convention: thinking is part of the output, and a cached prompt is not told apart."""
    spent = answer.usage
    return {"prompt_eval_count": spent.input_tokens + spent.cached_tokens, "eval_count": output_tokens + spent.reasoning_tokens}


def _calls(choice: Choice) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = []
    for place, call in enumerate(choice.calls):
        try:
            arguments = msgspec.json.decode(call.arguments)
        except msgspec.DecodeError:
            arguments = {}
        made.append(
            ({"id": f"call_{call.id}"} if call.id else {}) | {"function": {"index": place, "name": call.name, "arguments": arguments}}
        )
    return made


def _error(status: int, text: str, headers: Mapping[str, str] | None = None) -> ErrorAnswer:
    return ErrorAnswer(status, msgspec.json.encode({"error": text}), {"content-type": "application/json; charset=utf-8", **(headers or {})})


def _described() -> dict[str, Any]:
    details = {"format": "gguf", "family": "simulated", "families": ["simulated"], "parameter_size": "1B", "quantization_level": "Q4_0"}
    return {"modified_at": MODIFIED_AT, "size": 1_000_000, "digest": "0" * 64, "details": {"parent_model": "", **details}}
