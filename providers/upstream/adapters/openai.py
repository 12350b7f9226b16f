"""OpenAI chat completions, and every host that calls itself compatible with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from providers.upstream.adapters.base import Adapter, StreamParser
from providers.upstream.adapters.error_rules import error_in_success, error_of
from providers.upstream.adapters.json_values import count_at, decode_or_none, encode, list_at, object_at, snippet, text_at
from providers.upstream.adapters.openai_answer import OpenAIStreamParser, parse_answer
from providers.upstream.adapters.openai_request import render_body
from providers.upstream.adapters.retry_hints import rate_limit_state
from providers.upstream.errors import InvalidBody, UpstreamError
from providers.upstream.types import (
    Capability,
    ChatRequest,
    ChatResponse,
    HttpRequest,
    HttpResponse,
    JsonObject,
    ModelListing,
    RateLimitState,
    Target,
    Wire,
)

_JSON = {"content-type": "application/json"}

# Mistral's names for capabilities.
_MISTRAL_CAPABILITIES = {
    "completion_chat": (Capability.CHAT, Capability.STREAM),
    "function_calling": (Capability.TOOLS,),
    "vision": (Capability.VISION,),
}
# OpenRouter's names for parameters that stand for a capability.
_PARAMETER_CAPABILITIES = {
    "tools": Capability.TOOLS,
    "response_format": Capability.JSON_MODE,
    "structured_outputs": Capability.JSON_SCHEMA,
    "reasoning": Capability.REASONING,
}


class OpenAIAdapter(Adapter):
    """The base URL includes the version (``https://api.openai.com/v1``)."""

    wire = Wire.OPENAI_CHAT

    def render_chat(self, request: ChatRequest, target: Target) -> HttpRequest:
        return HttpRequest(path="/chat/completions", body=encode(render_body(request, target)), headers=_JSON)

    def parse_chat(self, response: HttpResponse) -> ChatResponse:
        return parse_answer(response)

    def stream_parser(self) -> StreamParser:
        return OpenAIStreamParser()

    def parse_error(self, response: HttpResponse) -> UpstreamError:
        return error_of(response)

    def render_models(self, cursor: str | None) -> HttpRequest:
        query = f"?after={quote(cursor, safe='')}" if cursor else ""
        return HttpRequest(path=f"/models{query}", body=b"", method="GET")

    def parse_models(self, response: HttpResponse) -> tuple[tuple[ModelListing, ...], str | None]:
        body: Any = decode_or_none(response.body)
        if isinstance(body, dict):
            error = error_in_success(body)
            if error is not None:
                raise error
        rows = body if isinstance(body, list) else body.get("data") if isinstance(body, dict) else None
        if not isinstance(rows, list):
            raise InvalidBody(f"not a list of models: {snippet(response.body)}")
        return tuple(_listing(row) for row in rows if text_at(row, "id")), None

    def parse_rate_limit(self, headers: Mapping[str, str]) -> RateLimitState | None:
        return rate_limit_state(headers)


def _listing(row: JsonObject) -> ModelListing:
    top_provider = object_at(row, "top_provider")
    window = count_at(row, "context_window", "context_length", "max_context_length", "max_model_len")
    return ModelListing(
        name=text_at(row, "id"),
        display_name=text_at(row, "display_name") or text_at(row, "name") or None,
        context_window_tokens=window or count_at(object_at(row, "meta"), "n_ctx", "n_ctx_train"),
        max_output_tokens=count_at(row, "max_completion_tokens", "max_output_tokens") or count_at(top_provider, "max_completion_tokens"),
        capabilities=_capabilities(row),
    )


def _capabilities(row: JsonObject) -> frozenset[Capability] | None:
    """What the listing itself claims; ``None`` when it claims nothing (OpenAI, DeepSeek, vLLM)."""
    mistral = object_at(row, "capabilities")
    parameters = list_at(row, "supported_parameters")
    if mistral:
        return frozenset(c for name, found in _MISTRAL_CAPABILITIES.items() if mistral.get(name) is True for c in found)
    if parameters:
        claimed = {c for name, c in _PARAMETER_CAPABILITIES.items() if name in parameters}
        if "image" in list_at(object_at(row, "architecture"), "input_modalities"):
            claimed.add(Capability.VISION)
        return frozenset(claimed | {Capability.CHAT, Capability.STREAM})
    return None
