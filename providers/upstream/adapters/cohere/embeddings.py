"""Cohere's embeddings (https://docs.cohere.com/reference/embed), answers of version 1 included."""

from __future__ import annotations

from providers.upstream.adapters.cohere.errors import ERRORS
from providers.upstream.adapters.error_rules import error_in_success
from providers.upstream.adapters.json_values import count_at, decode_object, object_at, text_at
from providers.upstream.adapters.translation import refusal, refuse_untranslatable
from providers.upstream.adapters.vectors import vectors_of
from providers.upstream.types import EmbeddingsRequest, EmbeddingsResponse, HttpResponse, JsonObject, Target, TokenUsage, Wire

TEXTS_MAX = 96
INPUT_TYPE = "search_document"
"""The API demands to know what a vector is for, and the client's format has no place for it: texts to be stored and searched."""


def render_embeddings_body(request: EmbeddingsRequest, target: Target) -> JsonObject:
    """``truncate`` is off: an input that is too long is refused instead of cut."""
    refuse_untranslatable(request)
    if any(not isinstance(text, str) for text in request.inputs):
        raise refusal("input", "lists of token ids")
    if len(request.inputs) > TEXTS_MAX:
        raise refusal("input", f"at most {TEXTS_MAX} texts per request")
    body: JsonObject = {
        "model": target.upstream_model,
        "texts": list(request.inputs),
        "input_type": INPUT_TYPE,
        "embedding_types": ["float"],
        "truncate": "NONE",
    }
    if request.dimensions is not None:
        body["output_dimension"] = request.dimensions
    return body


def parse_embeddings(request: EmbeddingsRequest, response: HttpResponse) -> EmbeddingsResponse:
    body = decode_object(response.body)
    error = error_in_success(body, ERRORS)
    if error is not None:
        raise error
    rows = body.get("embeddings")
    return EmbeddingsResponse(
        model="",
        vectors=vectors_of(rows.get("float") if isinstance(rows, dict) else rows, len(request.inputs)),
        usage=TokenUsage(
            input_tokens=count_at(object_at(object_at(body, "meta"), "billed_units"), "input_tokens"),
            output_tokens=0,
        ),
        wire=Wire.COHERE,
        body=response.body,
        id=text_at(body, "id"),
    )
