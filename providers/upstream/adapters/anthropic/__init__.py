"""Anthropic's Messages."""

from __future__ import annotations

from providers.upstream.adapters.anthropic.adapter import AnthropicAdapter

__all__ = ["AnthropicAdapter"]
