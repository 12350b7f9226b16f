"""Cohere v2: https://docs.cohere.com/reference/chat , .../embed , .../list-models ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from providers.simulator.answers import Answer, Choice
from providers.simulator.catalogue import SimulatedModel
from providers.simulator.cohere_request import read_embedding, read_question
from providers.simulator.controls import Fault, find_directive
from providers.simulator.plain_errors import bearer, failure_of
from providers.simulator.questions import InputTooLong, Question, Refusal, UnknownModel, page_size
from providers.simulator.tokens import split_text
from providers.simulator.vectors import as_base64, vector_of
from providers.simulator.wires import EVENT_STREAM, ErrorAnswer, Event, UsageReport

THOUGHT = "The simulator thinks about this for a moment."
FINISHES = {"stop": "COMPLETE", "length": "MAX_TOKENS", "tool_calls": "TOOL_CALL", "content_filter": "ERROR_TOXIC"}


class CohereWire:
    name = "cohere"
    stream_type = EVENT_STREAM
    headers: Mapping[str, str] = {"x-api-warning": "simulated", "num_chars": "1"}
    padding = (b'event: debug\ndata: {"type":"debug","prompt":"', b'"}\n\n')

    def key_of(self, headers: Mapping[str, str]) -> str | None:
        return bearer(headers)

    def parse(self, body: bytes, headers: Mapping[str, str]) -> Question:  # noqa: ARG002 - other wires read them
        return read_question(body)

    def answer_id(self, answer: Answer) -> str:
        return f"co-sim{answer.number}"

    def whole(self, answer: Answer, question: Question, usage: UsageReport) -> bytes:  # noqa: ARG002 - thoughts are always shown
        choice = answer.choices[0]
        content: list[dict[str, Any]] = [{"type": "thinking", "thinking": THOUGHT}] if answer.usage.reasoning_tokens else []
        if choice.text:
            content.append({"type": "text", "text": choice.text})
        message: dict[str, Any] = {"role": "assistant", "content": content}
        if choice.calls:
            message |= {
                "tool_plan": "I will call a tool.",
                "tool_calls": [_call(call.id, call.name, call.arguments) for call in choice.calls],
            }
        body: dict[str, Any] = {"id": self.answer_id(answer), "message": message, "finish_reason": _finish(choice)}
        if usage.present:
            body["usage"] = _usage(answer, answer.usage.output_tokens)
        return msgspec.json.encode(body)

    def events(self, answer: Answer, question: Question, usage: UsageReport) -> Iterator[Event]:  # noqa: ARG002 - as above
        choice = answer.choices[0]
        start = {"role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": []}
        yield _event("message-start", {"id": self.answer_id(answer), "delta": {"message": start}}, 0)
        index = 0
        if answer.usage.reasoning_tokens:
            yield from _content_events(0, "thinking", [(THOUGHT, 0)], 0)
            index = 1
        if choice.calls:
            yield from _call_events(choice)
        else:
            pieces = split_text(choice.text) if choice.text else []
            yield from _content_events(index, "text", pieces, choice.output_tokens)
        delta: dict[str, Any] = {"finish_reason": _finish(choice)}
        if usage.present:
            delta["usage"] = _usage(answer, choice.output_tokens)
        for _ in range(2 if usage.twice or usage.on_every_event else 1):
            yield _event("message-end", {"id": self.answer_id(answer), "delta": delta}, choice.output_tokens)
        yield Event(b"data: [DONE]\n\n", choice.output_tokens, False)

    # ------------------------------------------------------------------ errors

    def failure(self, fault: Fault, retry_after: str) -> ErrorAnswer:
        status, text, headers = failure_of(fault, retry_after)
        return _error(status, text, headers)

    def refusal(self, refusal: Refusal) -> ErrorAnswer:
        if isinstance(refusal, UnknownModel):
            return _error(
                404, f"model '{refusal.message}' not found, make sure the correct model ID was used and that you have access to the model."
            )
        if isinstance(refusal, InputTooLong):
            text = f"too many tokens: size limit exceeded by {refusal.tokens - refusal.maximum} tokens."
            return _error(400, text, error_type="TOO_MANY_TOKENS")
        return _error(refusal.status, refusal.message)

    def bad_key(self, key: str | None) -> ErrorAnswer:
        return _error(401, "invalid api token" if key else "no api key supplied")

    def error_in_200(self) -> tuple[bytes, bytes]:
        whole = {"id": "co-simfailed", "message": {"role": "assistant", "content": []}, "finish_reason": "ERROR"}
        event = _event("message-end", {"delta": {"finish_reason": "ERROR", "error": "internal server error"}}, 0).raw
        return msgspec.json.encode(whole), event

    # ------------------------------------------------------------------ models

    def models(self, models: tuple[SimulatedModel, ...], query: Mapping[str, str]) -> bytes:
        token, names = query.get("page_token", ""), [model.name for model in models]
        if token and token not in names:
            raise Refusal("invalid page token")
        start = names.index(token) if token else 0
        page = models[start : start + page_size(query, "page_size", 20)]
        following = {"next_page_token": names[start + len(page)]} if start + len(page) < len(models) else {}
        return msgspec.json.encode({"models": [_listed(model) for model in page], **following})

    def model(self, model: SimulatedModel) -> bytes:
        return msgspec.json.encode(_listed(model))


class CohereEmbed(CohereWire):
    def parse(self, body: bytes, headers: Mapping[str, str]) -> Question:  # noqa: ARG002 - other wires read them
        return read_embedding(body)

    def whole(self, answer: Answer, question: Question, usage: UsageReport) -> bytes:
        vectors = [vector_of(text, question.dimensions) for text in question.inputs]
        sent: dict[str, Any] = {"base64": [as_base64(vector) for vector in vectors]} if question.as_base64 else {"float": vectors}
        meta: dict[str, Any] = {"api_version": {"version": "2"}}
        if usage.present:
            meta["billed_units"] = {"input_tokens": answer.usage.input_tokens}
        said = [find_directive(text)[1] for text in question.inputs]
        return msgspec.json.encode(
            {"id": self.answer_id(answer), "embeddings": sent, "texts": said, "response_type": "embeddings_by_type", "meta": meta}
        )


def _finish(choice: Choice) -> str:
    return "STOP_SEQUENCE" if choice.stopped_at is not None else FINISHES[choice.finish]


def _call(call_id: str, name: str, arguments: str) -> dict[str, Any]:
    return {"id": f"{name}_{call_id}", "type": "function", "function": {"name": name, "arguments": arguments}}


def _usage(answer: Answer, output_tokens: int) -> dict[str, Any]:
    """Cohere's convention: billed units are what is paid; ``tokens`` counts its own template, too; cached ones are part of both."""
    spent = answer.usage
    input_tokens, output = spent.input_tokens + spent.cached_tokens, output_tokens + spent.reasoning_tokens
    billed = {"input_tokens": input_tokens, "output_tokens": output}
    return {
        "billed_units": billed,
        "tokens": {"input_tokens": input_tokens + 100, "output_tokens": output + 4},
        "cached_tokens": spent.cached_tokens,
    }


