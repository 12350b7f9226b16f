"""Gemini: https://ai.google.dev/api/generate-content (plain, both kinds of stream, counts, embeddings, models, errors)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import msgspec

from providers.simulator.answers import Answer, Choice
from providers.simulator.catalogue import SimulatedModel
from providers.simulator.controls import Fault, find_directive
from providers.simulator.gemini_request import known, model_named, read_question
from providers.simulator.questions import Question, Refusal, UnknownModel, check_length, decode_object, page_size, whole_number
from providers.simulator.tokens import count_text, split_text
from providers.simulator.vectors import DIMENSIONS_MAX, vector_of
from providers.simulator.wires import EVENT_STREAM, ErrorAnswer, Event, UsageReport

THOUGHT = "The simulator thinks about this for a moment."
SIGNATURE = "c2ltdWxhdGVk"
FINISHES = {"stop": "STOP", "length": "MAX_TOKENS", "tool_calls": "STOP", "content_filter": "SAFETY"}
METHODS = ["generateContent", "countTokens", "embedContent"]
_JSON = {"content-type": "application/json; charset=UTF-8"}
_QUOTA = "type.googleapis.com/google.rpc.QuotaFailure"
_SAFETY = [{"category": "HARM_CATEGORY_DANGEROUS_CONTENT", "probability": "HIGH", "blocked": True}]
_FAILURES: dict[Fault, tuple[int, str, str]] = {
    Fault.HTTP_400: (400, "INVALID_ARGUMENT", "Request contains an invalid argument."),
    Fault.HTTP_402: (402, "FAILED_PRECONDITION", "This API method requires billing to be enabled."),
    Fault.HTTP_403: (403, "PERMISSION_DENIED", "Your project does not have access to this model."),
    Fault.HTTP_404: (404, "NOT_FOUND", "models/sim-gone is not found for API version v1beta, or is not supported for generateContent."),
    Fault.HTTP_429: (429, "RESOURCE_EXHAUSTED", "You exceeded your current quota, please check your plan and billing details."),
    Fault.QUOTA: (429, "RESOURCE_EXHAUSTED", "You exceeded your current quota, please check your plan and billing details."),
    Fault.HTTP_500: (500, "INTERNAL", "An internal error has occurred. Please retry."),
    Fault.HTTP_503: (503, "UNAVAILABLE", "The model is overloaded. Please try again later."),
    Fault.HTTP_529: (503, "UNAVAILABLE", "The model is overloaded. Please try again later."),
}


class GeminiWire:
    """One call: model and method stand in its URL. ``as_array``: a stream is one JSON array, as without ``alt=sse``."""

    name = "gemini"
    headers: Mapping[str, str] = {"server-timing": "gfet4t7; dur=1"}
    padding = (b'data: {"modelVersion": "', b'"}\r\n\r\n')

    def __init__(self, model: str, method: str, *, as_array: bool = False) -> None:
        self.model_name = model
        self.method = method
        self.as_array = as_array
        self.stream_type = "application/json; charset=UTF-8" if as_array else EVENT_STREAM

    def key_of(self, headers: Mapping[str, str]) -> str | None:
        scheme, _, token = headers.get("authorization", "").partition(" ")
        return headers.get("x-goog-api-key") or (token.strip() if scheme.lower() == "bearer" else None)

    def parse(self, body: bytes, headers: Mapping[str, str]) -> Question:  # noqa: ARG002 - other wires read them
        asked = decode_object(body)
        if self.method == "countTokens":
            wrapped = asked.get("generateContentRequest", asked)
            question = read_question({**wrapped}, self.model_name, len(body), stream=False)
            return replace(question, speaks=False, is_billed=False)
        if self.method in ("embedContent", "batchEmbedContents"):
            return _embedding_question(asked, self.model_name, is_batch=self.method == "batchEmbedContents")
        return read_question(asked, self.model_name, len(body), stream=self.method == "streamGenerateContent")

    def answer_id(self, answer: Answer) -> str:
        return f"sim{answer.number}"

    # ------------------------------------------------------------------ answers

    def whole(self, answer: Answer, question: Question, usage: UsageReport) -> bytes:
        if self.method == "countTokens":
            tokens = answer.usage.input_tokens
            return _pretty({"totalTokens": tokens, "promptTokensDetails": [{"modality": "TEXT", "tokenCount": tokens}]})
        if not question.speaks:
            return _pretty(_embedded(question, is_batch=self.method == "batchEmbedContents"))
        candidates = [_candidate(choice, _parts(choice, answer, question), ends=True) for choice in answer.choices]
        return _pretty(self._body(answer, candidates, answer.usage.output_tokens, usage))

    def events(self, answer: Answer, question: Question, usage: UsageReport) -> Iterator[Event]:
        done, is_first = 0, True
        for choice in answer.choices:
            for parts, tokens, ends in _chunks(choice, answer, question):
                candidate = _candidate(choice, parts, ends=ends)
                body = self._body(answer, [candidate], done + tokens, usage)
                yield self._framed(body, done + tokens, is_first=is_first, is_content=bool(parts) and not ends)
                is_first = False
                if ends and usage.twice:
                    yield self._framed(body, done + tokens, is_first=False, is_content=False)
            done += choice.output_tokens
        if self.as_array:
            yield Event(b"\n]\n", done, False)

    def _framed(self, body: dict[str, Any], tokens: int, *, is_first: bool, is_content: bool) -> Event:
        if self.as_array:
            return Event((b"[" if is_first else b",\r\n") + _pretty(body), tokens, is_content)
        return Event(b"data: " + msgspec.json.encode(body) + b"\r\n\r\n", tokens, is_content)

    def _body(self, answer: Answer, candidates: list[dict[str, Any]], output_tokens: int, usage: UsageReport) -> dict[str, Any]:
        body: dict[str, Any] = {"candidates": candidates, "modelVersion": answer.model.name, "responseId": self.answer_id(answer)}
        if usage.present:
            body["usageMetadata"] = _usage(answer, output_tokens)
        return body

    # ------------------------------------------------------------------ errors

    def failure(self, fault: Fault, retry_after: str) -> ErrorAnswer:
        if fault is Fault.HTTP_401:
            return self.bad_key("simulated")
        if fault is Fault.BLOCKED:
            blocked = {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT", "safetyRatings": _SAFETY}, "modelVersion": self.model_name}
            whole = _pretty({**blocked, "usageMetadata": {"promptTokenCount": 0, "totalTokenCount": 0}})
            if self.method == "streamGenerateContent":
                event = b"[" + whole + b"]" if self.as_array else b"data: " + msgspec.json.encode(blocked) + b"\r\n\r\n"
                return ErrorAnswer(200, event, {"content-type": self.stream_type})
            return ErrorAnswer(200, whole, _JSON)
        status, word, message = _FAILURES[fault]
        return self._error(status, word, message, _details(fault, retry_after))

    def refusal(self, refusal: Refusal) -> ErrorAnswer:
        if isinstance(refusal, UnknownModel):
            message = f"models/{refusal.message} is not found for API version v1beta, or is not supported for {self.method or 'get'}."
            return self._error(404, "NOT_FOUND", message, [])
        message = refusal.message
        if refusal.code == "context_length_exceeded":
            message = "The input token count exceeds the maximum number of tokens allowed " + message.rpartition("> ")[2] + "."
        return self._error(refusal.status, "NOT_FOUND" if refusal.status == 404 else "INVALID_ARGUMENT", message, [])

    def bad_key(self, key: str | None) -> ErrorAnswer:
        if not key:
            return self._error(
                403, "PERMISSION_DENIED", "Method doesn't allow unregistered callers (callers without established identity).", []
            )
        reason = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID", "domain": "googleapis.com"}
        return self._error(400, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key.", [reason])

    def error_in_200(self) -> tuple[bytes, bytes]:
        body = {"error": {"code": 503, "message": "The model is overloaded. Please try again later.", "status": "UNAVAILABLE"}}
        if self.as_array:
            return _pretty(body), b",\r\n" + _pretty(body) + b"]"
        return _pretty(body), b"data: " + msgspec.json.encode(body) + b"\r\n\r\n"

    def _error(self, status: int, word: str, message: str, details: list[dict[str, Any]]) -> ErrorAnswer:
        error: dict[str, Any] = {"code": status, "message": message, "status": word}
        body = _pretty({"error": {**error, "details": details} if details else error})
        return ErrorAnswer(status, b"[" + body + b"]" if self.as_array else body, _JSON)

    # ------------------------------------------------------------------ models

    def models(self, models: tuple[SimulatedModel, ...], query: Mapping[str, str]) -> bytes:
        token = query.get("pageToken", "")
        names = [model.name for model in models]
        if token and token not in names:
            raise Refusal("Invalid page token.")
        start = names.index(token) if token else 0
        page = models[start : start + page_size(query, "pageSize", 50)]
        body: dict[str, Any] = {"models": [_listed(model) for model in page]}
        if start + len(page) < len(models):
            body["nextPageToken"] = models[start + len(page)].name
        return _pretty(body)

    def model(self, model: SimulatedModel) -> bytes:
        return _pretty(_listed(model))


def _parts(choice: Choice, answer: Answer, question: Question) -> list[dict[str, Any]]:
    parts: list[dict[str, Any]] = []
    if question.show_thinking and answer.usage.reasoning_tokens:
        parts.append({"text": THOUGHT, "thought": True})
    if choice.text and choice.finish != "content_filter":
        parts.append({"text": choice.text})
    return [*parts, *_calls(choice)]


def _calls(choice: Choice) -> list[dict[str, Any]]:
    """The first call of an answer carries the signature."""
    made: list[dict[str, Any]] = []
    for place, call in enumerate(choice.calls):
        named = {"name": call.name, "args": _object(call.arguments)} | ({"id": call.id} if call.id else {})
        made.append({"functionCall": named} | ({"thoughtSignature": SIGNATURE} if place == 0 else {}))
    return made


def _chunks(choice: Choice, answer: Answer, question: Question) -> Iterator[tuple[list[dict[str, Any]], int, bool]]:
    """Parts, the output tokens up to their end, and whether they end the candidate."""
    if question.show_thinking and answer.usage.reasoning_tokens:
        yield [{"text": THOUGHT, "thought": True}], 0, False
    if choice.finish != "content_filter" and choice.text:
        for piece, tokens in split_text(choice.text):
            yield [{"text": piece}], tokens, False
    if choice.calls:
        yield _calls(choice), choice.output_tokens, False
    yield [], choice.output_tokens, True


def _candidate(choice: Choice, parts: list[dict[str, Any]], *, ends: bool) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"parts": parts, "role": "model"}, "index": choice.index}
    if ends and not parts:
        candidate["content"] = {"role": "model"}
    if ends:
        candidate["finishReason"] = FINISHES[choice.finish]
        if choice.finish == "content_filter":
            candidate["safetyRatings"] = _SAFETY
    return candidate


def _usage(answer: Answer, output_tokens: int) -> dict[str, Any]:
    """Google's convention: cached tokens are part of the prompt, thoughts are not part of the candidates; zeros are left out."""
    spent = answer.usage
    prompt = spent.input_tokens + spent.cached_tokens
    counts = {
        "candidatesTokenCount": output_tokens,
        "cachedContentTokenCount": spent.cached_tokens,
        "thoughtsTokenCount": spent.reasoning_tokens,
    }
    total = prompt + output_tokens + spent.reasoning_tokens
    return {"promptTokenCount": prompt, **{name: count for name, count in counts.items() if count}, "totalTokenCount": total}


