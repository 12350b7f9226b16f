"""OpenAI's embeddings (https://platform.openai.com/docs/api-reference/embeddings) and hosts compatible with them."""

from __future__ import annotations

import base64
import binascii
import struct
from typing import Any

from providers.upstream.adapters.error_rules import error_in_success
from providers.upstream.adapters.json_values import count_at, decode_object, list_at, object_at, text_at
from providers.upstream.adapters.reported_cost import with_reported_cost
from providers.upstream.adapters.translation import refuse_untranslatable
from providers.upstream.adapters.vectors import vectors_of
from providers.upstream.errors import InvalidBody
from providers.upstream.types import EmbeddingsRequest, EmbeddingsResponse, HttpResponse, JsonObject, Target, TokenUsage, Wire

_OWN_NAMES = {"mistral": {"dimensions": "output_dimension"}}
"""By provider kind (https://docs.mistral.ai/api/#tag/embeddings)."""


def render_embeddings_body(request: EmbeddingsRequest, target: Target) -> JsonObject:
    """The client's own body where it speaks this format, without nulls: vLLM refuses them (U33)."""
    if request.source is not None and request.source.wire is Wire.OPENAI_EMBEDDINGS:
        sent = {name: value for name, value in request.source.body.items() if value is not None}
        return _named(target, {**sent, "model": target.upstream_model})
    refuse_untranslatable(request)
    body: JsonObject = {"model": target.upstream_model, "input": list(request.inputs), "encoding_format": "float"}
    if request.dimensions is not None:
        body["dimensions"] = request.dimensions
    if request.end_user is not None:
        body["user"] = request.end_user
    return _named(target, body)


def _named(target: Target, body: JsonObject) -> JsonObject:
    names = _OWN_NAMES.get(target.provider.kind, {})
    return {names.get(name, name): value for name, value in body.items()}


def parse_embeddings(request: EmbeddingsRequest, response: HttpResponse) -> EmbeddingsResponse:
    """Raises ``InvalidBody`` unless every input has its vector."""
    body = decode_object(response.body)
    error = error_in_success(body)
    if error is not None:
        raise error
    usage = TokenUsage(input_tokens=count_at(object_at(body, "usage"), "prompt_tokens", "total_tokens"), output_tokens=0)
    rows = sorted(list_at(body, "data"), key=lambda row: count_at(row, "index") or 0)
    return EmbeddingsResponse(
        model=text_at(body, "model"),
        vectors=vectors_of([_numbers(row.get("embedding") if isinstance(row, dict) else None) for row in rows], len(request.inputs)),
        usage=with_reported_cost(usage, response.body),
        wire=Wire.OPENAI_EMBEDDINGS,
        body=response.body,
        id=text_at(body, "id"),
    )


def _numbers(vector: Any) -> Any:
    """Base64 holds 32-bit floats, little endian."""
    if not isinstance(vector, str):
        return vector
    try:
        packed = base64.b64decode(vector, validate=True)
        return list(struct.unpack(f"<{len(packed) // 4}f", packed))
    except (binascii.Error, ValueError, struct.error):
        raise InvalidBody("an embedding is no base64 of 32-bit floats") from None
