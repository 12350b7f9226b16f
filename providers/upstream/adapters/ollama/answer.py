"""Whole Ollama answers, and what they share with the lines of a stream: the same object. ``/api/generate`` differs in one field."""

from __future__ import annotations

from providers.upstream.adapters.error_rules import error_in_success
from providers.upstream.adapters.json_values import decode_object, list_at, object_at, snippet, text_at
from providers.upstream.adapters.ollama.errors import ERRORS
from providers.upstream.adapters.ollama.usage import parse_usage
from providers.upstream.adapters.openai import arguments_text
from providers.upstream.errors import InvalidBody
from providers.upstream.types import ChatChoice, ChatResponse, FinishReason, HttpResponse, JsonObject, ReasoningPart, ToolCall, Wire


def parse_answer(response: HttpResponse) -> ChatResponse:
    body = decode_object(response.body)
    error = error_in_success(body, ERRORS)
    if error is not None:
        raise error
    if not isinstance(body.get("message"), dict) and not isinstance(body.get("response"), str):
        raise InvalidBody(f"an answer without a message: {snippet(response.body)}")
    if body.get("done") is not True:
        raise InvalidBody("an answer that is not done")
    text, thinking = text_and_thinking(body)
    calls = tool_calls(body, begun=0)
    choice = ChatChoice(
        index=0,
        text=text,
        finish_reason=finish_reason(body, has_tool_calls=bool(calls)),
        reasoning=(ReasoningPart(thinking),) if thinking else (),
        tool_calls=calls,
    )
    return ChatResponse("", text_at(body, "model"), (choice,), parse_usage(body), Wire.OLLAMA, response.body)


def text_and_thinking(body: JsonObject) -> tuple[str, str]:
    message = object_at(body, "message")
    return text_at(message, "content") or text_at(body, "response"), text_at(message, "thinking") or text_at(body, "thinking")


def tool_calls(body: JsonObject, begun: int) -> tuple[ToolCall, ...]:
    """Servers before 0.12 give calls no ids: such a call is named by its place in the answer, ``begun`` calls after its start."""
    calls = list_at(object_at(body, "message"), "tool_calls")
    return tuple(
        ToolCall(
            id=text_at(call, "id") or f"call_{position}",
            name=text_at(object_at(call, "function"), "name"),
            arguments=arguments_text(object_at(call, "function").get("arguments")) or "{}",
        )
        for position, call in enumerate(calls, begun)
    )


def finish_reason(body: JsonObject, *, has_tool_calls: bool) -> FinishReason:
    """``done_reason`` stays ``stop`` for tool calls; ``load`` and ``unload`` answer a request without a prompt, and servers
    before 0.1.38 name none."""
    if body.get("done_reason") == "length":
        return FinishReason.LENGTH
    return FinishReason.TOOL_CALLS if has_tool_calls else FinishReason.STOP
