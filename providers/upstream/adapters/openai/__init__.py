"""OpenAI's Chat Completions and Embeddings, and everybody who speaks them."""

from __future__ import annotations

from providers.upstream.adapters.openai.adapter import OpenAIAdapter
from providers.upstream.adapters.openai.message import arguments_text

__all__ = ["OpenAIAdapter", "arguments_text"]
