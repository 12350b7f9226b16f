"""Every write to entitlements. Each owns its transaction, announces itself and is audited."""

from __future__ import annotations

from django.contrib.auth import get_user_model
from django.db import transaction

from providers.audit import Actor, audited
from providers.models import ConfigVersion
from usage.errors import ActionRefused
from usage.models import Entitlement
from usage.subscriptions.events import SubscriptionEvent

WEBHOOK = Actor(None, is_superuser=True, by="webhook of the payment service")


def save_entitlement(entitlement: Entitlement) -> Entitlement:
    """Gives a subscription or changes it, at once and everywhere."""
    with transaction.atomic():
        entitlement.save()
        ConfigVersion.bump(f"user:{entitlement.user_id}")
    return entitlement


def delete_entitlement(entitlement: Entitlement) -> None:
    with transaction.atomic():
        user_id = entitlement.user_id
        entitlement.delete()
        ConfigVersion.bump(f"user:{user_id}")


def apply_subscription_event(event: SubscriptionEvent) -> bool:
    """Stores what a payment service said; ``False`` when something newer is known already.

    Events come late, twice and out of order; the newest one by the service's own clock decides. Raises ``ActionRefused``
    when the event names nobody we know.
    """
    with transaction.atomic(), audited(WEBHOOK):
        known = Entitlement.objects.select_for_update().filter(subscription_id=event.subscription_id).first()
        entitlement = known or _entitlement_for(event)
        if entitlement.last_event_at is not None and event.occurred_at < entitlement.last_event_at:
            return False
        entitlement.status = event.status
        entitlement.expires_at = event.expires_at
        entitlement.subscription_id = event.subscription_id
        entitlement.last_event_at = event.occurred_at
        entitlement.save()
        ConfigVersion.bump(f"user:{entitlement.user_id}")
    return True


def _entitlement_for(event: SubscriptionEvent) -> Entitlement:
    if not event.tier:
        raise ActionRefused("metadata.tier: the subscription names no tier.")
    user = get_user_model().objects.filter(username=event.username).first() if event.username else None
    if user is None:
        raise ActionRefused("metadata.user: the subscription names no user of this gateway.")
    return Entitlement.objects.select_for_update().filter(user_id=user.pk, tier=event.tier).first() or Entitlement(
        user_id=user.pk, tier=event.tier
    )
