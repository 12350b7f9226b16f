"""What a caller may ask for, as OpenAI's and as Anthropic's clients list it (R105).

A model's release date is known to neither the gateway nor most providers: ``created`` is 0 and ``created_at`` the epoch,
which is what Anthropic's reference says for an unknown date.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from aigateway.errors import invalid_request
from providers.upstream.errors import ModelUnknown
from providers.upstream.routing import names_for
from providers.upstream.types import Capability, Snapshot, Target

_UNKNOWN_DATE = "1970-01-01T00:00:00Z"
_PAGE_DEFAULT = 20
_MISTRAL_NAMES = {
    "completion_chat": Capability.CHAT,
    "function_calling": Capability.TOOLS,
    "vision": Capability.VISION,
    "reasoning": Capability.REASONING,
}
_PAGE_MAX = 1000


@dataclass(frozen=True, slots=True)
class ListedModel:
    """One name. A route has no figures of its own: its targets may differ."""

    name: str
    owner: str
    display_name: str
    context_window_tokens: int | None = None
    max_output_tokens: int | None = None
    capabilities: frozenset[Capability] = frozenset()


def listed_models(snapshot: Snapshot, allowed_models: frozenset[str] | None) -> tuple[ListedModel, ...]:
    """Routes, then models; each name once."""
    return tuple(_listed(snapshot, name, owner) for name, owner in names_for(snapshot, allowed_models))


def _listed(snapshot: Snapshot, name: str, owner: str) -> ListedModel:
    owned = (snapshot.targets[target_id] for target_id in snapshot.targets_by_name.get(name, ()) if target_id in snapshot.targets)
    target = next((target for target in owned if target.provider.slug == owner), None)
    if target is not None:
        return _of_target(name, target)
    return ListedModel(name, owner, name, capabilities=_common_capabilities(snapshot, name))


def _common_capabilities(snapshot: Snapshot, route: str) -> frozenset[Capability]:
    """What every target of a route can do."""
    choices = snapshot.routes[route].choices if route in snapshot.routes else ()
    targets = [snapshot.targets[choice.target_id] for choice in choices if choice.target_id in snapshot.targets]
    return frozenset.intersection(*(target.capabilities for target in targets)) if targets else frozenset()


def _of_target(name: str, target: Target) -> ListedModel:
    return ListedModel(
        name,
        target.provider.slug,
        target.display_name or target.name,
        target.context_window_tokens,
        target.max_output_tokens,
        target.capabilities,
    )


def find_model(snapshot: Snapshot, allowed_models: frozenset[str] | None, name: str) -> ListedModel:
    """By its name or its address ``provider/model``. Raises ``ModelUnknown`` for what does not exist or may not be used."""
    found = next((model for model in listed_models(snapshot, allowed_models) if model.name == name), None)
    found = found or next(_addressed(snapshot, allowed_models, name), None)
    if found is None:
        raise ModelUnknown(name)
    return found


def _addressed(snapshot: Snapshot, allowed_models: frozenset[str] | None, name: str) -> Iterator[ListedModel]:
    for target in snapshot.targets.values():
        if target.address == name and (allowed_models is None or allowed_models & {target.name, target.address}):
            yield _of_target(name, target)


# --------------------------------------------------------------------------- OpenAI


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


# --------------------------------------------------------------------------- Anthropic


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
