"""Google's Gemini API."""

from __future__ import annotations

from aigateway.dialects.gemini.dialect import (
    GeminiArrayStream,
    GeminiBatchEmbed,
    GeminiCountTokens,
    GeminiEmbed,
    GeminiGenerate,
    GeminiStream,
)
from aigateway.dialects.gemini.listing import gemini_listing, gemini_model

__all__ = [
    "GeminiArrayStream",
    "GeminiBatchEmbed",
    "GeminiCountTokens",
    "GeminiEmbed",
    "GeminiGenerate",
    "GeminiStream",
    "gemini_listing",
    "gemini_model",
]
