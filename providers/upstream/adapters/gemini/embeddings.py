"""Gemini embeddings (https://ai.google.dev/api/embeddings)."""

from __future__ import annotations

from typing import Any

from providers.upstream.adapters.error_rules import error_in_success
from providers.upstream.adapters.gemini.errors import ERRORS
from providers.upstream.adapters.gemini.request import is_same_wire, is_vertex, model_path
from providers.upstream.adapters.gemini.usage import parse_usage
from providers.upstream.adapters.json_values import decode_object, encode, list_at, object_at, snippet
from providers.upstream.adapters.translation import left_out, refusal, refuse_untranslatable
from providers.upstream.errors import InvalidBody
from providers.upstream.types import EmbeddingsRequest, EmbeddingsResponse, HttpRequest, HttpResponse, JsonObject, Target, TokenUsage, Wire

_JSON = {"content-type": "application/json"}


def render_embeddings(request: EmbeddingsRequest, target: Target) -> HttpRequest:
    """One call for all inputs; Vertex embeds one text at a time."""
    if request.source is not None and is_same_wire(request):
        body = _renamed(dict(request.source.body), target)
        return _call(target, body, ())
    refuse_untranslatable(request)
    dropped = left_out(request, *(("user",) if request.end_user else ()))
    parts = [_one(text, request) for text in request.inputs]
    if is_vertex(target):
        if len(parts) != 1:
            raise refusal("input", "one text per request")
        return _call(target, parts[0], dropped)
    model = model_path(target)[1:]
    return _call(target, {"requests": [{"model": model, **part} for part in parts]}, dropped)


def _call(target: Target, body: JsonObject, dropped: tuple[str, ...]) -> HttpRequest:
    method = "batchEmbedContents" if "requests" in body else "embedContent"
    return HttpRequest(f"{model_path(target)}:{method}", encode(body), _JSON, degraded=dropped)


def _one(text: str | tuple[int, ...], request: EmbeddingsRequest) -> JsonObject:
    if not isinstance(text, str):
        raise refusal("input", "token ids of another vendor's tokenizer")
    body: JsonObject = {"content": {"parts": [{"text": text}]}}
    if request.dimensions is not None:
        body["outputDimensionality"] = request.dimensions
    return body


def _renamed(body: JsonObject, target: Target) -> JsonObject:
    """The client's own name of the model, wherever it stands, becomes the provider's."""
    model = model_path(target)[1:]
    body.pop("model", None)
    if "requests" in body:
        body["requests"] = [{**one, "model": model} for one in body["requests"]]
    return body


def parse_embeddings(request: EmbeddingsRequest, response: HttpResponse) -> EmbeddingsResponse:
    """Raises ``InvalidBody`` unless there is one vector per input. Only some answers tell usage."""
    body = decode_object(response.body)
    error = error_in_success(body, ERRORS)
    if error is not None:
        raise error
    rows = list_at(body, "embeddings") or [object_at(body, "embedding")]
    vectors = tuple(_vector(row) for row in rows)
    if not all(vectors) or len(vectors) != len(request.inputs):
        raise InvalidBody(f"not one vector per input: {snippet(response.body)}")
    usage = parse_usage(object_at(body, "usageMetadata"))
    tokens = usage.total_input_tokens
    return EmbeddingsResponse(
        model="",
        vectors=vectors,
        usage=TokenUsage(input_tokens=tokens, output_tokens=0) if tokens is not None else TokenUsage(),
        wire=Wire.GEMINI,
        body=response.body,
    )


def _vector(row: Any) -> tuple[float, ...]:
    return tuple(float(value) for value in list_at(row, "values") if isinstance(value, (int, float)))
