"""Judges model lists, embeddings and token counts."""

from __future__ import annotations

import base64
import struct
from typing import Any

from providers.upstream.adapters import Adapter
from providers.upstream.types import EmbeddingsRequest
from tests.conformance.answers import http_response
from tests.conformance.exchange import Exchange
from tests.conformance.heard import whole
from tests.conformance.json_text import parsed
from tests.conformance.route import Way
from tests.conformance.verdict import Difference, expect


def judge_models(exchange: Exchange, adapter: Adapter) -> None:
    """The names, in their order; a row without a name is none."""
    listings, _ = adapter.parse_models(http_response(exchange))
    expect("models", _names(parsed(exchange.body)), [listing.name for listing in listings])


def _names(body: Any) -> list[str]:
    rows = body if isinstance(body, list) else body.get("data") or body.get("models") or body.get("publisherModels") or []
    names = (row.get("id") or row.get("name") or row.get("model") or "" for row in rows if isinstance(row, dict))
    return [name.rpartition("/models/")[2].removeprefix("models/") for name in names if name]


def judge_count(exchange: Exchange, adapter: Adapter) -> None:
    body = parsed(exchange.body)
    expect(
        "input_tokens", body.get("input_tokens", body.get("totalTokens")), adapter.parse_count_tokens(http_response(exchange)).input_tokens
    )


def judge_vectors(exchange: Exchange, way: Way, adapter: Adapter) -> None:
    """Every vector in the order of the inputs, and the tokens where the provider counts them."""
    body = parsed(exchange.body)
    vectors = _vectors(body)
    request = EmbeddingsRequest(model="any", inputs=("x",) * len(vectors), body_bytes=0)
    response = adapter.parse_embeddings(request, http_response(exchange))
    expect("vectors.length", len(vectors), len(response.vectors))
    for index, (known, vector) in enumerate(zip(vectors, response.vectors, strict=True)):
        expect(f"vectors[{index}].length", len(known), len(vector))
        for place, (one, other) in enumerate(zip(known, vector, strict=True)):
            if abs(one - other) > 1e-6 * max(1.0, abs(one)):
                raise Difference(f"vectors[{index}][{place}]", one, other)
    expect("usage.input_tokens", _tokens(body), response.usage.total_input_tokens)


def _vectors(body: Any) -> list[list[float]]:
    if "data" in body:
        rows = sorted(body["data"], key=lambda row: whole(row.get("index")))
        return [_vector(row["embedding"]) for row in rows]
    if "embeddings" in body:
        found = body["embeddings"]
        if isinstance(found, dict):  # Cohere: by type
            found = found.get("float") or found.get("float_") or []
        return [item["values"] if isinstance(item, dict) else item for item in found]
    one = body["embedding"]
    return [one["values"] if isinstance(one, dict) else one]


def _vector(value: Any) -> list[float]:
    if isinstance(value, str):
        raw = base64.b64decode(value)
        return list(struct.unpack(f"<{len(raw) // 4}f", raw))
    return value


def _tokens(body: Any) -> int | None:
    usage = body.get("usage") or {}
    counts = (
        usage.get("prompt_tokens"),
        usage.get("total_tokens"),
        (body.get("usageMetadata") or {}).get("promptTokenCount"),
        body.get("prompt_eval_count"),
        ((body.get("meta") or {}).get("billed_units") or {}).get("input_tokens"),
    )
    return next((int(count) for count in counts if count is not None), None)
