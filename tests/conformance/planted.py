"""An adapter with one defect planted in it: what the judge must find."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec

from providers.upstream.adapters import Adapter
from providers.upstream.adapters.base import EventParser, StreamParser
from providers.upstream.errors import UpstreamError
from providers.upstream.sse import SseEvent
from providers.upstream.types import ChatDelta, ChatResponse, FinishReason, HttpResponse, TokenUsage


def unchanged(value: Any) -> Any:
    return value


class Defective:
    """Everything as the real adapter has it, except for what the given functions make of it."""

    def __init__(
        self,
        real: Adapter,
        *,
        answer: Callable[[ChatResponse], ChatResponse] = unchanged,
        delta: Callable[[ChatDelta], ChatDelta] = unchanged,
        usage: Callable[[TokenUsage], TokenUsage] = unchanged,
        error: Callable[[UpstreamError], UpstreamError] = unchanged,
        events: Callable[[EventParser], EventParser] = unchanged,
        never_incomplete: bool = False,
    ) -> None:
        self._real = real
        self._answer, self._delta, self._usage, self._error, self._events = answer, delta, usage, error, events
        self._never_incomplete = never_incomplete

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def parse_chat(self, response: HttpResponse) -> ChatResponse:
        said = self._answer(self._real.parse_chat(response))
        return replace(said, usage=self._usage(said.usage))

    def parse_error(self, response: HttpResponse) -> UpstreamError:
        return self._error(self._real.parse_error(response))

    def event_parser(self) -> EventParser:
        return self._events(self._real.event_parser())

    def stream_parser(self) -> DefectiveParser:
        return DefectiveParser(self._real.stream_parser(), self._delta, self._usage, self._never_incomplete)


class DefectiveParser:
    def __init__(
        self,
        real: StreamParser,
        delta: Callable[[ChatDelta], ChatDelta],
        usage: Callable[[TokenUsage], TokenUsage],
        never_incomplete: bool,
    ) -> None:
        self._real, self._delta, self._usage = real, delta, usage
        self._never_incomplete = never_incomplete

    def feed(self, event: SseEvent) -> ChatDelta:
        return self._delta(self._real.feed(event))

    @property
    def usage(self) -> TokenUsage:
        return self._usage(self._real.usage)

    @property
    def is_complete(self) -> bool:
        return self._never_incomplete or self._real.is_complete


class TornBuffer:
    """Framing that takes every chunk for a whole event."""

    def __init__(self, real: EventParser) -> None:
        self._real = real

    def feed(self, chunk: bytes) -> list[SseEvent]:
        return [*self._real.feed(chunk), *self._real.finish()]

    def finish(self) -> list[SseEvent]:
        return self._real.finish()


class LostBytes(TornBuffer):
    """Framing that forwards an event without its last byte."""

    def feed(self, chunk: bytes) -> list[SseEvent]:
        return [msgspec.structs.replace(event, raw=event.raw[:-1]) for event in self._real.feed(chunk)]


# --------------------------------------------------------------------------- defects of whole answers


def other_text(said: ChatResponse) -> ChatResponse:
    return replace(said, choices=(replace(said.choices[0], text=f"{said.choices[0].text}!"), *said.choices[1:]))


def other_finish(said: ChatResponse) -> ChatResponse:
    return replace(said, choices=(replace(said.choices[0], finish_reason=FinishReason.CONTENT_FILTER), *said.choices[1:]))


def lost_call(said: ChatResponse) -> ChatResponse:
    return replace(said, choices=(replace(said.choices[0], tool_calls=said.choices[0].tool_calls[:-1]), *said.choices[1:]))


def lost_reasoning(said: ChatResponse) -> ChatResponse:
    return replace(said, choices=(replace(said.choices[0], reasoning=()), *said.choices[1:]))


def other_model(said: ChatResponse) -> ChatResponse:
    return replace(said, model=f"{said.model}-mini")


# --------------------------------------------------------------------------- of streams and of both


def other_delta_text(delta: ChatDelta) -> ChatDelta:
    return msgspec.structs.replace(delta, text=delta.text.upper())


def lost_delta_calls(delta: ChatDelta) -> ChatDelta:
    return msgspec.structs.replace(delta, tool_calls=())


def other_delta_finish(delta: ChatDelta) -> ChatDelta:
    return msgspec.structs.replace(delta, finish_reason=FinishReason.CONTENT_FILTER if delta.finish_reason else None)


def other_delta_model(delta: ChatDelta) -> ChatDelta:
    return msgspec.structs.replace(delta, model=f"{delta.model}-mini" if delta.model else None)


def one_more_input_token(usage: TokenUsage) -> TokenUsage:
    return replace(usage, input_tokens=(usage.input_tokens or 0) + 1)


def one_less_output_token(usage: TokenUsage) -> TokenUsage:
    return replace(usage, output_tokens=(usage.output_tokens or 0) - 1)
