"""Whole OpenAI chat completions answers, as OpenAI and everybody compatible with it really send them (wire.md)."""

from __future__ import annotations

from typing import Any

from providers.upstream.adapters.error_rules import error_in_success
from providers.upstream.adapters.json_values import (
    count_at,
    decode_object,
    list_at,
    object_at,
    snippet,
    text_at,
)
from providers.upstream.adapters.openai.message import arguments_of, finish_reason, logprobs_of, reasoning_of, text_and_thinking
from providers.upstream.adapters.openai.usage import parse_usage
from providers.upstream.adapters.reported_cost import with_reported_cost
from providers.upstream.errors import InvalidBody
from providers.upstream.types import (
    ChatChoice,
    ChatResponse,
    HttpResponse,
    JsonObject,
    ReasoningPart,
    TokenUsage,
    ToolCall,
    Wire,
)


def parse_answer(response: HttpResponse) -> ChatResponse:
    body = decode_object(response.body)
    error = error_in_success(body)
    if error is not None:
        raise error
    choices = list_at(body, "choices")
    if not choices:
        raise InvalidBody(f"an answer without choices: {snippet(response.body)}")
    return ChatResponse(
        id=text_at(body, "id"),
        model=text_at(body, "model"),
        choices=tuple(_choice(position, choice) for position, choice in enumerate(choices)),
        usage=with_reported_cost(parse_usage(body) or TokenUsage(), response.body),
        wire=Wire.OPENAI_CHAT,
        body=response.body,
        created_s=count_at(body, "created"),
    )


def _choice(position: int, choice: Any) -> ChatChoice:
    message = object_at(choice, "message")
    if not message:
        raise InvalidBody("a choice without a message")
    text, thinking = text_and_thinking(message.get("content"))
    reasoning = reasoning_of(message) or thinking
    calls = _tool_calls(message)
    return ChatChoice(
        index=count_at(choice, "index") or position,
        text=text,
        finish_reason=finish_reason(choice.get("finish_reason"), has_tool_calls=bool(calls)),
        reasoning=(ReasoningPart(reasoning),) if reasoning else (),
        tool_calls=calls,
        refusal=text_at(message, "refusal") or None,
        logprobs=logprobs_of(choice),
    )


def _tool_calls(message: JsonObject) -> tuple[ToolCall, ...]:
    calls = list_at(message, "tool_calls")
    if not calls and object_at(message, "function_call"):
        calls = [{"function": message["function_call"]}]
    return tuple(
        ToolCall(
            id=text_at(call, "id") or f"call_{position}",
            name=text_at(object_at(call, "function"), "name"),
            arguments=arguments_of(object_at(call, "function")),
        )
        for position, call in enumerate(calls)
    )