def _event(kind: str, fields: dict[str, Any], tokens: int, *, is_content: bool = False) -> Event:
    return Event(b"event: " + kind.encode() + b"\ndata: " + msgspec.json.encode({"type": kind, **fields}) + b"\n\n", tokens, is_content)


def _content_events(index: int, kind: str, pieces: list[tuple[str, int]], total: int) -> Iterator[Event]:
    yield _event("content-start", {"index": index, "delta": {"message": {"content": {"type": kind, kind: ""}}}}, 0)
    for piece, tokens in pieces:
        yield _event("content-delta", {"index": index, "delta": {"message": {"content": {kind: piece}}}}, tokens, is_content=True)
    yield _event("content-end", {"index": index}, total)


def _call_events(choice: Choice) -> Iterator[Event]:
    yield _event("tool-plan-delta", {"delta": {"message": {"tool_plan": "I will call a tool."}}}, 0)
    for index, call in enumerate(choice.calls):
        done = choice.output_tokens if index else 0
        opened = {"message": {"tool_calls": _call(call.id, call.name, "")}}
        yield _event("tool-call-start", {"index": index, "delta": opened}, done, is_content=True)
        for piece, tokens in split_text(call.arguments) if call.arguments else ():
            fragment = {"message": {"tool_calls": {"function": {"arguments": piece}}}}
            yield _event("tool-call-delta", {"index": index, "delta": fragment}, min(done + tokens, choice.output_tokens), is_content=True)
        yield _event("tool-call-end", {"index": index}, done)


def _error(status: int, text: str, headers: Mapping[str, str] | None = None, error_type: str | None = None) -> ErrorAnswer:
    body = {"id": "simulated", "message": text} | ({"error_type": error_type} if error_type else {})
    return ErrorAnswer(status, msgspec.json.encode(body), {"content-type": "application/json", **(headers or {})})


def _listed(model: SimulatedModel) -> dict[str, Any]:
    return {
        "name": model.name,
        "endpoints": ["chat", "embed"],
        "finetuned": False,
        "context_length": model.context_window_tokens,
        "default_endpoints": [],
        "features": ["tools", "vision", "json_mode"],
    }
