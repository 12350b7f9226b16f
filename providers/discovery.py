"""Asks a provider for its models and stores what it says: the network first, then one transaction."""

from __future__ import annotations

from providers import actions
from providers.audit import Actor
from providers.client import list_models
from providers.models import Provider
from providers.registry import provider_spec


def import_from_provider(provider_id: int, actor: Actor, *, shares_names: bool = False) -> actions.ImportReport:
    """Imports models and prices; ``shares_names`` lets its models answer for names of other providers too.

    Raises ``UpstreamError`` when the provider cannot be asked; then nothing is stored."""
    provider = Provider.objects.prefetch_related("credentials").get(pk=provider_id, deleted_at=None)
    listings = list_models(provider_spec(provider))
    return actions.import_models(provider_id, listings, actor, shares_names=shares_names)
