"""Which adapter, which kind of call and which client format belong to a recording: by provider, api and path."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from providers.catalog import KINDS
from providers.upstream.types import Wire
from tests.conformance.exchange import Exchange


class Operation(StrEnum):
    CHAT = "chat"
    EMBEDDINGS = "embeddings"
    COUNT_TOKENS = "count_tokens"
    MODELS = "models"
    NOT_OFFERED = "not offered"


@dataclass(frozen=True, slots=True)
class Way:
    """``wire`` names the adapter. ``kind`` is the catalogue row whose peculiarities apply.

    ``is_asked``: the gateway sends requests there; otherwise only what such answers mean can be judged.
    """

    kind: str
    wire: Wire
    operation: Operation
    is_asked: bool = True


_PLAIN_KIND = "openai_compatible"
_KIND_OF_PROVIDER = {"gemini": "gemini", "vertex": "gemini", "tgi": "huggingface"}
_CHAT_WIRES = {
    "chat.completions": Wire.OPENAI_CHAT,
    "responses": Wire.OPENAI_RESPONSES,
    "messages": Wire.ANTHROPIC_MESSAGES,
    "vertex.rawPredict": Wire.ANTHROPIC_MESSAGES,
    "vertex.streamRawPredict": Wire.ANTHROPIC_MESSAGES,
    "generateContent": Wire.GEMINI,
    "streamGenerateContent": Wire.GEMINI,
    "ollama.chat": Wire.OLLAMA,
    "cohere.chat": Wire.COHERE,
    "cohere.generate": Wire.COHERE,
    "ollama.generate": Wire.OLLAMA,
    "tgi.generate": Wire.TEXT_GENERATION,
}
_EMBEDDING_WIRES = {
    "embeddings": Wire.OPENAI_CHAT,
    "batchEmbedContents": Wire.GEMINI,
    "embedContent": Wire.GEMINI,
    "ollama.embed": Wire.OLLAMA,
    "ollama.embeddings": Wire.OLLAMA,
    "cohere.embed": Wire.COHERE,
}
# Older or foreign doors to a wire format: what they answer is understood, but another path is asked.
_NEVER_ASKED = frozenset({"cohere.generate", "ollama.generate", "ollama.embeddings", "vertex.rawPredict", "vertex.streamRawPredict"})
_COUNT_WIRES = {"messages.count_tokens": Wire.ANTHROPIC_MESSAGES, "countTokens": Wire.GEMINI}
# The wire whose adapter reads errors and model lists of a provider.
_HOME_WIRES = {
    "anthropic": Wire.ANTHROPIC_MESSAGES,
    "gemini": Wire.GEMINI,
    "vertex": Wire.GEMINI,
    "ollama": Wire.OLLAMA,
    "cohere": Wire.COHERE,
}
# Of the task endpoint only text generation has an adapter; the features tell it from the other tasks by the shape of the answer.
_TASK_API = "hf.task"


def way_of(exchange: Exchange) -> Way:
    kind = _kind(exchange)
    api, path = exchange.api, exchange.path.partition("?")[0]
    is_asked = api not in _NEVER_ASKED and not (api.startswith("cohere.") and "/v1/" in path)
    if exchange.is_stream and exchange.is_success and api.startswith("cohere.") and "/v1/" in path:
        return Way(kind, Wire.COHERE, Operation.NOT_OFFERED)  # events of another form, which nobody asks for
    if api in _CHAT_WIRES:
        return Way(kind, _CHAT_WIRES[api], Operation.CHAT, is_asked)
    if api in _EMBEDDING_WIRES:
        return Way(kind, _EMBEDDING_WIRES[api], Operation.EMBEDDINGS, is_asked)
    if api in _COUNT_WIRES:
        return Way(kind, _COUNT_WIRES[api], Operation.COUNT_TOKENS)
    home = Wire.TEXT_GENERATION if api == _TASK_API else _HOME_WIRES.get(exchange.provider, Wire.OPENAI_CHAT)
    if api == "models.list":
        home = Wire.OPENAI_CHAT if "/openai/" in path or (path == "/v1/models" and home is Wire.OLLAMA) else home
        return Way(kind, home, Operation.MODELS)
    if api == _TASK_API and _generates_text(exchange):
        return Way("huggingface_endpoint", home, Operation.CHAT)
    return Way(kind, home, Operation.NOT_OFFERED)


def _generates_text(exchange: Exchange) -> bool:
    return exchange.is_stream or b'"generated_text"' in exchange.body[:4096] or "error_in_200" in exchange.features


def _kind(exchange: Exchange) -> str:
    if exchange.api == "tgi.generate":
        return "huggingface_endpoint"
    if exchange.api == "chat.completions":
        if exchange.provider in ("gemini", "vertex"):
            return "gemini_openai"
        if exchange.provider in ("anthropic", "cohere"):
            return _PLAIN_KIND  # their compatible doors have no row of their own
    slug = exchange.vendor if exchange.provider == "openai_compatible" else exchange.provider
    slug = _KIND_OF_PROVIDER.get(slug, slug)
    return slug if slug in KINDS else _PLAIN_KIND
