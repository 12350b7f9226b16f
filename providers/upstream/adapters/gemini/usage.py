"""What Gemini counts (https://ai.google.dev/api/generate-content#UsageMetadata)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from providers.upstream.adapters.json_values import count_at, list_at, text_at
from providers.upstream.types import JsonObject, TokenUsage


def parse_usage(usage: JsonObject) -> TokenUsage:
    """Cached tokens are inside the prompt, thoughts outside the candidates, the prompts of server-side tools outside the
    prompt but inside the total (wire.md, section 3). Counts that are zero are left out by the provider."""
    prompt = count_at(usage, "promptTokenCount")
    output = count_at(usage, "candidatesTokenCount")
    if output is None and (prompt is not None or count_at(usage, "totalTokenCount") is not None):
        output = 0
    cached = count_at(usage, "cachedContentTokenCount")
    audio_in, image_in = _uncached(usage, "AUDIO"), _uncached(usage, "IMAGE")
    audio_out = _tokens_of(usage, "candidatesTokensDetails", "AUDIO")
    tool_prompt = count_at(usage, "toolUsePromptTokenCount") or 0
    return TokenUsage(
        input_tokens=None if prompt is None else _without(prompt, cached, audio_in, image_in) + tool_prompt,
        cache_read_tokens=None if cached is None or prompt is None else min(cached, prompt),
        output_tokens=None if output is None else _without(output, audio_out),
        reasoning_tokens=count_at(usage, "thoughtsTokenCount"),
        audio_input_tokens=audio_in,
        audio_output_tokens=audio_out,
        image_input_tokens=image_in,
    )


def _without(total: int, *parts: int | None) -> int:
    return max(0, total - sum(part or 0 for part in parts))


def _uncached(usage: JsonObject, modality: str) -> int | None:
    """The prompt's tokens of a modality; those the cache held are counted, and billed, as cached."""
    tokens = _tokens_of(usage, "promptTokensDetails", modality)
    return None if tokens is None else max(0, tokens - (_tokens_of(usage, "cacheTokensDetails", modality) or 0))


def _tokens_of(usage: JsonObject, details: str, modality: str) -> int | None:
    rows: Sequence[Any] = list_at(usage, details)
    return next((count_at(row, "tokenCount") for row in rows if text_at(row, "modality") == modality), None)
