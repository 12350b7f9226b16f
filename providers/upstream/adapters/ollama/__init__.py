"""Ollama's own API."""

from __future__ import annotations

from providers.upstream.adapters.ollama.adapter import OllamaAdapter

__all__ = ["OllamaAdapter"]
