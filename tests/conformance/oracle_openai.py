"""What an answer on OpenAI's chat completions wire means, read plainly (wire.md, sections 0, 1, 4-10)."""

from __future__ import annotations

import json
from typing import Any

from tests.conformance.frames import Frame
from tests.conformance.heard import (
    BROKEN_OFF,
    CONTENT_FILTER,
    LENGTH,
    STOP,
    TOOL_CALLS,
    Call,
    Heard,
    Turn,
    finish_of,
    has_count,
    whole,
)

_FINISH = {
    "stop": STOP,
    "eos_token": STOP,
    "eos": STOP,
    "stop_sequence": STOP,
    "length": LENGTH,
    "model_length": LENGTH,
    "max_tokens": LENGTH,
    "tool_calls": TOOL_CALLS,
    "tool_use": TOOL_CALLS,
    "function_call": TOOL_CALLS,
    "content_filter": CONTENT_FILTER,
    "insufficient_system_resource": BROKEN_OFF,
    "error": BROKEN_OFF,
}


def read_answer(body: dict[str, Any]) -> Heard | None:
    """``None`` when it is no chat answer."""
    if body.get("error"):
        return Heard(error=body)
    choices = body.get("choices")
    if not isinstance(choices, list) or not choices or not all(isinstance(choice.get("message"), dict) for choice in choices):
        return None
    heard = Heard(model=body.get("model") or "", usage=read_usage(body), is_complete=True)
    for position, choice in enumerate(choices):
        turn = heard.turn(choice.get("index") or position)
        _add(turn, choice["message"])
        turn.finish = finish_of(choice.get("finish_reason"), _FINISH, has_calls=bool(turn.calls))
    return heard


def read_stream(frames: list[Frame]) -> Heard:
    heard = Heard()
    for frame in frames:
        chunk = frame.value
        if frame.data.strip() == b"[DONE]":
            heard.is_complete = bool(heard.turns)
            break
        if not isinstance(chunk, dict):
            continue
        heard.usage = read_usage(chunk) or heard.usage
        if chunk.get("error") or frame.event == "error":
            heard.error = chunk
            break
        heard.model = chunk.get("model") or heard.model
        for choice in chunk.get("choices") or []:
            turn = heard.turn(choice.get("index") or 0)
            _add(turn, choice.get("delta") or choice.get("message") or {})
            turn.finish = finish_of(choice.get("finish_reason"), _FINISH, has_calls=bool(turn.calls)) or turn.finish
        heard.is_complete = bool(heard.turns) and all(turn.finish for turn in heard.turns.values())
    return heard


def finishes(frame: Frame) -> bool:
    """The event from which on the answer may count as whole."""
    chunk = frame.value
    if not isinstance(chunk, dict):
        return frame.data.strip() == b"[DONE]"
    return any(choice.get("finish_reason") for choice in chunk.get("choices") or [])


def _add(turn: Turn, message: dict[str, Any]) -> None:
    content = message.get("content")
    if isinstance(content, list):
        for part in content:
            if part.get("type") == "text":
                turn.text += part.get("text") or ""
            elif part.get("type") == "thinking":
                turn.reasoning += "".join(piece.get("text") or "" for piece in part.get("thinking") or [])
    elif isinstance(content, dict):
        turn.text += json.dumps(content, separators=(",", ":"), ensure_ascii=False)  # Cloudflare
    else:
        turn.text += content or ""
    turn.reasoning += message.get("reasoning_content") or message.get("reasoning") or ""
    turn.refusal += message.get("refusal") or ""
    calls = message.get("tool_calls") or []
    if not calls and isinstance(message.get("function_call"), dict):
        calls = [{"index": 0, "function": message["function_call"]}]
    for position, fragment in enumerate(calls):
        _add_call(turn, position, fragment)


