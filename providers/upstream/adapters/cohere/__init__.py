"""Cohere's Chat and Embed, version 2."""

from __future__ import annotations

from providers.upstream.adapters.cohere.adapter import CohereAdapter

__all__ = ["CohereAdapter"]
