"""OpenAI Responses: https://platform.openai.com/docs/api-reference/responses (plain, the exact event sequence, errors)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from providers.simulator.answers import Answer, Choice
from providers.simulator.openai_wire import OpenAIWire
from providers.simulator.questions import Question, Refusal, UnknownModel
from providers.simulator.responses_request import read_question
from providers.simulator.responses_stream import response_events
from providers.simulator.wires import ErrorAnswer, Event, UsageReport

REMEMBERED_MAX = 10_000
THOUGHT = "The simulator thinks about this for a moment."


class ResponsesWire(OpenAIWire):
    """Remembers the ids it has issued, each with the key it was issued to: nobody else can continue that answer."""

    def __init__(self) -> None:
        self._issued: OrderedDict[str, str] = OrderedDict()

    def parse(self, body: bytes, headers: Mapping[str, str]) -> Question:
        question, previous = read_question(body, self.key_of(headers) or "")
        if previous is not None and self._issued.get(previous) != question.account:
            raise Refusal(
                f"Previous response with id '{previous}' not found.", param="previous_response_id", code="previous_response_not_found"
            )
        return question

    def answer_id(self, answer: Answer) -> str:
        return f"resp_sim{answer.number}"

    def whole(self, answer: Answer, question: Question, usage: UsageReport) -> bytes:
        self._remember(answer, question)
        return msgspec.json.encode(self._response(answer, question, usage))

    def events(self, answer: Answer, question: Question, usage: UsageReport) -> Iterator[Event]:
        self._remember(answer, question)
        begun = {**self._frame(answer), "status": "in_progress", "output": [], "usage": None}
        finished = self._response(answer, question, usage)
        return response_events(begun, finished, answer.choices[0], usage)

    def refusal(self, refusal: Refusal) -> ErrorAnswer:
        """An unknown model is a 400 here."""
        if isinstance(refusal, UnknownModel):
            refusal.status = 400
        return super().refusal(refusal)

    def error_in_200(self) -> tuple[bytes, bytes]:
        error = {"code": "server_error", "message": "The server had an error while processing your request."}
        body: dict[str, Any] = {
            "id": "resp_simfailed",
            "object": "response",
            "status": "failed",
            "error": error,
            "output": [],
            "usage": None,
        }
        event = {"type": "response.failed", "sequence_number": 99, "response": body}
        return msgspec.json.encode(body), b"event: response.failed\ndata: " + msgspec.json.encode(event) + b"\n\n"

    def _remember(self, answer: Answer, question: Question) -> None:
        if question.remembered:
            self._issued[self.answer_id(answer)] = question.account
            if len(self._issued) > REMEMBERED_MAX:
                self._issued.popitem(last=False)

    def _frame(self, answer: Answer) -> dict[str, Any]:
        return {
            "id": self.answer_id(answer),
            "object": "response",
            "created_at": answer.created_s,
            "model": answer.model.name,
            "error": None,
            "incomplete_details": None,
            "parallel_tool_calls": True,
            "tool_choice": "auto",
            "tools": [],
        }

    def _response(self, answer: Answer, question: Question, usage: UsageReport) -> dict[str, Any]:
        choice = answer.choices[0]
        why = {"length": "max_output_tokens", "content_filter": "content_filter"}.get(choice.finish)
        body: dict[str, Any] = {**self._frame(answer), "status": "completed", "output": _items(answer, choice, question)}
        if why is not None:
            body |= {"status": "incomplete", "incomplete_details": {"reason": why}}
        body["usage"] = _usage(answer) if usage.present else None
        return body


def _items(answer: Answer, choice: Choice, question: Question) -> list[dict[str, Any]]:
    status = "incomplete" if choice.finish in ("length", "content_filter") else "completed"
    items: list[dict[str, Any]] = []
    if answer.usage.reasoning_tokens:
        summary = [{"type": "summary_text", "text": THOUGHT}] if question.show_thinking else []
        items.append({"id": f"rs_{answer.number}", "type": "reasoning", "summary": summary})
    if not choice.calls:
        text = {"type": "output_text", "annotations": [], "logprobs": [], "text": choice.text}
        items.append({"id": f"msg_{answer.number}", "type": "message", "status": status, "role": "assistant", "content": [text]})
    for call in choice.calls:
        named = {"call_id": f"call_{call.id}", "name": call.name, "arguments": call.arguments}
        items.append({"id": f"fc_{call.id}", "type": "function_call", "status": status, **named})
    return items


def _usage(answer: Answer) -> dict[str, Any]:
    spent = answer.usage
    input_tokens, output_tokens = spent.input_tokens + spent.cached_tokens, spent.output_tokens + spent.reasoning_tokens
    return {
        "input_tokens": input_tokens,
        "input_tokens_details": {"cached_tokens": spent.cached_tokens},
        "output_tokens": output_tokens,
        "output_tokens_details": {"reasoning_tokens": spent.reasoning_tokens},
        "total_tokens": input_tokens + output_tokens,
    }
