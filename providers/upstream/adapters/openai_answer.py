"""OpenAI chat completions answers and streams, as OpenAI and everybody compatible with it really send them (wire.md)."""

from __future__ import annotations

from typing import Any

from providers.upstream.adapters.base import StreamParser
from providers.upstream.adapters.error_rules import error_in_success
from providers.upstream.adapters.json_values import (
    count_at,
    decode_object,
    decode_or_none,
    encode_text,
    list_at,
    object_at,
    snippet,
    text_at,
)
from providers.upstream.errors import InvalidBody, StreamTruncated
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

_FINISH = {
    "stop": FinishReason.STOP,
    "eos_token": FinishReason.STOP,  # TGI
    "stop_sequence": FinishReason.STOP,  # TGI
    "end_turn": FinishReason.STOP,
    "length": FinishReason.LENGTH,
    "model_length": FinishReason.LENGTH,  # Mistral
    "max_tokens": FinishReason.LENGTH,
    "tool_calls": FinishReason.TOOL_CALLS,
    "tool_use": FinishReason.TOOL_CALLS,
    "function_call": FinishReason.TOOL_CALLS,
    "content_filter": FinishReason.CONTENT_FILTER,
}
# DeepSeek and Mistral end an answer they could not finish with these: the text is cut, the model did not stop.
_BROKEN_OFF = frozenset({"insufficient_system_resource", "error"})

_KEEP_ALIVE = ChatDelta()
_DONE = ChatDelta(is_end=True)


def finish_reason(value: Any, *, has_tool_calls: bool) -> FinishReason | None:
    """A turn that calls tools finishes with ``TOOL_CALLS``, also where the provider says "stop" (forced tools, Ollama).

    Raises ``StreamTruncated`` for the reasons that mean the provider broke off.
    """
    if not isinstance(value, str) or not value:
        return None
    if value in _BROKEN_OFF:
        raise StreamTruncated(f"the provider broke off: finish_reason {value}")
    reason = _FINISH.get(value, FinishReason.STOP)
    return FinishReason.TOOL_CALLS if has_tool_calls and reason is FinishReason.STOP else reason


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
        usage=parse_usage(body) or TokenUsage(),
        wire=Wire.OPENAI_CHAT,
        body=response.body,
        created_s=count_at(body, "created"),
    )


def _choice(position: int, choice: Any) -> ChatChoice:
    message = object_at(choice, "message")
    if not message:
        raise InvalidBody("a choice without a message")
    text, thinking = _text_and_thinking(message.get("content"))
    reasoning = _reasoning(message) or thinking
    calls = _tool_calls(message)
    return ChatChoice(
        index=count_at(choice, "index") or position,
        text=text,
        finish_reason=finish_reason(choice.get("finish_reason"), has_tool_calls=bool(calls)),
        reasoning=(ReasoningPart(reasoning),) if reasoning else (),
        tool_calls=calls,
        refusal=text_at(message, "refusal") or None,
    )


def _reasoning(message: JsonObject) -> str:
    return text_at(message, "reasoning_content") or text_at(message, "reasoning")


def _text_and_thinking(content: Any) -> tuple[str, str]:
    """Text is a string nearly everywhere; Mistral's reasoning models send a list of thinking and text parts."""
    if isinstance(content, str):
        return content, ""
    if isinstance(content, dict):
        return encode_text(content), ""  # Cloudflare hands structured output over as the object itself
    if not isinstance(content, list):
        return "", ""
    text = "".join(text_at(part, "text") for part in content if text_at(part, "type") == "text")
    thoughts = [part for part in content if text_at(part, "type") == "thinking"]
    thinking = "".join(text_at(piece, "text") for part in thoughts for piece in list_at(part, "thinking"))
    return text, thinking


