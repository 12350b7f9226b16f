"""What a caller may ask for, as Google's clients list it (https://ai.google.dev/api/models)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from aigateway.dialects.model_listings import ListedModel, Reach, find_model, listed_models
from aigateway.errors import invalid_request
from providers.upstream.types import Capability, Snapshot

_PAGE_DEFAULT = 50
_PAGE_MAX = 1000
_METHODS = (
    (Capability.CHAT, "generateContent"),
    (Capability.STREAM, "streamGenerateContent"),
    (Capability.COUNT_TOKENS, "countTokens"),
    (Capability.EMBEDDINGS, "embedContent"),
    (Capability.EMBEDDINGS, "batchEmbedContents"),
)


def gemini_listing(snapshot: Snapshot, reach: Reach, query: Mapping[str, str]) -> bytes:
    """One page by ``pageSize`` and ``pageToken`` (the name it goes on after). Raises ``GatewayError`` 400."""
    models = listed_models(snapshot, reach)
    start = 0
    if after := query.get("pageToken"):
        names = [model.name for model in models]
        if after not in names:
            raise invalid_request("pageToken: there is no such page.", param="pageToken")
        start = names.index(after) + 1
    size = _page_size(query.get("pageSize") or str(_PAGE_DEFAULT))
    page = models[start : start + size]
    body: dict[str, Any] = {"models": [_model(snapshot, model) for model in page]}
    if start + size < len(models):
        body["nextPageToken"] = page[-1].name
    return msgspec.json.encode(body)


def _page_size(text: str) -> int:
    """Google answers a larger page than its maximum with the maximum."""
    if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text) > 0):
        raise invalid_request(f"pageSize: use a number from 1 to {_PAGE_MAX}.", param="pageSize")
    return min(int(text), _PAGE_MAX)


def gemini_model(snapshot: Snapshot, reach: Reach, name: str) -> bytes:
    """Raises ``GatewayError`` 404 for what does not exist or may not be used."""
    return msgspec.json.encode(_model(snapshot, find_model(snapshot, reach, name)))


def _model(snapshot: Snapshot, model: ListedModel) -> dict[str, Any]:
    able = frozenset(_capabilities(snapshot, model.name))
    limits = {"inputTokenLimit": model.context_window_tokens, "outputTokenLimit": model.max_output_tokens}
    return {
        "name": f"models/{model.name}",
        "version": "",
        "displayName": model.display_name,
        "description": f"Served by {model.owner}.",
        **{name: limit for name, limit in limits.items() if limit is not None},
        "supportedGenerationMethods": [method for capability, method in _METHODS if capability in able],
    }


def _capabilities(snapshot: Snapshot, name: str) -> Iterator[Capability]:
    """What at least one target behind the name or address can do."""
    route = snapshot.routes.get(name)
    ids = {choice.target_id for choice in route.choices} if route is not None else set(snapshot.targets_by_name.get(name, ()))
    for target in snapshot.targets.values():
        if target.id in ids or target.address == name:
            yield from target.capabilities
