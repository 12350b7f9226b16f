"""Gemini bodies that ask for vectors -> canonical requests (https://ai.google.dev/api/embeddings)."""

from __future__ import annotations

from typing import Any

import msgspec

from aigateway.dialects.base import Sent, check_number, field_error, parse_object
from aigateway.dialects.gemini.request import model_of, refuse_unlisted
from aigateway.dialects.gemini.shapes import ContentIn, EmbedIn, camel_cased
from aigateway.dialects.gemini.turns import TurnReader
from aigateway.errors import invalid_request
from providers.upstream.types import EmbeddingsRequest, SourceBody, TextPart, Wire

_MAX_INPUTS = 2_048
_EMBED_KNOWN = frozenset(EmbedIn.__struct_encode_fields__)
_EMBED_WIRE_ONLY = frozenset({"taskType", "title", "embedContentConfig", "autoTruncate"})


def parse_embed(body: bytes, sent: Sent, *, batch: bool) -> EmbeddingsRequest:
    """Raises ``GatewayError`` (400) naming the field."""
    decoded = parse_object(body)
    fields = camel_cased(decoded)
    if batch:
        refuse_unlisted(fields, frozenset({"requests", "model"}), "")
        rows = fields.get("requests")
        if not isinstance(rows, list) or not 1 <= len(rows) <= _MAX_INPUTS:
            raise invalid_request(f"requests: send 1 to {_MAX_INPUTS} requests.", param="requests")
        places = [(f"requests[{index}].", row) for index, row in enumerate(rows)]
    else:
        places = [("", fields)]
    reader = TurnReader()
    asked = [_embed(where, row, sent, reader) for where, row in places]
    sizes = {one.output_dimensionality for one in asked}
    if len(sizes) > 1:
        reader.wire_only.add("outputDimensionality")
    return EmbeddingsRequest(
        model=model_of(sent, None),
        inputs=tuple(_text_of(where, one.content, reader) for (where, _), one in zip(places, asked, strict=True)),
        body_bytes=len(body),
        dimensions=sizes.pop(),
        wire_only=frozenset(reader.wire_only),
        hints=frozenset(reader.hints),
        source=SourceBody(Wire.GEMINI, decoded),
    )


def _embed(where: str, row: Any, sent: Sent, reader: TurnReader) -> EmbedIn:
    given = {name: value for name, value in row.items() if value is not None} if isinstance(row, dict) else row
    try:
        typed = msgspec.convert(given, EmbedIn)
    except msgspec.ValidationError as error:
        raise field_error(str(error), where.rstrip(".")) from None
    refuse_unlisted(given, _EMBED_KNOWN | _EMBED_WIRE_ONLY, where)
    model_of(sent, typed.model)
    check_number(f"{where}outputDimensionality", typed.output_dimensionality, 1, 100_000)
    reader.wire_only.update(name for name in _EMBED_WIRE_ONLY if given.get(name))
    reader.note(f"{where}content", given["content"], ContentIn)
    return typed


def _text_of(where: str, content: ContentIn, reader: TurnReader) -> str:
    parts = reader.parts(f"{where}content", content)
    if not parts:
        raise invalid_request(f"{where}content.parts: send a text.", param=f"{where}content.parts")
    texts = [part.text for part in parts if isinstance(part, TextPart)]
    if len(texts) < len(parts):
        reader.wire_only.add(f"{where}content.parts")
    return "".join(texts)
