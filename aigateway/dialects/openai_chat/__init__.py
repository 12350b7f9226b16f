"""OpenAI's Chat Completions, and Mistral's variant of it."""

from __future__ import annotations

from aigateway.dialects.openai_chat.answer import signature_out
from aigateway.dialects.openai_chat.dialect import OpenAIChat, image_part
from aigateway.dialects.openai_chat.shapes import ResponseFormatIn, ToolIn

__all__ = ["OpenAIChat", "ResponseFormatIn", "ToolIn", "image_part", "signature_out"]
