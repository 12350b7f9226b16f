"""What an answer of OpenAI's Responses means, read plainly (wire.md, sections 0, 1 and 10)."""

from __future__ import annotations

from typing import Any

from tests.conformance.frames import Frame
from tests.conformance.heard import CONTENT_FILTER, LENGTH, STOP, TOOL_CALLS, Call, Heard, Turn, has_count, whole

_LAST = ("response.completed", "response.incomplete", "response.done")


def read_answer(body: dict[str, Any]) -> Heard | None:
    if body.get("error") or body.get("status") == "failed":
        return Heard(error=body)
    if not isinstance(body.get("output"), list) or body.get("object") not in (None, "response"):
        return None
    heard = Heard(is_complete=True)
    _end(heard, body)
    turn = heard.turn(0)
    for item in body["output"]:
        kind = item.get("type")
        for part in (item.get("content") or []) if kind == "message" else []:
            turn.text += part.get("text") or "" if part.get("type") == "output_text" else ""
            turn.refusal += part.get("refusal") or ""
        if kind == "reasoning":
            turn.reasoning += _reasoning(item)
        if kind == "function_call":
            _call(turn, len(turn.calls), item).arguments = item.get("arguments") or ""
    _finish(turn, body)
    return heard


def read_stream(frames: list[Frame]) -> Heard:
    heard = Heard()
    turn = heard.turn(0)
    for frame in frames:
        event = frame.value
        if not isinstance(event, dict):
            continue
        kind, index = event.get("type"), event.get("output_index")
        delta = event.get("delta")
        if isinstance(event.get("response"), dict):
            heard.model = event["response"].get("model") or heard.model
        if kind == "response.output_text.delta":
            turn.text += delta
        elif kind == "response.refusal.delta":
            turn.refusal += delta
        elif kind in ("response.reasoning_summary_text.delta", "response.reasoning_text.delta"):
            turn.reasoning += delta
        elif kind == "response.function_call_arguments.delta" and index in turn.calls:
            turn.calls[index].arguments += delta
        elif kind in ("response.output_item.added", "response.output_item.done") and event["item"].get("type") == "function_call":
            call = _call(turn, index, event["item"])
            call.arguments = event["item"].get("arguments") or call.arguments
        elif kind == "error" or kind == "response.failed":
            heard.error = event.get("response") or event
            break
        elif kind in _LAST:
            _end(heard, event["response"])
            _finish(turn, event["response"])
            heard.is_complete = True
    return heard


def finishes(frame: Frame) -> bool:
    event = frame.value
    return isinstance(event, dict) and event.get("type") in _LAST


def _call(turn: Turn, index: int, item: dict[str, Any]) -> Call:
    call = turn.calls.setdefault(index, Call())
    call.id, call.name = item.get("call_id") or call.id, item.get("name") or call.name
    return call


def _reasoning(item: dict[str, Any]) -> str:
    summary = "".join(part.get("text") or "" for part in item.get("summary") or [])
    return summary or "".join(part.get("text") or "" for part in item.get("content") or [])


def _end(heard: Heard, response: dict[str, Any]) -> None:
    heard.model = response.get("model") or heard.model
    heard.usage = read_usage(response.get("usage") or {})


def _finish(turn: Turn, response: dict[str, Any]) -> None:
    if response.get("status") == "incomplete":
        reason = (response.get("incomplete_details") or {}).get("reason")
        turn.finish = CONTENT_FILTER if reason == "content_filter" else LENGTH
    else:
        turn.finish = TOOL_CALLS if turn.calls else STOP


def read_usage(usage: dict[str, Any]) -> dict[str, int]:
    """Cached and cache-written tokens are inside the input, reasoning is inside the output: at xAI too, unlike its chat."""
    if not has_count(usage, "input_tokens", "output_tokens"):
        return {}
    total = whole(usage.get("input_tokens"))
    details = usage.get("input_tokens_details") or {}
    cached = min(whole(details.get("cached_tokens")), total)
    written = min(whole(details.get("cache_write_tokens")), total - cached)
    reasoning = min(whole((usage.get("output_tokens_details") or {}).get("reasoning_tokens")), whole(usage.get("output_tokens")))
    counted = {"input_tokens": total - cached - written} if has_count(usage, "input_tokens") else {}
    counted |= {"output_tokens": whole(usage.get("output_tokens")) - reasoning} if has_count(usage, "output_tokens") else {}
    return {
        **counted,
        "cache_read_tokens": cached,
        "cache_write_tokens": written,
        "reasoning_tokens": reasoning,
    }
