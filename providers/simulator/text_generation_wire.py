"""Hugging Face's text generation: https://huggingface.github.io/text-generation-inference/ (generate, its stream, the task endpoint)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from providers.simulator.answers import Answer, Choice
from providers.simulator.catalogue import MODELS, MODELS_BY_NAME, SimulatedModel
from providers.simulator.controls import Fault, find_directive
from providers.simulator.plain_errors import bearer, failure_of
from providers.simulator.questions import InputTooLong, Question, Refusal, UnknownModel, check_length, decode_object, texts, whole_number
from providers.simulator.tokens import count_text, split_text
from providers.simulator.wires import EVENT_STREAM, ErrorAnswer, Event, UsageReport

NEW_TOKENS = 100
"""What TGI writes when nobody says how much."""
FINISHES = {"stop": "eos_token", "length": "length", "tool_calls": "eos_token", "content_filter": "eos_token"}


class TextGenerationWire:
    """``model`` is the server's own, or the one in the URL. ``as_list``: the task endpoint answers with a list of one."""

    name = "text_generation"
    stream_type = EVENT_STREAM
    headers: Mapping[str, str] = {"x-compute-type": "cpu"}
    padding = (b'data:{"token":null,"padding":"', b'"}\n\n')

    def __init__(self, model: str = MODELS[0].name, *, as_list: bool = False, stream: bool | None = None) -> None:
        self.model_name = model
        self.as_list = as_list
        self.stream = stream

    def key_of(self, headers: Mapping[str, str]) -> str | None:
        return bearer(headers)

    def parse(self, body: bytes, headers: Mapping[str, str]) -> Question:  # noqa: ARG002 - other wires read them
        asked = decode_object(body)
        model = MODELS_BY_NAME.get(self.model_name)
        if model is None:
            raise UnknownModel(self.model_name)
        if not isinstance(asked.get("inputs"), str):
            raise _invalid("Failed to deserialize the JSON body into the target type: missing field `inputs`")
        given = asked.get("parameters") or {}
        if not isinstance(given, dict):
            raise _invalid("Failed to deserialize the JSON body into the target type: parameters: invalid type")
        directive, prompt = find_directive(asked["inputs"])
        tokens = min(count_text(asked["inputs"]), len(body))
        if not tokens:
            raise _invalid("Input validation error: `inputs` cannot be empty")
        check_length(model, tokens)
        temperature = given.get("temperature")
        if temperature is not None and (not isinstance(temperature, int | float) or temperature <= 0):
            raise _invalid("Input validation error: `temperature` must be strictly positive")
        grammar = given.get("grammar")
        return Question(
            model=model,
            prompt=prompt,
            directive=directive,
            input_tokens=tokens,
            stream=asked.get("stream") is True if self.stream is None else self.stream,
            max_tokens=whole_number(given, "max_new_tokens", most=model.max_output_tokens) or NEW_TOKENS,
            schema=grammar.get("value") if isinstance(grammar, dict) and isinstance(grammar.get("value"), dict) else None,
            stop=texts(given.get("stop", given.get("stop_sequences")), "stop"),
            seed=whole_number(given, "seed", least=0),
            include_usage=given.get("details") is True,
        )

    def answer_id(self, answer: Answer) -> str:
        """It sends none: the bill has one all the same."""
        return f"tgi-sim{answer.number}"

    def whole(self, answer: Answer, question: Question, usage: UsageReport) -> bytes:
        choice = answer.choices[0]
        body: dict[str, Any] = {"generated_text": choice.text}
        if question.include_usage and usage.present:
            body["details"] = {**_details(answer, choice), "prefill": [], "tokens": []}
        return msgspec.json.encode([body] if self.as_list else body)

    def events(self, answer: Answer, question: Question, usage: UsageReport) -> Iterator[Event]:  # noqa: ARG002 - details come always
        choice = answer.choices[0]
        pieces = split_text(choice.text) if choice.text else [("", 0)]
        for number, (piece, tokens) in enumerate(pieces, 1):
            is_last = number == len(pieces)
            token = {"id": number, "text": piece, "logprob": -0.1, "special": False}
            body = {"index": number, "token": token, "generated_text": choice.text if is_last else None, "details": None}
            if usage.present and (is_last or usage.on_every_event):
                body["details"] = _details(answer, choice) | {"generated_tokens": answer.usage.reasoning_tokens + tokens}
            event = Event(b"data:" + msgspec.json.encode(body) + b"\n\n", tokens, True)
            yield event
            if is_last and usage.twice:
                yield event._replace(is_content=False)

    # ------------------------------------------------------------------ errors

    def failure(self, fault: Fault, retry_after: str) -> ErrorAnswer:
        status, text, headers = failure_of(fault, retry_after)
        return _error(status, text, headers, "overloaded" if status == 503 else None)

    def refusal(self, refusal: Refusal) -> ErrorAnswer:
        if isinstance(refusal, UnknownModel):
            return _error(404, f"Model {refusal.message} does not exist")
        if isinstance(refusal, InputTooLong):
            limits = f"`inputs` must have less than {refusal.maximum} tokens. Given: {refusal.tokens}"
            return _error(422, f"Input validation error: {limits}", kind="validation")
        return _error(refusal.status, refusal.message, kind="validation" if refusal.status == 422 else None)

    def bad_key(self, key: str | None) -> ErrorAnswer:
        return _error(401, "Invalid credentials in Authorization header" if key else "Invalid username or password.")

    def error_in_200(self) -> tuple[bytes, bytes]:
        body = b'{"error":"Request failed during generation: Server error: out of memory","error_type":"generation"}'
        return body, b"data:" + body + b"\n\n"

    # ------------------------------------------------------------------ models

    def models(self, models: tuple[SimulatedModel, ...], query: Mapping[str, str]) -> bytes:  # noqa: ARG002 - one model
        """What ``/info`` answers."""
        return self.model(models[0])

    def model(self, model: SimulatedModel) -> bytes:
        limits = {
            "max_input_tokens": model.context_window_tokens - model.max_output_tokens,
            "max_total_tokens": model.context_window_tokens,
        }
        return msgspec.json.encode({"model_id": model.name, "model_pipeline_tag": "text-generation", "version": "3.3.6", **limits})


def _invalid(text: str) -> Refusal:
    refusal = Refusal(text)
    refusal.status = 422
    return refusal


def _details(answer: Answer, choice: Choice) -> dict[str, Any]:
    spent = answer.usage
    finish = "stop_sequence" if choice.stopped_at is not None else FINISHES[choice.finish]
    counts = {"generated_tokens": spent.output_tokens + spent.reasoning_tokens, "input_length": spent.input_tokens + spent.cached_tokens}
    return {"finish_reason": finish, **counts, "seed": None}


def _error(status: int, text: str, headers: Mapping[str, str] | None = None, kind: str | None = None) -> ErrorAnswer:
    body = {"error": text} | ({"error_type": kind} if kind else {})
    return ErrorAnswer(status, msgspec.json.encode(body), {"content-type": "application/json", **(headers or {})})
