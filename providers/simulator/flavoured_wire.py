"""OpenAI's chat completions in the words of another service: the same answers, rewritten as its row of ``flavours`` says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import msgspec

from providers.simulator.answers import Answer, Usage
from providers.simulator.bill import cost_nano
from providers.simulator.controls import Fault
from providers.simulator.flavours import CostShape, ErrorShape, Flavour, UsageStyle
from providers.simulator.openai_wire import OpenAIWire, usage_of
from providers.simulator.questions import Question, Refusal, decode_object
from providers.simulator.wires import ErrorAnswer, Event, UsageReport

THOUGHT = "The simulator thinks about this for a moment."
_PREFIX = b"data: "
_DONE = b"data: [DONE]\n\n"
_NUMBERS_OF_MISTRAL = {400: "1500", 401: "1600", 404: "1500", 429: "1300", 500: "1000", 503: "1000", 529: "1000"}
_KINDS_OF_MISTRAL = {400: "invalid_request_error", 404: "invalid_model", 429: "rate_limited", 402: "payment_required"}


class FlavouredWire(OpenAIWire):
    def __init__(self, flavour: Flavour) -> None:
        self.flavour = flavour
        self.name = flavour.name
        self.headers = {} if flavour.name not in ("openai", "azure") else OpenAIWire.headers

    def parse(self, body: bytes, headers: Mapping[str, str]) -> Question:
        asked = decode_object(body)
        check_strictly(asked, self.flavour)
        if asked.get("tool_choice") == "any":
            asked["tool_choice"] = "required"
        return super().parse(body, headers)

    # ------------------------------------------------------------------ answers

    def whole(self, answer: Answer, question: Question, usage: UsageReport) -> bytes:
        body = msgspec.json.decode(super().whole(answer, question, usage))
        if usage.present:
            body["usage"] = self._usage(answer, answer.usage.output_tokens)
        thinks = bool(answer.usage.reasoning_tokens) and self.flavour.reasoning_key is not None
        for choice in body["choices"]:
            if self.flavour.name == "vllm":
                choice["stop_reason"] = None
            if thinks:
                self._think(choice["message"])
        return msgspec.json.encode({**body, **self.flavour.answer_extras, **self._timings(answer)})

    def _think(self, message: dict[str, Any]) -> None:
        if self.flavour.reasoning_key != "content":
            message[str(self.flavour.reasoning_key)] = THOUGHT
            return
        spoken = [{"type": "text", "text": message["content"]}] if message.get("content") else []
        message["content"] = [{"type": "thinking", "thinking": [{"type": "text", "text": THOUGHT}]}, *spoken]

    def events(self, answer: Answer, question: Question, usage: UsageReport) -> Iterator[Event]:
        flavour = self.flavour
        if flavour.comment:
            yield Event(flavour.comment, 0, False)
        asked = replace(question, include_usage=question.include_usage and flavour.usage in (UsageStyle.ASKED, UsageStyle.X_GROQ))
        before = self._thought(answer)
        source = super().events(answer, asked, replace(usage, on_every_event=False))
        for event in _calls_joined(source) if flavour.whole_calls else source:
            if event.raw == _DONE:
                if flavour.has_done:
                    yield self._event(b"[DONE]", event.output_tokens, False)
                continue
            chunk = msgspec.json.decode(event.raw[len(_PREFIX) :])
            if before and event.is_content:
                yield self._chunk({**chunk, "choices": [before]}, answer, 0, usage, is_content=True)
                before = None
            yield self._chunk(chunk, answer, event.output_tokens, usage, is_content=event.is_content)
            if usage.twice and _finishes(chunk) and flavour.usage is not UsageStyle.ASKED:
                yield self._chunk(
                    {**chunk, "choices": []}, answer, event.output_tokens, replace(usage, on_every_event=True), is_content=False
                )

    def _thought(self, answer: Answer) -> dict[str, Any] | None:
        if not answer.usage.reasoning_tokens or self.flavour.reasoning_key is None:
            return None
        delta: dict[str, Any] = {"role": "assistant", "content": None}
        self._think(delta)
        return {"index": 0, "delta": delta, "finish_reason": None}

    def _chunk(self, chunk: dict[str, Any], answer: Answer, tokens: int, usage: UsageReport, *, is_content: bool) -> Event:
        style = self.flavour.usage
        if usage.present and (style is UsageStyle.EVERY or usage.on_every_event or (style is UsageStyle.FINISH and _finishes(chunk))):
            chunk["usage"] = self._usage(answer, tokens)
        elif usage.present and chunk.get("usage"):
            chunk["usage"] = self._usage(answer, tokens)
            chunk.update(self._timings(answer))
        if usage.present and style is UsageStyle.X_GROQ and _finishes(chunk):
            chunk["x_groq"] = {"id": f"req_{answer.number}", "usage": self._usage(answer, tokens)}
        return self._event(msgspec.json.encode({**chunk, **self.flavour.chunk_extras}), tokens, is_content)

    def _event(self, data: bytes, tokens: int, is_content: bool) -> Event:
        flavour = self.flavour
        return Event(b"data:" + flavour.gap + data + flavour.newline * 2, tokens, is_content)

    def _usage(self, answer: Answer, output_tokens: int) -> dict[str, Any]:
        report = usage_of(answer, output_tokens)
        spent: Usage = answer.usage
        if self.flavour.reasoning_apart:
            report["completion_tokens"] = output_tokens
        if self.flavour.splits_cache:
            report |= {"prompt_cache_hit_tokens": spent.cached_tokens, "prompt_cache_miss_tokens": spent.input_tokens}
        return {**report, **self._cost(answer)}

    def _cost(self, answer: Answer) -> dict[str, Any]:
        nano = cost_nano(answer.model, answer.usage)
        match self.flavour.cost:
            case CostShape.DOLLARS:
                return {"cost": nano / 10**9}
            case CostShape.PARTS:
                return {"cost": {"request_cost": 0.0, "total_cost": nano / 10**9}}
            case CostShape.TICKS:
                return {"cost_in_usd_ticks": nano * 10}
        return {}

    def _timings(self, answer: Answer) -> dict[str, Any]:
        if not self.flavour.has_timings:
            return {}
        spent = answer.usage
        counts = {"cache_n": spent.cached_tokens, "prompt_n": spent.input_tokens}
        return {"timings": {**counts, "predicted_n": spent.output_tokens + spent.reasoning_tokens, "predicted_ms": 1.0}}

    # ------------------------------------------------------------------ errors

    def failure(self, fault: Fault, retry_after: str) -> ErrorAnswer:
        return self.bad_key("sk-simulated-0000") if fault is Fault.HTTP_401 else self._shaped(super().failure(fault, retry_after))

    def refusal(self, refusal: Refusal) -> ErrorAnswer:
        return self._shaped(super().refusal(refusal))

    def bad_key(self, key: str | None) -> ErrorAnswer:
        return self._shaped(super().bad_key(key))

    def error_in_200(self) -> tuple[bytes, bytes]:
        body, _ = super().error_in_200()
        return body, self._event(body, 0, False).raw

    def _shaped(self, error: ErrorAnswer) -> ErrorAnswer:
        if self.flavour.errors is ErrorShape.OPENAI:
            return error
        inner = msgspec.json.decode(error.body)["error"]
        status = _status_of(self.flavour.errors, error.status, inner)
        headers = {
            name: value for name, value in error.headers.items() if name != "retry-after" or self.flavour.errors is not ErrorShape.MISTRAL
        }
        return ErrorAnswer(status, msgspec.json.encode(_error_of(self.flavour.errors, status, inner)), headers)


def check_strictly(asked: Mapping[str, Any], flavour: Flavour) -> None:
    """Raises ``Refusal`` for what this service refuses and a lenient one lets pass."""
    for name, value in asked.items():
        if name in flavour.refused or (flavour.fields is not None and name not in flavour.fields):
            raise _ExtraField(name, flavour.errors is ErrorShape.MISTRAL)
        if value is None and flavour.refuses_null:
            raise Refusal(f"Input should be a valid value: '{name}' is null", param=name)
    choice = asked.get("tool_choice")
    if isinstance(choice, str) and choice not in flavour.required_words:
        wrong = Refusal(f"Invalid value for 'tool_choice': '{choice}'.", param="tool_choice", code="invalid_value")
        wrong.status = 422 if flavour.errors is ErrorShape.MISTRAL else 400
        raise wrong


class _ExtraField(Refusal):
    def __init__(self, name: str, is_validation: bool) -> None:
        super().__init__(f"Unrecognized request argument supplied: {name}", param=name, code="extra_forbidden" if is_validation else None)
        self.status = 422 if is_validation else 400


def _finishes(chunk: Mapping[str, Any]) -> bool:
    return any(choice.get("finish_reason") for choice in chunk["choices"])


def _calls_joined(events: Iterator[Event]) -> Iterator[Event]:
    """Tool calls whole, in the chunk that finishes the answer."""
    calls: dict[tuple[int, int], dict[str, Any]] = {}
    for event in events:
        chunk = msgspec.json.decode(event.raw[len(_PREFIX) :]) if event.raw != _DONE else {"choices": []}
        made = [(choice["index"], call) for choice in chunk["choices"] for call in choice["delta"].get("tool_calls") or ()]
        for index, call in made:
            known = calls.setdefault((index, call["index"]), call)
            if known is not call:
                known["function"]["arguments"] += call["function"]["arguments"]
        if calls and _finishes(chunk):
            index = chunk["choices"][0]["index"]
            mine = [call for (owner, _), call in calls.items() if owner == index]
            chunk["choices"][0]["delta"] = {"role": "assistant", "content": "", "tool_calls": mine}
            yield Event(_PREFIX + msgspec.json.encode(chunk) + b"\n\n", event.output_tokens, True)
        elif not made:
            yield event


def _status_of(shape: ErrorShape, status: int, inner: Mapping[str, Any]) -> int:
    if shape is ErrorShape.MISTRAL and status == 404:
        return 400
    if shape is ErrorShape.FLAT and (status == 401 or status == 404):
        return 400
    return 402 if inner.get("code") == "insufficient_quota" else status


def _error_of(shape: ErrorShape, status: int, inner: Mapping[str, Any]) -> dict[str, Any]:
    message, kind, code = inner["message"], inner["type"], inner["code"]
    match shape:
        case ErrorShape.MISTRAL:
            return _mistral(status, message, inner)
        case ErrorShape.FLAT:
            return {"code": "invalid-argument" if status == 400 else str(kind), "error": message}
        case ErrorShape.LLAMACPP:
            kinds = {401: "authentication_error", 503: "unavailable_error", 500: "server_error"}
            kind = "exceed_context_size_error" if code == "context_length_exceeded" else kinds.get(status, "invalid_request_error")
            return {"error": {"code": status, "message": message, "type": kind}}
        case ErrorShape.TEXT:
            return {"error": message}
        case _:
            return {"error": {"message": message, "type": kind, "param": inner.get("param"), "code": status}}


def _mistral(status: int, message: str, inner: Mapping[str, Any]) -> dict[str, Any]:
    """Four of its five shapes: a bad key, a field refused by validation, a value refused by it, everything else."""
    if status == 401:
        return {"detail": "Invalid API Key"}
    if status == 422:
        kind = "extra_forbidden" if inner["code"] == "extra_forbidden" else "enum"
        text = "Extra inputs are not permitted" if kind == "extra_forbidden" else message
        detail = [{"type": kind, "loc": ["body", inner["param"]], "msg": text, "input": None}]
        if kind == "enum":
            return {"detail": detail}
        message_object = {"detail": detail}
        return {
            "object": "error",
            "message": message_object,
            "type": "invalid_request_error",
            "param": None,
            "code": None,
            "raw_status_code": 422,
        }
    kind = "invalid_model" if inner["code"] == "model_not_found" else _KINDS_OF_MISTRAL.get(status, "internal_server_error")
    return {"object": "error", "message": message, "type": kind, "param": None, "code": _NUMBERS_OF_MISTRAL.get(status, "1000")}
