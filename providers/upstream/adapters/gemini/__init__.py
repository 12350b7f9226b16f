"""Google's Gemini API, on AI Studio and Vertex."""

from __future__ import annotations

from providers.upstream.adapters.gemini.adapter import GeminiAdapter

__all__ = ["GeminiAdapter"]
