"""What a caller may ask for, as OpenAI's clients list it (https://platform.openai.com/docs/api-reference/models).

A model's release date is known to neither the gateway nor most providers: ``created`` is 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from aigateway.dialects.model_listings import ListedModel
from providers.upstream.types import Capability

_MISTRAL_NAMES = {
    "completion_chat": Capability.CHAT,
    "function_calling": Capability.TOOLS,
    "vision": Capability.VISION,
    "reasoning": Capability.REASONING,
}


def openai_listing(models: Sequence[ListedModel]) -> bytes:
    return msgspec.json.encode({"object": "list", "data": [_openai(model) for model in models]})


def openai_model(model: ListedModel) -> bytes:
    return msgspec.json.encode(_openai(model))


def _openai(model: ListedModel) -> dict[str, Any]:
    """OpenAI's four fields, and what Mistral's client wants to know besides (https://docs.mistral.ai/api/#tag/models)."""
    row: dict[str, Any] = {"id": model.name, "object": "model", "created": 0, "owned_by": model.owner, "type": "base"}
    if model.context_window_tokens is not None:
        row["max_context_length"] = model.context_window_tokens
    return row | {"capabilities": {name: capability in model.capabilities for name, capability in _MISTRAL_NAMES.items()}}
