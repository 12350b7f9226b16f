"""OpenAI's Responses."""

from __future__ import annotations

from providers.upstream.adapters.responses.adapter import ResponsesAdapter
from providers.upstream.adapters.responses.request import SIGNED_BY_OTHERS

__all__ = ["SIGNED_BY_OTHERS", "ResponsesAdapter"]
