"""OpenAI's Chat Completions, and Mistral's variant of it."""

from __future__ import annotations

from aigateway.dialects.openai_chat.answer import signature_out
from aigateway.dialects.openai_chat.dialect import OpenAIChat
from aigateway.dialects.openai_chat.listing import openai_listing, openai_model
from aigateway.dialects.openai_chat.shapes import ResponseFormatIn, ToolIn
from aigateway.dialects.openai_chat.turns import image_part

__all__ = ["OpenAIChat", "ResponseFormatIn", "ToolIn", "image_part", "openai_listing", "openai_model", "signature_out"]