def _tool_calls(message: JsonObject) -> tuple[ToolCall, ...]:
    calls = list_at(message, "tool_calls")
    if not calls and object_at(message, "function_call"):
        calls = [{"function": message["function_call"]}]
    return tuple(
        ToolCall(
            id=text_at(call, "id") or f"call_{position}",
            name=text_at(object_at(call, "function"), "name"),
            arguments=_arguments(object_at(call, "function").get("arguments")),
        )
        for position, call in enumerate(calls)
    )


def _arguments(value: Any) -> str:
    """JSON text; older TGI sends the object itself."""
    if value is None:
        return ""
    return value if isinstance(value, str) else encode_text(value)


# --------------------------------------------------------------------------- usage


def parse_usage(body: JsonObject) -> TokenUsage | None:
    """Disjoint buckets from inclusive counts; ``None`` when the body carries no usage.

    Cached and cache-written tokens are part of ``prompt_tokens``; where a host reports more of them than prompt tokens
    (Grok on Azure) or both for the same tokens (OpenRouter), reads count first and the rest is clamped. Whether reasoning
    and audio are part of the totals differs by vendor and is told by ``total_tokens``.
    """
    if not (body.get("usage") or body.get("x_groq") or body.get("timings")):
        return None  # nearly every event of a stream
    usage = object_at(body, "usage") or object_at(object_at(body, "x_groq"), "usage")
    prompt = count_at(usage, "prompt_tokens", "input_tokens")
    completion = count_at(usage, "completion_tokens", "output_tokens")
    if prompt is None and completion is None:
        return _usage_of_timings(object_at(body, "timings"))
    prompt_details = object_at(usage, "prompt_tokens_details")
    completion_details = object_at(usage, "completion_tokens_details")
    cached = _first_count(count_at(prompt_details, "cached_tokens"), count_at(usage, "prompt_cache_hit_tokens", "num_cached_tokens"))
    written = count_at(prompt_details, "cache_write_tokens")
    audio_in = count_at(prompt_details, "audio_tokens")
    reasoning = _first_count(count_at(completion_details, "reasoning_tokens"), count_at(usage, "reasoning_tokens"))
    audio_out = count_at(completion_details, "audio_tokens")
    outside = _outside_total(count_at(usage, "total_tokens"), prompt, completion)
    if outside and outside == audio_in and prompt is not None:
        prompt += outside  # Mistral: audio input comes on top
    elif outside and outside == reasoning and completion is not None:
        completion += outside  # xAI: reasoning comes on top
    uncached, (cached, written, audio_in) = _split(prompt, cached, written, audio_in)
    visible, (reasoning, audio_out) = _split(completion, reasoning, audio_out)
    return TokenUsage(
        input_tokens=uncached,
        cache_read_tokens=cached,
        cache_write_tokens=written,
        output_tokens=visible,
        reasoning_tokens=reasoning,
        audio_input_tokens=audio_in,
        audio_output_tokens=audio_out,
    )


def _first_count(*counts: int | None) -> int | None:
    return next((count for count in counts if count is not None), None)


def _outside_total(total: int | None, prompt: int | None, completion: int | None) -> int:
    return 0 if total is None or prompt is None or completion is None else total - prompt - completion


def _split(total: int | None, *parts: int | None) -> tuple[int | None, list[int | None]]:
    """What is left of ``total`` after taking the parts out one by one; no part exceeds what is left."""
    left = total
    taken: list[int | None] = []
    for part in parts:
        counted = part if part is None or left is None else min(part, left)
        if left is not None:
            left -= counted or 0
        taken.append(counted)
    return left, taken


def _usage_of_timings(timings: JsonObject) -> TokenUsage | None:
    """Older llama.cpp servers count in ``timings`` only; ``prompt_n`` excludes what the cache held."""
    prompt, predicted = count_at(timings, "prompt_n"), count_at(timings, "predicted_n")
    if prompt is None or predicted is None:
        return None
    return TokenUsage(input_tokens=prompt, cache_read_tokens=count_at(timings, "cache_n"), output_tokens=predicted)


