"""OpenAI embeddings: https://platform.openai.com/docs/api-reference/embeddings/create ."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from providers.simulator.answers import Answer
from providers.simulator.controls import find_directive
from providers.simulator.openai_wire import OpenAIWire
from providers.simulator.questions import Question, Refusal, check_length, decode_object, known_model, whole_number
from providers.simulator.tokens import count_text
from providers.simulator.vectors import DIMENSIONS_MAX, as_base64, vector_of
from providers.simulator.wires import UsageReport

INPUTS_MAX = 2048
FIELDS = frozenset({"model", "input", "encoding_format", "dimensions", "user"})


class OpenAIEmbeddings(OpenAIWire):
    def parse(self, body: bytes, headers: Mapping[str, str]) -> Question:  # noqa: ARG002 - other wires read them
        asked = decode_object(body)
        unknown = sorted(asked.keys() - FIELDS)
        if unknown:
            raise Refusal(f"Unrecognized request argument supplied: {unknown[0]}")
        model = known_model(asked)
        encoding = asked.get("encoding_format", "float")
        if encoding not in ("float", "base64"):
            raise Refusal(f"Invalid value: '{encoding}'. Supported values are: 'float' and 'base64'.", param="encoding_format")
        inputs = _inputs(asked.get("input"))
        directive, _ = find_directive(inputs[0])
        tokens = sum(_tokens_of(each) for each in _listed(asked["input"]))
        check_length(model, tokens)
        return Question(
            model=model,
            prompt="",
            directive=directive or find_directive(str(asked.get("user", "")))[0],
            input_tokens=tokens,
            stream=False,
            max_tokens=1,
            inputs=inputs,
            dimensions=whole_number(asked, "dimensions", most=DIMENSIONS_MAX),
            as_base64=encoding == "base64",
            speaks=False,
        )

    def answer_id(self, answer: Answer) -> str:
        return f"embd-sim{answer.number}"

    def whole(self, answer: Answer, question: Question, usage: UsageReport) -> bytes:
        vectors = [vector_of(text, question.dimensions) for text in question.inputs]
        body: dict[str, Any] = {
            "object": "list",
            "data": [
                {"object": "embedding", "index": index, "embedding": as_base64(vector) if question.as_base64 else vector}
                for index, vector in enumerate(vectors)
            ],
            "model": answer.model.name,
        }
        if usage.present:
            body["usage"] = {"prompt_tokens": answer.usage.input_tokens, "total_tokens": answer.usage.input_tokens}
        return msgspec.json.encode(body)


def _listed(given: Any) -> list[Any]:
    """One input, a text or its tokens, as a list of one."""
    return given if isinstance(given, list) and not all(_is_token(each) for each in given) else [given]


def _inputs(given: Any) -> tuple[str, ...]:
    listed = _listed(given)
    if not given or len(listed) > INPUTS_MAX or not all(each and (isinstance(each, str) or _is_tokens(each)) for each in listed):
        raise Refusal(
            "'$.input' is invalid. Please check the API reference: https://platform.openai.com/docs/api-reference.", param="input"
        )
    return tuple(each if isinstance(each, str) else msgspec.json.encode(each).decode() for each in listed)


def _is_token(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_tokens(value: Any) -> bool:
    return isinstance(value, list) and all(_is_token(each) for each in value)


def _tokens_of(value: str | list[int]) -> int:
    return count_text(value) if isinstance(value, str) else len(value)
