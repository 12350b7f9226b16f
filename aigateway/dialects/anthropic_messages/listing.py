"""What a caller may ask for, as Anthropic's clients list it (https://docs.anthropic.com/en/api/models-list).

A model's release date is known to neither the gateway nor most providers: ``created_at`` is the epoch, which is what
Anthropic's reference says for an unknown date.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from aigateway.dialects.model_listings import ListedModel
from aigateway.errors import invalid_request

_UNKNOWN_DATE = "1970-01-01T00:00:00Z"
_PAGE_DEFAULT = 20
_PAGE_MAX = 1000


def anthropic_listing(models: Sequence[ListedModel], query: Mapping[str, str]) -> bytes:
    """One page by ``limit`` and ``after_id`` or ``before_id``. Raises ``GatewayError`` 400 for a limit that is none."""
    page, has_more = _page(models, query)
    return msgspec.json.encode(
        {
            "data": [_anthropic(model) for model in page],
            "has_more": has_more,
            "first_id": page[0].name if page else None,
            "last_id": page[-1].name if page else None,
        }
    )


def anthropic_model(model: ListedModel) -> bytes:
    return msgspec.json.encode(_anthropic(model))


def _page(models: Sequence[ListedModel], query: Mapping[str, str]) -> tuple[Sequence[ListedModel], bool]:
    text = query.get("limit") or str(_PAGE_DEFAULT)
    limit = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0
    if not 1 <= limit <= _PAGE_MAX:
        raise invalid_request(f"limit: use a number from 1 to {_PAGE_MAX}.", param="limit")
    before, after = query.get("before_id"), query.get("after_id")
    if before:
        rest = models[: _position(models, before, "before_id")]
        return rest[-limit:], len(rest) > limit
    rest = models[_position(models, after, "after_id") + 1 :] if after else models
    return rest[:limit], len(rest) > limit


def _position(models: Sequence[ListedModel], name: str, param: str) -> int:
    for position, model in enumerate(models):
        if model.name == name:
            return position
    raise invalid_request(f"{param}: there is no such model in the list.", param=param)


def _anthropic(model: ListedModel) -> dict[str, Any]:
    return {
        "type": "model",
        "id": model.name,
        "display_name": model.display_name,
        "created_at": _UNKNOWN_DATE,
        "lifecycle": "active",
        "max_input_tokens": model.context_window_tokens,
        "max_tokens": model.max_output_tokens,
    }