# --------------------------------------------------------------------------- streams


class OpenAIStreamParser(StreamParser):
    """The finish marker is a ``finish_reason`` for every choice seen, or ``[DONE]`` after some choice.

    A missing ``[DONE]`` is no fault (Perplexity, older TGI), and neither is a missing ``finish_reason`` before it
    (Snowflake, older TGI); an end without either is a truncation.
    """

    __slots__ = ("_calls", "_finished", "_seen")

    def __init__(self) -> None:
        super().__init__()
        self._seen: set[int] = set()
        self._finished: set[int] = set()
        self._calls: dict[int, int] = {}
        """Tool calls begun, by choice."""

    def feed(self, event: SseEvent) -> ChatDelta:
        if not event.data:
            return _KEEP_ALIVE
        if event.data.strip() == b"[DONE]":
            self.is_complete = self.is_complete or bool(self._seen)
            self.usage_is_final = self.is_complete and self.usage.is_complete
            return _DONE
        chunk = decode_or_none(event.data)
        if not isinstance(chunk, dict):
            raise InvalidBody(f"a stream event that is no JSON object: {snippet(event.data)}")
        choices = list_at(chunk, "choices")
        self._note_finish(choices)
        usage = self._note_usage(chunk)
        error = error_in_success({"error": chunk, **chunk} if event.event == "error" else chunk)
        if error is not None:
            raise error
        self.upstream_id = self.upstream_id or text_at(chunk, "id")
        first = choices[0] if choices and isinstance(choices[0], dict) else {}
        return self._delta(chunk, first, usage)

    def _note_finish(self, choices: list[Any]) -> None:
        for choice in choices:
            index = count_at(choice, "index") or 0
            self._seen.add(index)
            if isinstance(choice, dict) and choice.get("finish_reason"):
                self._finished.add(index)
        self.is_complete = bool(self._finished) and self._finished >= self._seen

    def _note_usage(self, chunk: JsonObject) -> TokenUsage | None:
        usage = parse_usage(chunk)
        if usage is not None:
            self.usage = self.usage.merged_with(usage)
            self.usage_is_final = self.is_complete and self.usage.is_complete
        return usage

    def _delta(self, chunk: JsonObject, choice: JsonObject, usage: TokenUsage | None) -> ChatDelta:
        index = count_at(choice, "index") or 0
        delta = object_at(choice, "delta") or object_at(choice, "message")
        text, thinking = _text_and_thinking(delta.get("content"))
        calls = self._tool_call_deltas(index, delta)
        return ChatDelta(
            text=text,
            reasoning=_reasoning(delta) or thinking,
            tool_calls=calls,
            refusal=text_at(delta, "refusal"),
            finish_reason=finish_reason(choice.get("finish_reason"), has_tool_calls=index in self._calls),
            usage=usage,
            id=text_at(chunk, "id") or None,
            model=text_at(chunk, "model") or None,
            choice_index=index,
        )

    def _tool_call_deltas(self, choice_index: int, delta: JsonObject) -> tuple[ToolCallDelta, ...]:
        calls = list_at(delta, "tool_calls")
        if not calls and object_at(delta, "function_call"):
            calls = [{"index": 0, "function": delta["function_call"]}]
        return tuple(self._tool_call_delta(choice_index, call) for call in calls)

    def _tool_call_delta(self, choice_index: int, call: Any) -> ToolCallDelta:
        begun = self._calls.get(choice_index, 0)
        function = object_at(call, "function")
        name = text_at(function, "name") or None
        index = count_at(call, "index")
        if index is None:  # Google's compatible endpoint numbers nothing: a name begins the next call
            index = begun if name else max(begun - 1, 0)
        starts = index >= begun
        self._calls[choice_index] = max(begun, index + 1)
        return ToolCallDelta(
            index=index,
            id=text_at(call, "id") or (f"call_{index}" if starts else None),
            name=name,
            arguments=_arguments(function.get("arguments")),
        )