def _details(fault: Fault, retry_after: str) -> list[dict[str, Any]]:
    if fault not in (Fault.HTTP_429, Fault.QUOTA):
        return []
    period = "PerDay" if fault is Fault.QUOTA else "PerMinute"
    violation = {
        "quotaMetric": "generativelanguage.googleapis.com/generate_content_free_tier_requests",
        "quotaId": f"GenerateRequests{period}PerProjectPerModel-FreeTier",
    }
    retry = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": f"{retry_after}s"}
    return [{"@type": _QUOTA, "violations": [violation]}, retry]


def _embedding_question(asked: Mapping[str, Any], name: str, *, is_batch: bool) -> Question:
    model = model_named(name)
    requests = known(asked, "", frozenset({"requests"})).get("requests") if is_batch else [asked]
    if not isinstance(requests, list) or not requests:
        raise Refusal("* BatchEmbedContentsRequest.requests: requests is not specified")
    fields = frozenset({"model", "content", "taskType", "title", "outputDimensionality", "embedContentConfig"})
    read = [known(each, f"requests[{number}]", fields) for number, each in enumerate(requests)]
    if is_batch and any(each.get("model") != f"models/{name}" for each in read):
        raise Refusal("* BatchEmbedContentsRequest.requests[0].model: model must match the one in the URL")
    inputs = tuple("".join(part.get("text", "") for part in (each.get("content") or {}).get("parts", ())) for each in read)
    if not all(inputs):
        raise Refusal("* EmbedContentRequest.content: content is empty")
    tokens = sum(count_text(text) for text in inputs)
    check_length(model, tokens)
    dimensions = whole_number(read[0], "outputDimensionality", most=DIMENSIONS_MAX)
    directive, _ = find_directive(inputs[0])
    return Question(model, "", directive, tokens, stream=False, max_tokens=1, inputs=inputs, dimensions=dimensions, speaks=False)


def _embedded(question: Question, *, is_batch: bool) -> dict[str, Any]:
    vectors = [{"values": vector_of(text, question.dimensions)} for text in question.inputs]
    return {"embeddings": vectors} if is_batch else {"embedding": vectors[0]}


def _object(arguments: str) -> Any:
    try:
        return msgspec.json.decode(arguments)
    except msgspec.DecodeError:
        return {}


def _pretty(body: Any) -> bytes:
    return msgspec.json.format(msgspec.json.encode(body), indent=2)


def _listed(model: SimulatedModel) -> dict[str, Any]:
    return {
        "name": f"models/{model.name}",
        "version": "001",
        "displayName": model.display_name,
        "inputTokenLimit": model.context_window_tokens,
        "outputTokenLimit": model.max_output_tokens,
        "supportedGenerationMethods": METHODS,
        "thinking": model.reasons,
    }
