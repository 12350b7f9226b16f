"""Streams of text generation: one event a token."""

from __future__ import annotations

from providers.upstream.adapters.base import StreamParser
from providers.upstream.adapters.error_rules import error_in_success
from providers.upstream.adapters.json_values import decode_or_none, object_at, snippet, text_at
from providers.upstream.adapters.text_generation.answer import finish_reason
from providers.upstream.adapters.text_generation.errors import ERRORS
from providers.upstream.adapters.text_generation.usage import parse_usage
from providers.upstream.errors import InvalidBody
from providers.upstream.sse import SseEvent
from providers.upstream.types import ChatDelta

_NOTHING = ChatDelta()


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
        self.usage = parse_usage(details, {})
        self.usage_is_final = self.usage.is_complete
        return ChatDelta(text=text, finish_reason=finish_reason(details), usage=self.usage)
