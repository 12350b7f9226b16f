"""OpenAI chat completions and model list, as recorded from the provider (plain, streamed, errors)."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

import msgspec

from providers.simulator.answers import Answer, Choice, pieces_of
from providers.simulator.catalogue import SimulatedModel
from providers.simulator.controls import Fault, find_directive
from providers.simulator.questions import (
    CHOICES_MAX,
    OfferedTool,
    Question,
    Refusal,
    UnknownModel,
    check_length,
    count_input,
    decode_object,
    known_model,
    listed_messages,
    text_of,
    texts,
    whole_number,
)
from providers.simulator.tokens import count_text, split_text
from providers.simulator.wires import EVENT_STREAM, ErrorAnswer, Event, UsageReport

ROLES = frozenset({"system", "developer", "user", "assistant", "tool", "function"})
CREATED_S = 1_767_225_600
FINGERPRINT = "fp_simulator"
ARGUMENT_FRAGMENT_TOKENS = 2

_JSON = {"content-type": "application/json"}
_FAILURES: dict[Fault, tuple[int, str, str | None, str]] = {
    Fault.HTTP_400: (400, "invalid_request_error", "invalid_value", "The request was refused on demand."),
    Fault.HTTP_402: (402, "unknown_error", "invalid_request_error", "Insufficient Balance"),
    Fault.HTTP_403: (403, "invalid_request_error", "unsupported_country_region_territory", "Country, region, or territory not supported"),
    Fault.HTTP_404: (
        404,
        "invalid_request_error",
        "model_not_found",
        "The model `sim-gone` does not exist or you do not have access to it.",
    ),
    Fault.HTTP_429: (
        429,
        "requests",
        "rate_limit_exceeded",
        "Rate limit reached for requests per min (RPM): Limit 3, Used 3, Requested 1.",
    ),
    Fault.HTTP_500: (500, "server_error", None, "The server had an error while processing your request. Sorry about that!"),
    Fault.HTTP_503: (503, "server_error", None, "The engine is currently overloaded, please try again later"),
    Fault.HTTP_529: (529, "server_error", None, "The engine is currently overloaded, please try again later"),
    Fault.BLOCKED: (
        400,
        "invalid_request_error",
        "content_filter",
        "The response was filtered due to the prompt triggering the content management policy.",
    ),
    Fault.QUOTA: (
        429,
        "insufficient_quota",
        "insufficient_quota",
        "You exceeded your current quota, please check your plan and billing details.",
    ),
}


class OpenAIWire:
    name = "openai"
    stream_type = EVENT_STREAM
    headers: Mapping[str, str] = {
        "openai-version": "2020-10-01",
        "openai-processing-ms": "1",
        "x-ratelimit-limit-requests": "10000",
        "x-ratelimit-remaining-requests": "9999",
        "x-ratelimit-reset-requests": "6ms",
        "x-ratelimit-limit-tokens": "10000000",
        "x-ratelimit-remaining-tokens": "9999968",
        "x-ratelimit-reset-tokens": "0s",
    }
    padding = (b'data: {"object":"chat.completion.chunk","choices":[],"obfuscation":"', b'"}\n\n')

    def key_of(self, headers: Mapping[str, str]) -> str | None:
        scheme, _, key = headers.get("authorization", "").partition(" ")
        return key.strip() if scheme.lower() == "bearer" else headers.get("api-key")

    def parse(self, body: bytes, headers: Mapping[str, str]) -> Question:  # noqa: ARG002 - the other wire reads them
        asked = decode_object(body)
        model = known_model(asked)
        messages = listed_messages(asked, ROLES)
        directive, prompt = _prompt(asked, messages)
        schema, json_mode = _format_of(asked)
        extras = [*_tools_of(asked), *(message.get("tool_calls") for message in messages), schema]
        input_tokens = count_input((message.get("content") for message in messages), extras, len(body))
        check_length(model, input_tokens)
        most = model.max_output_tokens
        limit = whole_number(asked, "max_completion_tokens", most=most) or whole_number(asked, "max_tokens", most=most)
        answered = messages[-1]["role"] == "tool"
        stream_options = asked.get("stream_options")
        return Question(
            model=model,
            prompt=prompt,
            directive=directive,
            input_tokens=input_tokens,
            stream=asked.get("stream") is True,
            max_tokens=limit or most,
            tool_answered=answered,
            tools=() if answered else _offered(asked),
            schema=schema,
            json_mode=json_mode,
            choices=whole_number(asked, "n", most=CHOICES_MAX) or 1,
            stop=texts(asked.get("stop"), "stop"),
            seed=whole_number(asked, "seed", least=-(2**63)),
            include_usage=isinstance(stream_options, dict) and stream_options.get("include_usage") is True,
        )

    def answer_id(self, answer: Answer) -> str:
        return f"chatcmpl-sim{answer.number}"

    def whole(self, answer: Answer, question: Question, usage: UsageReport) -> bytes:  # noqa: ARG002 - the other wire reads it
        body: dict[str, Any] = {
            "id": self.answer_id(answer),
            "object": "chat.completion",
            "created": answer.created_s,
            "model": answer.model.name,
            "choices": [
                {"index": choice.index, "message": _message(choice), "logprobs": None, "finish_reason": choice.finish}
                for choice in answer.choices
            ],
            "service_tier": "default",
            "system_fingerprint": FINGERPRINT,
        }
        if usage.present:
            body["usage"] = usage_of(answer, answer.usage.output_tokens)
        return msgspec.json.encode(body)

    def events(self, answer: Answer, question: Question, usage: UsageReport) -> Iterator[Event]:
        head = msgspec.json.encode(
            {
                "id": self.answer_id(answer),
                "object": "chat.completion.chunk",
                "created": answer.created_s,
                "model": answer.model.name,
                "service_tier": "default",
                "system_fingerprint": FINGERPRINT,
            }
        )
        head = b"data: " + head[:-1] + b',"choices":[{"index":'
        done = 0
        for choice in answer.choices:
            for raw, tokens, is_content in _choice_events(head, choice):
                yield Event(raw + self._tail(answer, question, usage, done + tokens), done + tokens, is_content)
            done += choice.output_tokens
        if usage.present and question.include_usage:
            report = msgspec.json.encode(usage_of(answer, done))
            raw = head[: -len(b'{"index":')] + b'],"usage":' + report + b"}\n\n"
            yield Event(raw, done, False)
            if usage.twice:
                yield Event(raw, done, False)
        yield Event(b"data: [DONE]\n\n", done, False)

    def _tail(self, answer: Answer, question: Question, usage: UsageReport, tokens: int) -> bytes:
        """The end of a chunk. Usage is null until the last chunk, or cumulative as some providers have it."""
        if usage.on_every_event:
            return b'}],"usage":' + msgspec.json.encode(usage_of(answer, tokens)) + b"}\n\n"
        return b'}],"usage":null}\n\n' if question.include_usage else b"}]}\n\n"

    def failure(self, fault: Fault, retry_after: str) -> ErrorAnswer:
        if fault is Fault.HTTP_401:
            return self.bad_key("sk-simulated-0000")
        status, kind, code, message = _FAILURES[fault]
        headers = {"retry-after": retry_after} if fault is Fault.HTTP_429 else {}
        return _error(status, message, kind, code=code, headers=headers)

    def refusal(self, refusal: Refusal) -> ErrorAnswer:
        message = refusal.message
        if isinstance(refusal, UnknownModel):
            message = f"The model `{message}` does not exist or you do not have access to it."
        return _error(refusal.status, message, "invalid_request_error", code=refusal.code, param=refusal.param)

    def bad_key(self, key: str | None) -> ErrorAnswer:
        if not key:
            return _error(401, "You didn't provide an API key. You need to provide it in an Authorization header.", "invalid_request_error")
        shown = f"{key[:4]}*****{key[-4:]}" if len(key) > 12 else "*****"
        message = f"Incorrect API key provided: {shown}. You can find your API key at https://platform.openai.com/account/api-keys."
        return _error(401, message, "invalid_request_error", code="invalid_api_key")

    def error_in_200(self) -> tuple[bytes, bytes]:
        error = _error_body("Provider returned error", "server_error", 502)
        return error, b"data: " + error + b"\n\n"

    def models(self, models: tuple[SimulatedModel, ...], query: Mapping[str, str]) -> bytes:  # noqa: ARG002 - one page
        return msgspec.json.encode({"object": "list", "data": [_listed(model) for model in models]})

    def model(self, model: SimulatedModel) -> bytes:
        return msgspec.json.encode(_listed(model))


def _prompt(asked: Mapping[str, Any], messages: list[dict[str, Any]]) -> tuple[str, str]:
    """The directive, wherever it stands, and the last user message without it."""
    users = (message for message in reversed(messages) if message["role"] == "user")
    directive, prompt = find_directive(text_of(next(users, {}).get("content")))
    metadata = asked.get("metadata")
    for place in (asked.get("user"), *(metadata.values() if isinstance(metadata, dict) else ())):
        if not directive and isinstance(place, str):
            directive, _ = find_directive(place)
    return directive, prompt


def _format_of(asked: Mapping[str, Any]) -> tuple[Mapping[str, Any] | None, bool]:
    """The schema the answer must match, and whether any JSON object will do."""
    wanted = asked.get("response_format")
    if not isinstance(wanted, dict) or wanted.get("type") in (None, "text"):
        return None, False
    if wanted["type"] == "json_object":
        return None, True
    inner = wanted.get("json_schema")
    if wanted["type"] != "json_schema" or not isinstance(inner, dict) or not isinstance(inner.get("schema"), dict):
        raise Refusal("Invalid value for 'response_format'.", param="response_format", code="invalid_value")
    return inner["schema"], False


def _tools_of(asked: Mapping[str, Any]) -> list[dict[str, Any]]:
    listed = asked.get("tools") or []
    if not isinstance(listed, list):
        raise Refusal("Invalid type for 'tools': expected an array.", param="tools", code="invalid_type")
    for number, tool in enumerate(listed):
        inner = tool.get("function") if isinstance(tool, dict) else None
        if not isinstance(inner, dict) or not isinstance(inner.get("name"), str) or not isinstance(inner.get("parameters", {}), dict):
            raise Refusal("Invalid tool.", param=f"tools[{number}]", code="invalid_function_parameters")
    return listed


def _offered(asked: Mapping[str, Any]) -> tuple[OfferedTool, ...]:
    choice = asked.get("tool_choice")
    tools = tuple(
        OfferedTool(tool["function"]["name"], tool["function"].get("parameters") or {"type": "object"}) for tool in _tools_of(asked)
    )
    if isinstance(choice, dict):
        named = choice.get("function")
        name = named.get("name") if isinstance(named, dict) else None
        tools = tuple(tool for tool in tools if tool.name == name)
        if not tools:
            raise Refusal(f"Tool choice '{name}' not found in 'tools' parameter.", param="tool_choice", code="invalid_value")
    return () if choice == "none" else tools


def _message(choice: Choice) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": None if choice.calls else choice.text, "refusal": None, "annotations": []}
    if choice.calls:
        message["tool_calls"] = [
            {"id": f"call_{call.id}", "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in choice.calls
        ]
    return message


def usage_of(answer: Answer, output_tokens: int) -> dict[str, Any]:
    """OpenAI's convention: cached tokens are part of the prompt, reasoning tokens part of the completion."""
    usage = answer.usage
    prompt, completion = usage.input_tokens + usage.cached_tokens, output_tokens + usage.reasoning_tokens
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": usage.reasoning_tokens,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def _choice_events(head: bytes, choice: Choice) -> Iterator[tuple[bytes, int, bool]]:
    """Chunks of one choice without their ends: role, content or calls, finish."""
    start = head + str(choice.index).encode() + b',"delta":'
    going = b',"logprobs":null,"finish_reason":null'
    if choice.calls:
        yield from ((start + delta + going, tokens, True) for delta, tokens in _call_deltas(choice))
    else:
        yield start + b'{"role":"assistant","content":"","refusal":null}' + going, 0, False
        start_text, end_text = start + b'{"content":', b"}" + going
        for piece, tokens in pieces_of(choice.text):
            yield start_text + piece + end_text, tokens, True
    yield start + b'{},"logprobs":null,"finish_reason":"' + choice.finish.encode() + b'"', choice.output_tokens, False


