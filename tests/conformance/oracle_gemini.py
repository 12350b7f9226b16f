"""What a Gemini answer means, read plainly (wire.md, sections 0 and 3)."""

from __future__ import annotations

import json
from typing import Any

from tests.conformance.frames import Frame
from tests.conformance.heard import BROKEN_OFF, CONTENT_FILTER, LENGTH, STOP, Call, Heard, finish_of, has_count, whole

_FINISH = {
    "STOP": STOP,
    "MAX_TOKENS": LENGTH,
    **dict.fromkeys(("SAFETY", "RECITATION", "LANGUAGE", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "MODEL_ARMOR"), CONTENT_FILTER),
    **dict.fromkeys(("MALFORMED_FUNCTION_CALL", "MALFORMED_RESPONSE", "MISSING_THOUGHT_SIGNATURE", "OTHER"), BROKEN_OFF),
    **dict.fromkeys(("IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION"), CONTENT_FILTER),
}

_WITHOUT_CALLS = ("UNEXPECTED_TOOL_CALL", "TOO_MANY_TOOL_CALLS")
"""Nothing came of the turn, unless calls came with it."""


def read_answer(body: dict[str, Any]) -> Heard | None:
    if body.get("error"):
        return Heard(error=body)
    if not body.get("candidates") and not (body.get("promptFeedback") or {}).get("blockReason"):
        return None
    heard = Heard()
    _add(heard, body)
    heard.is_complete = True
    return heard


def read_stream(frames: list[Frame]) -> Heard:
    heard = Heard()
    for frame in frames:
        event = frame.value
        if not isinstance(event, dict):
            continue
        if event.get("error"):
            heard.error = event
            break
        _add(heard, event)
        heard.is_complete = bool(heard.turns) and all(turn.finish for turn in heard.turns.values())
    return heard


def finishes(frame: Frame) -> bool:
    event = frame.value
    if not isinstance(event, dict):
        return False
    blocked = bool((event.get("promptFeedback") or {}).get("blockReason"))
    return blocked or any(candidate.get("finishReason") for candidate in event.get("candidates") or [])


def _add(heard: Heard, body: dict[str, Any]) -> None:
    heard.model = body.get("modelVersion") or heard.model
    heard.usage = read_usage(body.get("usageMetadata") or {}) or heard.usage
    candidates = body.get("candidates") or []
    if not candidates and (body.get("promptFeedback") or {}).get("blockReason"):
        heard.turn(0).finish = CONTENT_FILTER
    for position, candidate in enumerate(candidates):
        turn = heard.turn(candidate.get("index", position) or 0)
        for part in (candidate.get("content") or {}).get("parts") or []:
            call = part.get("functionCall")
            if call is not None:
                turn.calls[len(turn.calls)] = Call(call.get("id") or "", call.get("name") or "", json.dumps(call.get("args") or {}))
            elif part.get("thought") is True:
                turn.reasoning += part.get("text") or ""
            else:
                turn.text += part.get("text") or ""
        reason = candidate.get("finishReason")
        if reason in _WITHOUT_CALLS and not turn.calls:
            turn.finish = BROKEN_OFF
        elif reason != "FINISH_REASON_UNSPECIFIED":
            turn.finish = finish_of(reason, _FINISH, has_calls=bool(turn.calls)) or turn.finish


def read_usage(usage: dict[str, Any]) -> dict[str, int]:
    """Thoughts come on top of the candidates' tokens, prompts of Google's own tools on top of the prompt; cached ones are inside."""
    if not has_count(usage, "promptTokenCount", "candidatesTokenCount", "totalTokenCount"):
        return {}
    prompt = whole(usage.get("promptTokenCount")) + whole(usage.get("toolUsePromptTokenCount"))
    cached = min(whole(usage.get("cachedContentTokenCount")), prompt)
    audio = min(_uncached(usage, "AUDIO"), prompt - cached)
    image = min(_uncached(usage, "IMAGE"), prompt - cached - audio)
    audio_out = min(_of(usage.get("candidatesTokensDetails"), "AUDIO"), whole(usage.get("candidatesTokenCount")))
    counted = {"input_tokens": prompt - cached - audio - image} if has_count(usage, "promptTokenCount") else {}
    return {
        **counted,
        "cache_read_tokens": cached,
        "audio_input_tokens": audio,
        "image_input_tokens": image,
        "output_tokens": whole(usage.get("candidatesTokenCount")) - audio_out,
        "audio_output_tokens": audio_out,
        "reasoning_tokens": whole(usage.get("thoughtsTokenCount")),
    }


def _uncached(usage: dict[str, Any], modality: str) -> int:
    return max(_of(usage.get("promptTokensDetails"), modality) - _of(usage.get("cacheTokensDetails"), modality), 0)


def _of(details: Any, modality: str) -> int:
    return sum(whole(detail.get("tokenCount")) for detail in details or [] if detail.get("modality") == modality)
