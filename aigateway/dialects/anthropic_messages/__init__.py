"""Anthropic's Messages."""

from __future__ import annotations

from aigateway.dialects.anthropic_messages.dialect import AnthropicCountTokens, AnthropicMessages

__all__ = ["AnthropicCountTokens", "AnthropicMessages"]
