"""What a caller may ask for: every name once, for the listings of all formats (R105)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from providers.upstream.errors import ModelUnknown
from providers.upstream.routing import is_barred, names_for
from providers.upstream.types import Capability, NameList, Snapshot, Target, allows


@dataclass(frozen=True, slots=True)
class Reach:
    """What a caller may use: the models its key allows, without those that need a tier it has not subscribed to."""

    allowed: NameList | None = None
    barred_tiers: frozenset[str] = frozenset()

    def includes(self, target: Target) -> bool:
        return allows(self.allowed, target.name, target.address) and not is_barred(target, self.barred_tiers)


@dataclass(frozen=True, slots=True)
class ListedModel:
    """One name. A route has no figures of its own: its targets may differ."""

    name: str
    owner: str
    display_name: str
    context_window_tokens: int | None = None
    max_output_tokens: int | None = None
    capabilities: frozenset[Capability] = frozenset()


def listed_models(snapshot: Snapshot, reach: Reach) -> tuple[ListedModel, ...]:
    """Routes, then models; each name once."""
    return tuple(_listed(snapshot, name, owner) for name, owner in names_for(snapshot, reach.allowed, reach.barred_tiers))


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


def find_model(snapshot: Snapshot, reach: Reach, name: str) -> ListedModel:
    """By its name or its address ``provider/model``. Raises ``ModelUnknown`` for what does not exist or may not be used."""
    found = next((model for model in listed_models(snapshot, reach) if model.name == name), None)
    found = found or next(_addressed(snapshot, reach, name), None)
    if found is None:
        raise ModelUnknown(name)
    return found


def _addressed(snapshot: Snapshot, reach: Reach, name: str) -> Iterator[ListedModel]:
    for target in snapshot.targets.values():
        if target.address == name and reach.includes(target):
            yield _of_target(name, target)
