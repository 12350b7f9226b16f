"""One adapter per upstream wire format: pure data in, data out."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from providers.upstream.adapters.anthropic import AnthropicAdapter
from providers.upstream.adapters.base import Adapter, EventParser, StreamParser, credential_headers
from providers.upstream.adapters.cohere import CohereAdapter
from providers.upstream.adapters.gemini import GeminiAdapter
from providers.upstream.adapters.ollama import OllamaAdapter
from providers.upstream.adapters.openai import OpenAIAdapter
from providers.upstream.adapters.responses import ResponsesAdapter
from providers.upstream.adapters.text_generation import TextGenerationAdapter
from providers.upstream.types import InferenceRequest, ProviderSpec, Wire

ADAPTERS: Mapping[Wire, Adapter] = MappingProxyType(
    {
        adapter.wire: adapter
        for adapter in (
            OpenAIAdapter(),
            ResponsesAdapter(),
            AnthropicAdapter(),
            GeminiAdapter(),
            OllamaAdapter(),
            CohereAdapter(),
            TextGenerationAdapter(),
        )
    }
)


def adapter_for(provider: ProviderSpec, request: InferenceRequest) -> tuple[Adapter, str]:
    """The adapter for this call and the path prefix below the base URL: the client's own wire format wherever the service
    speaks it, so that nothing needs translating; else the provider's first one."""
    source = request.source
    if source is not None and source.wire is not provider.adapter and source.wire in provider.also_speaks and source.wire in ADAPTERS:
        return ADAPTERS[source.wire], provider.also_speaks[source.wire]
    return ADAPTERS[provider.adapter], ""


__all__ = ["ADAPTERS", "Adapter", "EventParser", "StreamParser", "adapter_for", "credential_headers"]