def _add_call(turn: Turn, position: int, fragment: dict[str, Any]) -> None:
    function = fragment.get("function") or {}
    index = fragment.get("index")
    if not isinstance(index, int):
        index = len(turn.calls) if function.get("name") else max(len(turn.calls) - 1, position)
    call = turn.calls.setdefault(index, Call())
    # An id or name that a later fragment repeats is the same one (TGI).
    call.id = call.id or (fragment.get("id") if isinstance(fragment.get("id"), str) else "") or ""
    call.name = call.name or function.get("name") or ""
    arguments = function["arguments"] if "arguments" in function else function.get("parameters")  # the oldest TGI
    call.arguments += arguments if isinstance(arguments, str) else "" if arguments is None else json.dumps(arguments)


def read_usage(body: dict[str, Any]) -> dict[str, int]:
    """Disjoint buckets. Cached, cache-written, audio and image tokens are inside the prompt and reasoning inside the completion,
    unless the total says otherwise."""
    usage = body.get("usage") or (body.get("x_groq") or {}).get("usage") or {}
    if not has_count(usage, "prompt_tokens", "completion_tokens", "input_tokens", "output_tokens"):
        return _usage_of_timings(body.get("timings") or {})
    prompts, completions = ("prompt_tokens", "input_tokens"), ("completion_tokens", "output_tokens")
    prompt = next((whole(usage[name]) for name in prompts if has_count(usage, name)), 0)
    completion = next((whole(usage[name]) for name in completions if has_count(usage, name)), 0)
    inside_prompt = usage.get("prompt_tokens_details") or {}
    inside_completion = usage.get("completion_tokens_details") or {}
    names = ("prompt_cache_hit_tokens", "num_cached_tokens", "cached_tokens", "cache_read_input_tokens")
    cached = whole(inside_prompt.get("cached_tokens")) or next((whole(usage[name]) for name in names if whole(usage.get(name))), 0)
    if not any(has_count(part, "cached_tokens", *names) for part in (inside_prompt, usage)):  # llama.cpp before it had details
        cached = whole((body.get("timings") or {}).get("cache_n"))
    written = whole(inside_prompt.get("cache_write_tokens"))
    audio = whole(inside_prompt.get("audio_tokens"))
    reasoning = whole(inside_completion.get("reasoning_tokens")) or whole(usage.get("reasoning_tokens"))
    beyond = (
        max(whole(usage.get("total_tokens")) - prompt - completion, 0)
        if has_count(usage, *prompts) and has_count(usage, *completions)
        else 0
    )
    if beyond and (usage.get("prompt_audio_seconds") or beyond == audio):  # Mistral
        prompt += beyond
        audio = audio or beyond
    elif beyond:  # xAI, Gemini's OpenAI door
        completion += beyond
        reasoning = reasoning or beyond
    elif reasoning > completion or (reasoning and "market_cost" in usage):  # Vercel, whose own figures stand beside them
        completion += reasoning
    cached = min(cached, prompt)  # Grok on Azure
    written = min(written, prompt - cached)
    audio = min(audio, prompt - cached - written)
    image = min(whole(inside_prompt.get("image_tokens")), prompt - cached - written - audio)
    reasoning = min(reasoning, completion)
    spoken = min(whole(inside_completion.get("audio_tokens")), completion - reasoning)
    counted = {"input_tokens": prompt - cached - written - audio - image} if has_count(usage, *prompts) else {}
    counted |= {"output_tokens": completion - reasoning - spoken} if has_count(usage, *completions) else {}
    return {
        **counted,
        "cache_read_tokens": cached,
        "cache_write_tokens": written,
        "audio_input_tokens": audio,
        "image_input_tokens": image,
        "reasoning_tokens": reasoning,
        "audio_output_tokens": spoken,
    }


def _usage_of_timings(timings: dict[str, Any]) -> dict[str, int]:
    """Older llama.cpp."""
    if not has_count(timings, "prompt_n") or not has_count(timings, "predicted_n"):
        return {}
    return {
        "input_tokens": whole(timings["prompt_n"]),
        "cache_read_tokens": whole(timings.get("cache_n")),
        "output_tokens": whole(timings["predicted_n"]),
    }
