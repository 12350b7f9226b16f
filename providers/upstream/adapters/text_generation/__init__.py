"""Hugging Face's text generation."""

from __future__ import annotations

from providers.upstream.adapters.text_generation.adapter import TextGenerationAdapter

__all__ = ["TextGenerationAdapter"]
