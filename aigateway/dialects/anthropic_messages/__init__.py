"""Anthropic's Messages."""

from __future__ import annotations

from aigateway.dialects.anthropic_messages.dialect import AnthropicCountTokens, AnthropicMessages
from aigateway.dialects.anthropic_messages.listing import anthropic_listing, anthropic_model

__all__ = ["AnthropicCountTokens", "AnthropicMessages", "anthropic_listing", "anthropic_model"]
