"""What an Anthropic messages answer means, read plainly (wire.md, sections 0 and 2)."""

from __future__ import annotations

import json
from typing import Any

from tests.conformance.frames import Frame
from tests.conformance.heard import CONTENT_FILTER, LENGTH, STOP, TOOL_CALLS, Call, Heard, finish_of, has_count, whole

_STOP_REASONS = {
    "end_turn": STOP,
    "stop_sequence": STOP,
    "max_tokens": LENGTH,
    "model_context_window_exceeded": LENGTH,
    "pause_turn": LENGTH,
    "tool_use": TOOL_CALLS,
    "refusal": CONTENT_FILTER,
}


def read_answer(body: dict[str, Any]) -> Heard | None:
    if body.get("type") == "error":
        return Heard(error=body)
    if not isinstance(body.get("content"), list):
        return None
    heard = Heard(model=body.get("model") or "", usage=read_usage(body.get("usage") or {}), is_complete=True)
    turn = heard.turn(0)
    for index, block in enumerate(body["content"]):
        _open(heard, index, block)
    turn.finish = finish_of(body.get("stop_reason"), _STOP_REASONS, has_calls=False)
    return heard


def read_stream(frames: list[Frame]) -> Heard:
    heard = Heard()
    seen: dict[str, Any] = {}
    for frame in frames:
        event = frame.value
        if not isinstance(event, dict):
            continue
        kind = event.get("type") or frame.event
        if kind == "error":
            heard.error = event
            break
        if kind == "message_start":
            heard.model = event["message"].get("model") or ""
            heard.turn(0)
            seen = dict(event["message"].get("usage") or {})
        elif kind == "content_block_start":
            _open(heard, event.get("index"), event.get("content_block") or {})
        elif kind == "content_block_delta":
            _add(heard, event.get("index"), event.get("delta") or {})
        elif kind == "message_delta":
            reason = (event.get("delta") or {}).get("stop_reason")
            heard.turn(0).finish = finish_of(reason, _STOP_REASONS, has_calls=False)
            # Later figures replace earlier ones; some servers say null for what they said before.
            seen |= {name: value for name, value in (event.get("usage") or {}).items() if value is not None}
        elif kind == "message_stop":
            heard.is_complete = True
        heard.usage = read_usage(seen)
    return heard


def finishes(frame: Frame) -> bool:
    event = frame.value
    return isinstance(event, dict) and event.get("type") in ("message_delta", "message_stop")


def _open(heard: Heard, index: Any, block: dict[str, Any]) -> None:
    turn = heard.turn(0)
    match block.get("type"):
        case "text":
            turn.text += block.get("text") or ""
        case "thinking":
            turn.reasoning += block.get("thinking") or ""
        case "tool_use":
            given = block.get("input")
            turn.calls[index] = Call(block.get("id") or "", block.get("name") or "", json.dumps(given) if given else "")


def _add(heard: Heard, index: Any, delta: dict[str, Any]) -> None:
    turn = heard.turn(0)
    turn.text += delta.get("text") or ""
    turn.reasoning += delta.get("thinking") or ""
    if index in turn.calls:
        turn.calls[index].arguments += delta.get("partial_json") or ""


def read_usage(usage: dict[str, Any]) -> dict[str, int]:
    """Cached tokens come on top of ``input_tokens``; thinking is part of ``output_tokens``."""
    if not has_count(usage, "input_tokens", "output_tokens"):
        return {}
    written = whole(usage.get("cache_creation_input_tokens"))
    for_an_hour = min(whole((usage.get("cache_creation") or {}).get("ephemeral_1h_input_tokens")), written)
    thinking = min(whole((usage.get("output_tokens_details") or {}).get("thinking_tokens")), whole(usage.get("output_tokens")))
    buckets = {
        "cache_read_tokens": whole(usage.get("cache_read_input_tokens")),
        "cache_write_tokens": written - for_an_hour,
        "cache_write_1h_tokens": for_an_hour,
        "reasoning_tokens": thinking,
    }
    if has_count(usage, "input_tokens"):
        buckets["input_tokens"] = whole(usage["input_tokens"])
    if has_count(usage, "output_tokens"):
        buckets["output_tokens"] = whole(usage["output_tokens"]) - thinking
    return buckets
