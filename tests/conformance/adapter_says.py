"""What an adapter makes of an answer, in the same plain form as the oracle's reading."""

from __future__ import annotations

from dataclasses import dataclass, fields

from providers.upstream.adapters import Adapter
from providers.upstream.errors import UpstreamError
from providers.upstream.types import ChatDelta, ChatResponse, TokenUsage
from tests.conformance.heard import Call, Heard


def of_response(response: ChatResponse) -> Heard:
    heard = Heard(model=response.model, usage=_buckets(response.usage), is_complete=True)
    for choice in response.choices:
        turn = heard.turn(choice.index)
        turn.text, turn.refusal = choice.text, choice.refusal or ""
        turn.reasoning = "".join(part.text for part in choice.reasoning)
        turn.finish = choice.finish_reason.value if choice.finish_reason else None
        turn.calls = {index: Call(call.id, call.name, call.arguments) for index, call in enumerate(choice.tool_calls)}
    return heard


@dataclass(frozen=True, slots=True)
class Streamed:
    """``error`` is what the parser raised, if it did; ``raw`` are the bytes of all events together."""

    heard: Heard
    error: UpstreamError | None
    raw: bytes


def of_stream(adapter: Adapter, chunks: list[bytes]) -> Streamed:
    """Feeds the stream as it came; what is left at the end is fed as well."""
    framing, parser = adapter.event_parser(), adapter.stream_parser()
    heard, raw, error = Heard(), bytearray(), None
    try:
        for chunk in [*chunks, None]:
            events = framing.finish() if chunk is None else framing.feed(chunk)
            raw += b"".join(event.raw for event in events)
            for event in events:
                if error is None and not heard.is_complete:
                    delta = parser.feed(event)
                    _take(heard, delta)
                    heard.is_complete = delta.is_end
    except UpstreamError as raised:
        error = raised
    heard.usage = _buckets(parser.usage)
    heard.is_complete = parser.is_complete
    return Streamed(heard, error, bytes(raw))


def _take(heard: Heard, delta: ChatDelta) -> None:
    heard.model = delta.model or heard.model
    for one in (delta, *delta.others):
        if not (one.has_content or one.finish_reason or one.choice_index in heard.turns or one.id or one.model):
            continue
        turn = heard.turn(one.choice_index)
        turn.text += one.text
        turn.reasoning += one.reasoning
        turn.refusal += one.refusal
        turn.finish = one.finish_reason.value if one.finish_reason else turn.finish
        for fragment in one.tool_calls:
            call = turn.calls.setdefault(fragment.index, Call())
            call.id = call.id or fragment.id or ""
            call.name = call.name or fragment.name or ""
            call.arguments += fragment.arguments


def _buckets(usage: TokenUsage) -> dict[str, int]:
    """The token buckets; the provider's own cost figure is none and has tests of its own."""
    names = (bucket.name for bucket in fields(TokenUsage) if bucket.name.endswith("_tokens"))
    return {name: count for name in names if (count := getattr(usage, name)) is not None}
