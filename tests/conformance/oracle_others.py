"""What the answers of Ollama, Cohere and Hugging Face's text generation mean, read plainly (wire.md, sections 6, 7 and 10)."""

from __future__ import annotations

import json
from typing import Any

from tests.conformance.frames import Frame
from tests.conformance.heard import BROKEN_OFF, CONTENT_FILTER, LENGTH, STOP, TOOL_CALLS, Call, Heard, finish_of, has_count, whole

# ------------------------------------------------------------------ Ollama

_DONE = {"stop": STOP, "length": LENGTH}


def read_ollama(body: dict[str, Any]) -> Heard | None:
    if body.get("error"):
        return Heard(error=body)
    has_text = isinstance(body.get("message"), dict) or isinstance(body.get("response"), str)
    return read_ollama_stream_of([body]) if has_text and body.get("done") is True else None


def read_ollama_stream(frames: list[Frame]) -> Heard:
    return read_ollama_stream_of([frame.value for frame in frames])


def read_ollama_stream_of(lines: list[Any]) -> Heard:
    heard = Heard()
    for line in lines:
        if not isinstance(line, dict):
            continue
        if line.get("error"):
            heard.error = line
            break
        heard.model = line.get("model") or heard.model
        turn = heard.turn(0)
        message = line.get("message") or {}
        turn.text += message.get("content") or line.get("response") or ""
        turn.reasoning += message.get("thinking") or line.get("thinking") or ""
        for call in message.get("tool_calls") or []:
            function = call.get("function") or {}
            arguments = json.dumps(function.get("arguments") or {})
            turn.calls[len(turn.calls)] = Call(call.get("id") or "", function.get("name") or "", arguments)
        if line.get("done") is True:
            heard.is_complete = True
            turn.finish = finish_of(line.get("done_reason") or "stop", _DONE, has_calls=bool(turn.calls))
            names = {"prompt_eval_count": "input_tokens", "eval_count": "output_tokens"}
            heard.usage = {bucket: whole(line[name]) for name, bucket in names.items() if has_count(line, name)}
    return heard


def ollama_finishes(frame: Frame) -> bool:
    line = frame.value
    return isinstance(line, dict) and line.get("done") is True


# ------------------------------------------------------------------ Cohere

_COHERE_FINISH = {
    "COMPLETE": STOP,
    "STOP_SEQUENCE": STOP,
    "MAX_TOKENS": LENGTH,
    "ERROR_LIMIT": LENGTH,
    "TOOL_CALL": TOOL_CALLS,
    "ERROR_TOXIC": CONTENT_FILTER,
    **dict.fromkeys(("ERROR", "TIMEOUT", "USER_CANCEL"), BROKEN_OFF),
}


def read_cohere(body: dict[str, Any]) -> Heard | None:
    heard = Heard(is_complete=True)
    message = body.get("message")
    if isinstance(message, dict):
        turn = heard.turn(0)
        for part in message.get("content") or []:
            turn.text += part.get("text") or ""
            turn.reasoning += part.get("thinking") or ""
        turn.reasoning += message.get("tool_plan") or ""
        for call in message.get("tool_calls") or []:
            turn.calls[len(turn.calls)] = Call(call.get("id") or "", call["function"]["name"], call["function"].get("arguments") or "")
        heard.usage = _cohere_usage(body.get("usage") or {})
        source = body
    else:  # the first version
        generations = body.get("generations")
        source = generations[0] if isinstance(generations, list) and generations else body
        if not isinstance(source.get("text"), str):
            return None
        turn = heard.turn(0)
        turn.text = source["text"]
        heard.usage = _cohere_usage(body.get("meta") or {})
    turn.finish = finish_of(source.get("finish_reason"), _COHERE_FINISH, has_calls=bool(turn.calls))
    return heard


def read_cohere_stream(frames: list[Frame]) -> Heard:
    heard = Heard()
    turn = heard.turn(0)
    for frame in frames:
        event = frame.value
        if not isinstance(event, dict):
            continue
        message = (event.get("delta") or {}).get("message") or {}
        kind = event.get("type")
        if kind in ("content-start", "content-delta"):
            turn.text += message["content"].get("text") or ""
            turn.reasoning += message["content"].get("thinking") or ""
        elif kind == "tool-plan-delta":
            turn.reasoning += message.get("tool_plan") or ""
        elif kind == "tool-call-start":
            call = message["tool_calls"]
            turn.calls[event["index"]] = Call(call.get("id") or "", call["function"]["name"], call["function"].get("arguments") or "")
        elif kind == "tool-call-delta":
            turn.calls[event["index"]].arguments += message["tool_calls"]["function"].get("arguments") or ""
        elif kind == "message-end":
            turn.finish = finish_of(event["delta"].get("finish_reason"), _COHERE_FINISH, has_calls=bool(turn.calls))
            heard.usage = _cohere_usage(event["delta"].get("usage") or {})
            heard.is_complete = True
    return heard


def cohere_finishes(frame: Frame) -> bool:
    event = frame.value
    return isinstance(event, dict) and event.get("type") == "message-end"


def _cohere_usage(usage: dict[str, Any]) -> dict[str, int]:
    """Bill by ``billed_units``: ``tokens`` counts Cohere's own prompt template as well."""
    billed = usage.get("billed_units") or usage.get("tokens") or {}
    if not has_count(billed, "input_tokens", "output_tokens"):
        return {}
    output = whole(billed.get("output_tokens"))
    reasoning = min(whole((usage.get("tokens") or {}).get("reasoning_tokens")), output)
    return {"input_tokens": whole(billed.get("input_tokens")), "output_tokens": output - reasoning, "reasoning_tokens": reasoning}


# ------------------------------------------------------------------ text generation

_TEXT_FINISH = {"length": LENGTH, "eos_token": STOP, "stop_sequence": STOP}


def read_generated(body: dict[str, Any]) -> Heard | None:
    if body.get("error"):
        return Heard(error=body)
    if not isinstance(body.get("generated_text"), str):
        return None
    heard = Heard(is_complete=True)
    heard.turn(0).text = body["generated_text"]
    _end_of_text(heard, body)
    return heard


def read_generated_stream(frames: list[Frame]) -> Heard:
    heard = Heard()
    for frame in frames:
        event = frame.value
        if not isinstance(event, dict):
            continue
        if event.get("error"):
            heard.error = event
            break
        token = event.get("token") or {}
        heard.turn(0).text += "" if token.get("special") else token.get("text") or ""
        if isinstance(event.get("generated_text"), str):
            heard.is_complete = True
            _end_of_text(heard, event)
    return heard


def generated_finishes(frame: Frame) -> bool:
    event = frame.value
    return isinstance(event, dict) and isinstance(event.get("generated_text"), str)


def _end_of_text(heard: Heard, body: dict[str, Any]) -> None:
    details = body.get("details") or {}
    heard.turn(0).finish = finish_of(details.get("finish_reason") or "eos_token", _TEXT_FINISH, has_calls=False)
    if has_count(details, "generated_tokens"):
        heard.usage["output_tokens"] = whole(details["generated_tokens"])
    prompt = whole(details.get("input_length")) or len(details.get("prefill") or [])
    if prompt:
        heard.usage["input_tokens"] = prompt
