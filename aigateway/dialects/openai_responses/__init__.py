"""OpenAI's Responses."""

from __future__ import annotations

from aigateway.dialects.openai_responses.dialect import OpenAIResponses

__all__ = ["OpenAIResponses"]
