"""Ollama's answers, whole and streamed: the same object, once or a line at a time. ``/api/generate`` differs in one field."""

from __future__ import annotations

from providers.upstream.adapters.base import StreamParser
from providers.upstream.adapters.error_rules import error_in_success
from providers.upstream.adapters.json_values import count_at, decode_object, decode_or_none, list_at, object_at, snippet, text_at
from providers.upstream.adapters.ollama.errors import ERRORS
from providers.upstream.adapters.openai import arguments_text
from providers.upstream.errors import InvalidBody
from providers.upstream.sse import SseEvent
from providers.upstream.types import (
    ChatChoice,
    ChatDelta,
    ChatResponse,
    FinishReason,
    HttpResponse,
    JsonObject,
    ReasoningPart,
    TokenUsage,
    ToolCall,
    ToolCallDelta,
    Wire,
)

_NOTHING = ChatDelta()


def parse_answer(response: HttpResponse) -> ChatResponse:
    body = decode_object(response.body)
    error = error_in_success(body, ERRORS)
    if error is not None:
        raise error
    if not isinstance(body.get("message"), dict) and not isinstance(body.get("response"), str):
        raise InvalidBody(f"an answer without a message: {snippet(response.body)}")
    if body.get("done") is not True:
        raise InvalidBody("an answer that is not done")
    text, thinking = _text_and_thinking(body)
    calls = _tool_calls(body, begun=0)
    choice = ChatChoice(
        index=0,
        text=text,
        finish_reason=_finish_reason(body, has_tool_calls=bool(calls)),
        reasoning=(ReasoningPart(thinking),) if thinking else (),
        tool_calls=calls,
    )
    return ChatResponse("", text_at(body, "model"), (choice,), parse_usage(body), Wire.OLLAMA, response.body)


def parse_usage(body: JsonObject) -> TokenUsage:
    """The server leaves ``prompt_eval_count`` out where the whole prompt came from its cache: unknown, not zero."""
    return TokenUsage(input_tokens=count_at(body, "prompt_eval_count"), output_tokens=count_at(body, "eval_count"))


def _text_and_thinking(body: JsonObject) -> tuple[str, str]:
    message = object_at(body, "message")
    return text_at(message, "content") or text_at(body, "response"), text_at(message, "thinking") or text_at(body, "thinking")


def _tool_calls(body: JsonObject, begun: int) -> tuple[ToolCall, ...]:
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


def _finish_reason(body: JsonObject, *, has_tool_calls: bool) -> FinishReason:
    """``done_reason`` stays ``stop`` for tool calls; ``load`` and ``unload`` answer a request without a prompt, and servers
    before 0.1.38 name none."""
    if body.get("done_reason") == "length":
        return FinishReason.LENGTH
    return FinishReason.TOOL_CALLS if has_tool_calls else FinishReason.STOP


class OllamaStreamParser(StreamParser):
    """The finish marker is a line with ``"done": true``, which carries the usage as well. Tool calls come whole."""

    __slots__ = ("_calls",)

    def __init__(self) -> None:
        super().__init__()
        self._calls = 0

    def feed(self, event: SseEvent) -> ChatDelta:
        if not event.data:
            return _NOTHING
        body = decode_or_none(event.data)
        if not isinstance(body, dict):
            raise InvalidBody(f"a line of the stream that is no JSON object: {snippet(event.data)}")
        error = error_in_success(body, ERRORS)
        if error is not None:
            raise error
        text, thinking = _text_and_thinking(body)
        calls = _tool_calls(body, self._calls)
        deltas = tuple(ToolCallDelta(index, call.id, call.name, call.arguments) for index, call in enumerate(calls, self._calls))
        self._calls += len(calls)
        is_done = body.get("done") is True
        if is_done:
            self._note_end(body)
        return ChatDelta(
            text=text,
            reasoning=thinking,
            tool_calls=deltas,
            finish_reason=_finish_reason(body, has_tool_calls=self._calls > 0) if is_done else None,
            usage=self.usage if is_done else None,
            model=text_at(body, "model") or None,
            is_end=is_done,
        )

    def _note_end(self, body: JsonObject) -> None:
        self.is_complete = True
        self.usage = parse_usage(body)
        self.usage_is_final = self.usage.is_complete
