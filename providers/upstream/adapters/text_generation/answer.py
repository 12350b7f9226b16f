"""Whole generated texts: of ``/generate`` (an object) and of the task endpoint (a list of one)."""

from __future__ import annotations

from typing import Any

from providers.upstream.adapters.error_rules import error_in_success
from providers.upstream.adapters.json_values import decode_or_none, object_at, snippet, text_at
from providers.upstream.adapters.text_generation.errors import ERRORS
from providers.upstream.adapters.text_generation.usage import parse_usage
from providers.upstream.errors import InvalidBody
from providers.upstream.types import ChatChoice, ChatResponse, FinishReason, HttpResponse, JsonObject, Wire

_FINISH = {"length": FinishReason.LENGTH, "eos_token": FinishReason.STOP, "stop_sequence": FinishReason.STOP}


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
        choices=(ChatChoice(index=0, text=text, finish_reason=finish_reason(details)),),
        usage=parse_usage(details, response.headers),
        wire=Wire.TEXT_GENERATION,
        body=response.body,
    )


def finish_reason(details: JsonObject) -> FinishReason:
    """Without details nobody said why it ended; an answer that is whole counts as ended by itself."""
    return _FINISH.get(text_at(details, "finish_reason"), FinishReason.STOP)
