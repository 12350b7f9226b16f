"""The dialect of ``POST /v1/embeddings`` (https://platform.openai.com/docs/api-reference/embeddings)."""

from __future__ import annotations

import base64
import struct
from typing import Annotated, Literal

import msgspec

from aigateway.dialects.base import DEFAULT_CONTEXT, NOTHING_SENT, Call, Dialect, Explanation, Sent, StreamRenderer, decode, refuse_unknown
from aigateway.errors import invalid_request
from providers.upstream.types import EmbeddingsRequest, EmbeddingsResponse, InferenceResponse, SourceBody, Target, Wire

_INPUTS_MAX = 2048
_DIMENSIONS_MAX = 1_000_000
Token = Annotated[int, msgspec.Meta(ge=0)]


class EmbeddingsIn(msgspec.Struct):
    model: str
    input: str | list[str | Token | list[Token]]
    dimensions: Annotated[int, msgspec.Meta(ge=1, le=_DIMENSIONS_MAX)] | None = None
    encoding_format: Literal["float", "base64"] | None = None
    user: str | None = None
    input_type: str | None = None
    truncation: bool | None = None
    output_dtype: str | None = None
    output_dimension: Annotated[int, msgspec.Meta(ge=1, le=_DIMENSIONS_MAX)] | None = None


_KNOWN = frozenset(EmbeddingsIn.__struct_fields__)
# Fields of Voyage and Mistral (https://docs.voyageai.com/reference/embeddings-api, https://docs.mistral.ai/api/#tag/embeddings).
_WIRE_ONLY = ("input_type", "truncation", "output_dtype")


class OpenAIEmbeddings(Dialect):
    wire = Wire.OPENAI_EMBEDDINGS

    def parse(self, body: bytes, context: str | None, sent: Sent = NOTHING_SENT) -> Call:
        """Raises ``GatewayError`` (400) naming the field."""
        typed, decoded = decode(body, EmbeddingsIn)
        refuse_unknown(decoded, _KNOWN)
        _check(typed)
        request = EmbeddingsRequest(
            model=typed.model,
            inputs=_inputs(typed.input),
            body_bytes=len(body),
            dimensions=typed.dimensions or typed.output_dimension,
            end_user=typed.user or None,
            wire_only=frozenset(name for name in _WIRE_ONLY if getattr(typed, name) not in (None, "float")),
            source=SourceBody(Wire.OPENAI_EMBEDDINGS, decoded),
        )
        return Call(request, Wire.OPENAI_EMBEDDINGS, context=context or DEFAULT_CONTEXT)

    def render(self, response: InferenceResponse, explain: Explanation) -> bytes:
        """Same wire: the provider's own bytes. Otherwise the vectors in the encoding asked for; unknown usage is ``null``."""
        assert isinstance(response, EmbeddingsResponse)
        if response.wire is Wire.OPENAI_EMBEDDINGS:
            return response.body
        tokens = response.usage.total_input_tokens
        shown = _packed if explain.asked.get("encoding_format") == "base64" else tuple
        rows = [{"object": "embedding", "index": index, "embedding": shown(vector)} for index, vector in enumerate(response.vectors)]
        usage = None if tokens is None else {"prompt_tokens": tokens, "total_tokens": tokens}
        model = response.model or explain.target.upstream_model
        return msgspec.json.encode({"object": "list", "data": rows, "model": model, "usage": usage})

    def stream_renderer(self, call: Call, target: Target, wire: Wire) -> StreamRenderer:
        raise invalid_request("Embeddings do not stream.", param="stream")


def _check(typed: EmbeddingsIn) -> None:
    if None not in (typed.dimensions, typed.output_dimension) and typed.dimensions != typed.output_dimension:
        raise invalid_request("output_dimension: it is another name for 'dimensions'; send one of them.", param="output_dimension")
    if typed.encoding_format == "base64" and typed.output_dtype not in (None, "float"):
        raise invalid_request("output_dtype: only 'float' comes in base64; leave encoding_format out.", param="output_dtype")


def _packed(vector: tuple[float, ...]) -> str:
    """32-bit floats, little endian, in base64."""
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


def _inputs(value: str | list[str | int | list[int]]) -> tuple[str | tuple[int, ...], ...]:
    """A list of numbers is one input; anything else is one input per item."""
    if isinstance(value, str):
        return (value,)
    if not value or any(item == [] for item in value) or (len(value) > _INPUTS_MAX and not isinstance(value[0], int)):
        raise invalid_request(f"input: use 1 to {_INPUTS_MAX} texts or lists of tokens.", param="input")
    tokens = tuple(item for item in value if isinstance(item, int))
    if tokens and len(tokens) == len(value):
        return (tokens,)
    if tokens:
        raise invalid_request("input: use only texts, only lists of tokens or one list of tokens.", param="input")
    return tuple(item if isinstance(item, str) else tuple(item) for item in value if not isinstance(item, int))
