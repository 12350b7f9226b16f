"""What must hold for any bytes a provider may send. Each target takes the fuzzer's bytes and checks promises, not examples."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from providers.upstream.adapters import ADAPTERS
from providers.upstream.adapters.anthropic.usage import parse_usage as anthropic_usage
from providers.upstream.adapters.json_values import encode
from providers.upstream.adapters.openai.usage import parse_usage as openai_usage
from providers.upstream.errors import BodyTooLarge, UpstreamError
from providers.upstream.sse import SseEvent, SseParser
from providers.upstream.types import PriceCard, TokenUsage
from tests.fuzz.choices import Choices
from usage import money

SMALL_EVENT_BYTES = 512
CARD = PriceCard(
    id=1,
    input_nano_per_mtok=2_500_000_000,
    output_nano_per_mtok=10_000_000_000,
    cache_read_nano_per_mtok=250_000_000,
    cache_write_nano_per_mtok=3_000_000_000,
    cache_write_1h_nano_per_mtok=5_000_000_000,
    reasoning_nano_per_mtok=12_000_000_000,
)


# --------------------------------------------------------------------------- server-sent events


def sse(raw: bytes) -> None:
    """Cut anywhere, a stream means the same; no byte is lost or invented; the meaning is the one of the standard."""
    choices = Choices(raw)
    body = choices.rest_after(8)
    chunks = list(_cut(body, choices))
    whole, pieces = _events([body]), _events(chunks)
    assert whole == pieces, "the result depends on where the network cut"
    assert b"".join(event.raw for event in whole) == body, "bytes were lost or invented"
    assert [(event.event, event.data) for event in whole if event.data or _names_an_event(event)] == [
        found for found in _by_the_standard(body) if found[1] or found[0]
    ]
    _bounded(chunks)


def _cut(body: bytes, choices: Choices) -> Iterator[bytes]:
    start = 0
    while start < len(body):
        size = 1 + choices.number(7)
        yield body[start : start + size]
        start += size


def _events(chunks: list[bytes]) -> list[SseEvent]:
    parser = SseParser()
    return [event for chunk in chunks for event in parser.feed(chunk)] + parser.finish()


def _names_an_event(event: SseEvent) -> bool:
    return bool(event.event)


def _by_the_standard(body: bytes) -> list[tuple[str, bytes]]:
    """WHATWG HTML, "Interpreting an event stream", read literally; a last block without its blank line counts too."""
    found, name, values, seen = [], b"", [], False
    for line in [*re.split(rb"\r\n|\n|\r", body.removeprefix(b"\xef\xbb\xbf")), b""]:
        if not line:
            if seen:
                found.append((name.decode("utf-8", "replace"), b"\n".join(values)))
            name, values, seen = b"", [], False
            continue
        seen = True
        field, colon, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            values.append(value)
        elif field == b"event" and colon:
            name = value
    return found


def _bounded(chunks: list[bytes]) -> None:
    parser = SseParser(SMALL_EVENT_BYTES)
    try:
        for chunk in chunks:
            parser.feed(chunk)
            assert parser.pending_bytes <= SMALL_EVENT_BYTES, "an unterminated event grows without bound"
    except BodyTooLarge:
        return


# --------------------------------------------------------------------------- usage

_NUMBERS: tuple[Any, ...] = (0, 1, 7, 403, 347, 2**31, 2**63, 10**30, -1, -(2**63), 1.0, 2.5, 1e308, -0.0)
_ODD: tuple[Any, ...] = (None, True, False, "", "12", "x", [], [1], {}, {"cached_tokens": 5})
_USAGE_KEYS = (
    *("prompt_tokens", "completion_tokens", "total_tokens", "input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens"),
    *("audio_tokens", "cache_write_tokens", "prompt_cache_hit_tokens", "prompt_cache_miss_tokens", "num_cached_tokens"),
    *("cache_read_input_tokens", "cache_creation_input_tokens", "ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens"),
    *("thinking_tokens", "prompt_n", "predicted_n", "cache_n", "promptTokenCount", "candidatesTokenCount", "thoughtsTokenCount"),
    *("cachedContentTokenCount", "toolUsePromptTokenCount", "totalTokenCount", "prompt_eval_count", "eval_count", "tokens"),
)
_NESTED_KEYS = (
    *("usage", "x_groq", "timings", "prompt_tokens_details", "completion_tokens_details", "input_tokens_details"),
    *("output_tokens_details", "cache_creation", "usageMetadata", "billed_units", "message", "meta"),
)


def usage(raw: bytes) -> None:
    """Whatever a provider reports, buckets are counts or unknown, nothing is counted twice, and a price comes out or a refusal."""
    choices = Choices(raw)
    body = _object(choices, depth=3)
    for parse in (openai_usage, anthropic_usage):
        found = parse(body)
        if found is not None:
            _check_usage(found)
    later = anthropic_usage(_object(choices, depth=2))
    first = anthropic_usage(body)
    assert first.merged_with(later).merged_with(later) == first.merged_with(later), "repeated usage is added up"


def _object(choices: Choices, depth: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for _ in range(choices.number(9)):
        if depth and choices.number(3) == 0:
            found[choices.one_of(_NESTED_KEYS)] = _object(choices, depth - 1)
        else:
            found[choices.one_of(_USAGE_KEYS)] = choices.one_of(_NUMBERS if choices.number(4) else _ODD)
    return found


def _check_usage(found: TokenUsage) -> None:
    buckets = [getattr(found, name) for name in TokenUsage.__dataclass_fields__]
    assert all(count is None or (isinstance(count, int) and not isinstance(count, bool) and count >= 0) for count in buckets), buckets
    try:
        cost = money.cost_of(found, CARD)
    except money.UsageUnknown:
        return
    assert 0 <= cost <= money.MAX_NANO


# --------------------------------------------------------------------------- streams of every wire format

_TEXTS = ("", "a", "\u2028", "data: x", "\U0001f600", '{"type":"message_stop"}')
_KEYS = (
    *("id", "model", "object", "type", "choices", "delta", "message", "content", "text", "finish_reason", "index", "tool_calls"),
    *("function", "name", "arguments", "error", "code", "usage", "stop_reason", "content_block", "partial_json", "thinking", "signature"),
    *("candidates", "parts", "functionCall", "args", "finishReason", "usageMetadata", "thought", "promptFeedback", "blockReason"),
    *("response", "output", "item", "item_id", "output_index", "sequence_number", "status", "incomplete_details", "reason"),
    *("done", "done_reason", "eval_count", "prompt_eval_count", "thinking", "delta", "token", "generated_text", "details"),
)
_WORDS: tuple[Any, ...] = (
    *("stop", "length", "tool_calls", "error", "content_filter", "end_turn", "STOP", "SAFETY", "COMPLETE", "completed", "incomplete"),
    *("message_start", "message_delta", "message_stop", "content_block_start", "content_block_delta", "content_block_stop", "ping"),
    *("text_delta", "input_json_delta", "tool_use", "text", "response.completed", "response.output_text.delta", "response.failed"),
    *("message-start", "content-delta", "message-end", "function_call", "overloaded_error", "eos_token"),
)


def stream(raw: bytes) -> None:
    """No adapter's stream parser crashes, whatever the events say; usage stays sane; no end without a finish marker."""
    choices = Choices(raw)
    adapter = choices.one_of(tuple(ADAPTERS.values()))
    framing, parser = adapter.event_parser(), adapter.stream_parser()
    try:
        for _ in range(1 + choices.number(6)):
            for event in framing.feed(_frame(adapter.wire.value, encode(_value(choices, 4)))):
                parser.feed(event)
        for event in framing.finish():
            parser.feed(event)
    except UpstreamError:
        pass
    _check_usage(parser.usage)


def _frame(wire: str, payload: bytes) -> bytes:
    return payload + b"\n" if wire == "ollama" else b"data: " + payload + b"\n\n"


def _value(choices: Choices, depth: int) -> Any:
    kind = choices.number(6) if depth else choices.number(3)
    if kind < 2:
        return choices.one_of(_WORDS if kind else _TEXTS)
    if kind == 2:
        return choices.one_of(_NUMBERS[:8])
    if kind == 3:
        return choices.one_of(_ODD)
    if kind == 4:
        return [_value(choices, depth - 1) for _ in range(choices.number(3))]
    return {choices.one_of(_KEYS): _value(choices, depth - 1) for _ in range(choices.number(7))}


TARGETS: Mapping[str, Callable[[bytes], None]] = {"sse": sse, "usage": usage, "stream": stream}
