"""Gemini's model list, and Vertex AI's (https://ai.google.dev/api/models)."""

from __future__ import annotations

from providers.upstream.adapters.error_rules import error_in_success
from providers.upstream.adapters.gemini.errors import ERRORS
from providers.upstream.adapters.json_values import count_at, decode_object, list_at, snippet, text_at
from providers.upstream.errors import InvalidBody
from providers.upstream.types import Capability, HttpResponse, JsonObject, ModelListing

# They generate images or speech, which is priced otherwise, or need a protocol of their own.
_NOT_CHAT = ("-image", "-tts", "-audio", "-live", "computer-use", "robotics")
_GEMINI_CAN = frozenset({Capability.TOOLS, Capability.VISION, Capability.JSON_MODE, Capability.JSON_SCHEMA})


def parse_models(response: HttpResponse) -> tuple[tuple[ModelListing, ...], str | None]:
    body = decode_object(response.body)
    error = error_in_success(body, ERRORS)
    if error is not None:
        raise error
    rows = body.get("models", body.get("publisherModels"))
    if not isinstance(rows, list):
        raise InvalidBody(f"not a list of models: {snippet(response.body)}")
    return tuple(_listing(row) for row in rows if text_at(row, "name")), text_at(body, "nextPageToken") or None


def _listing(row: JsonObject) -> ModelListing:
    name = text_at(row, "name")
    return ModelListing(
        name=name.rpartition("/models/")[2].removeprefix("models/"),
        display_name=text_at(row, "displayName") or None,
        context_window_tokens=count_at(row, "inputTokenLimit"),
        max_output_tokens=count_at(row, "outputTokenLimit"),
        capabilities=_capabilities(name, row),
    )


def _capabilities(name: str, row: JsonObject) -> frozenset[Capability] | None:
    """By the methods a model answers to; ``None`` where the listing names none (Vertex)."""
    methods = list_at(row, "supportedGenerationMethods")
    if not methods:
        return None
    found: set[Capability] = set()
    if "generateContent" in methods and not any(fragment in name for fragment in _NOT_CHAT):
        found |= {Capability.CHAT, Capability.STREAM} | (_GEMINI_CAN if "/gemini" in name else set())
        found |= {Capability.REASONING} if row.get("thinking") is True else set()
        found |= {Capability.COUNT_TOKENS} if "countTokens" in methods else set()
    if "embedContent" in methods:
        found.add(Capability.EMBEDDINGS)
    return frozenset(found)
