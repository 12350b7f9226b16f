"""Ollama's embeddings: ``/api/embed``, and answers of the older ``/api/embeddings``."""

from __future__ import annotations

from providers.upstream.adapters.error_rules import error_in_success
from providers.upstream.adapters.json_values import count_at, decode_object, text_at
from providers.upstream.adapters.ollama.errors import ERRORS
from providers.upstream.adapters.translation import refusal, refuse_untranslatable
from providers.upstream.adapters.vectors import vectors_of
from providers.upstream.types import EmbeddingsRequest, EmbeddingsResponse, HttpResponse, JsonObject, Target, TokenUsage, Wire


def render_embeddings_body(request: EmbeddingsRequest, target: Target) -> JsonObject:
    """``truncate`` is off: an input that is too long is refused by the server instead of cut."""
    refuse_untranslatable(request)
    if any(not isinstance(text, str) for text in request.inputs):
        raise refusal("input", "lists of token ids")
    body: JsonObject = {"model": target.upstream_model, "input": list(request.inputs), "truncate": False}
    if request.dimensions is not None:
        body["dimensions"] = request.dimensions
    return body


def parse_embeddings(request: EmbeddingsRequest, response: HttpResponse) -> EmbeddingsResponse:
    body = decode_object(response.body)
    error = error_in_success(body, ERRORS)
    if error is not None:
        raise error
    rows = [body["embedding"]] if "embedding" in body else body.get("embeddings")
    return EmbeddingsResponse(
        model=text_at(body, "model"),
        vectors=vectors_of(rows, len(request.inputs)),
        usage=TokenUsage(input_tokens=count_at(body, "prompt_eval_count"), output_tokens=0),
        wire=Wire.OLLAMA,
        body=response.body,
    )