def _call_deltas(choice: Choice) -> Iterator[tuple[bytes, int]]:
    """The first delta of a call carries its id and name, the others fragments of its arguments."""
    done = 0
    for place, call in enumerate(choice.calls):
        done = min(done + count_text(call.name), choice.output_tokens)
        opened = {"index": place, "id": f"call_{call.id}", "type": "function", "function": {"name": call.name, "arguments": ""}}
        first = {"role": "assistant", "content": None, "tool_calls": [opened], "refusal": None} if place == 0 else {"tool_calls": [opened]}
        yield msgspec.json.encode(first), done
        pieces = split_text(call.arguments) if call.arguments else []
        for at in range(0, len(pieces), ARGUMENT_FRAGMENT_TOKENS):
            group = pieces[at : at + ARGUMENT_FRAGMENT_TOKENS]
            fragment = {"index": place, "function": {"arguments": "".join(text for text, _ in group)}}
            yield msgspec.json.encode({"tool_calls": [fragment]}), min(done + group[-1][1], choice.output_tokens)
        done += count_text(call.arguments)


def _error_body(message: str, kind: str, code: str | int | None, param: str | None = None) -> bytes:
    return msgspec.json.encode({"error": {"message": message, "type": kind, "param": param, "code": code}})


def _error(
    status: int, message: str, kind: str, *, code: str | None = None, param: str | None = None, headers: Mapping[str, str] | None = None
) -> ErrorAnswer:
    request_id = {"x-request-id": f"req_{secrets.token_hex(8)}"}
    return ErrorAnswer(status, _error_body(message, kind, code, param), {**_JSON, **request_id, **(headers or {})})


def _listed(model: SimulatedModel) -> dict[str, Any]:
    """A model with its limits and prices in the way OpenRouter adds them (dollars per token, as strings)."""
    prices = {
        "prompt": model.input_nano_per_mtok,
        "completion": model.output_nano_per_mtok,
        "input_cache_read": model.cache_read_nano_per_mtok,
        "internal_reasoning": model.reasoning_nano_per_mtok,
    }
    return {
        "id": model.name,
        "object": "model",
        "created": CREATED_S,
        "owned_by": "simulator",
        "name": model.display_name,
        "context_length": model.context_window_tokens,
        "top_provider": {"context_length": model.context_window_tokens, "max_completion_tokens": model.max_output_tokens},
        "pricing": {name: f"{Decimal(nano).scaleb(-15):f}" for name, nano in prices.items() if nano is not None},
    }
