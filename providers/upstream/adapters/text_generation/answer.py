"""Generated text, whole and streamed: of ``/generate`` (an object), of the task endpoint (a list of one), of streams (events)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from providers.upstream.adapters.base import StreamParser
from providers.upstream.adapters.error_rules import Rule, error_in_success, rule
from providers.upstream.adapters.json_values import count_at, decode_or_none, object_at, snippet, text_at
from providers.upstream.errors import (
    BillingRefused,
    ContextTooLong,
    InvalidBody,
    Overloaded,
    QuotaExhausted,
    UnsupportedRequest,
)
from providers.upstream.sse import SseEvent
from providers.upstream.types import ChatChoice, ChatDelta, ChatResponse, FinishReason, HttpResponse, JsonObject, TokenUsage, Wire

_NOTHING = ChatDelta()
_FINISH = {"length": FinishReason.LENGTH, "eos_token": FinishReason.STOP, "stop_sequence": FinishReason.STOP}

ERRORS: tuple[Rule, ...] = (
    # Limits of the free tier: a used-up month is a quota, a used-up minute or hour is a throttle (the common row for 429).
    rule(QuotaExhausted, (402, 429), (), ("monthly included credits", "monthly usage limit", "exceeded your monthly")),
    rule(BillingRefused, (403,), (), ("requires a pro subscription", "pro subscription")),
    rule(Overloaded, (), ("overloaded",)),
    rule(ContextTooLong, (), (), ("`max_new_tokens` must be <=", "`inputs` must have less than", "tokens + `max_new_tokens`")),
    rule(UnsupportedRequest, (), (), ("grammar is not supported", "grammars are not supported")),
)


def parse_answer(response: HttpResponse, stops: tuple[str, ...] = ()) -> ChatResponse:
    """The server ends a text with the stop sequence that ended it; clients expect it without."""
    body: Any = decode_or_none(response.body)
    if isinstance(body, list) and len(body) == 1:
        body = body[0]
    if not isinstance(body, dict):
        raise InvalidBody(f"not an answer: {snippet(response.body)}")
    error = error_in_success(body, ERRORS)
    if error is not None:
        raise error
    text = body.get("generated_text")
    if not isinstance(text, str):
        raise InvalidBody(f"an answer without generated text: {snippet(response.body)}")
    details = object_at(body, "details")
    if details.get("finish_reason") == "stop_sequence":
        text = text.removesuffix(next((stop for stop in stops if text.endswith(stop)), ""))
    return ChatResponse(
        id="",
        model="",
        choices=(ChatChoice(index=0, text=text, finish_reason=_finish_reason(details)),),
        usage=_usage(details, response.headers),
        wire=Wire.TEXT_GENERATION,
        body=response.body,
    )


def _finish_reason(details: JsonObject) -> FinishReason:
    """Without details nobody said why it ended; an answer that is whole counts as ended by itself."""
    return _FINISH.get(text_at(details, "finish_reason"), FinishReason.STOP)


def _usage(details: JsonObject, headers: Mapping[str, str]) -> TokenUsage:
    """``details`` always counts the generated tokens. Those of the prompt are counted there in streams only (``input_length``, and
    ``prefill`` where it is asked for), else in a header; the task endpoint may say neither: unknown, not zero."""
    prompt = count_at(details, "input_length")
    if prompt is None and details.get("prefill"):
        prompt = len(details["prefill"])
    if prompt is None:
        prompt = _count(headers.get("x-prompt-tokens"))
    output = count_at(details, "generated_tokens")
    return TokenUsage(input_tokens=prompt, output_tokens=_count(headers.get("x-generated-tokens")) if output is None else output)


def _count(text: str | None) -> int | None:
    return int(text) if text is not None and text.isascii() and text.isdecimal() and len(text) < 10 else None


class TextGenerationStreamParser(StreamParser):
    """The finish marker is the event whose ``generated_text`` is the whole text; it carries the usage where there is any."""

    __slots__ = ()

    def feed(self, event: SseEvent) -> ChatDelta:
        if not event.data:
            return _NOTHING
        if event.data.strip() == b"[DONE]":
            return ChatDelta(is_end=True)
        body = decode_or_none(event.data)
        if not isinstance(body, dict):
            raise InvalidBody(f"a stream event that is no JSON object: {snippet(event.data)}")
        error = error_in_success(body, ERRORS)
        if error is not None:
            raise error
        token = object_at(body, "token")
        # Special tokens (the end of the turn) are marks, not text.
        text = "" if token.get("special") is True else text_at(token, "text")
        if not isinstance(body.get("generated_text"), str):
            return ChatDelta(text=text)
        details = object_at(body, "details")
        self.is_complete = True
        self.usage = _usage(details, {})
        self.usage_is_final = self.usage.is_complete
        return ChatDelta(text=text, finish_reason=_finish_reason(details), usage=self.usage)
