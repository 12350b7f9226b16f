"""What the stored entitlements of a user say, for listings of the control plane: it asks no endpoint."""

from __future__ import annotations

from datetime import UTC, datetime

from django.conf import settings

from providers.models import ManagedPreset
from usage.subscriptions import Verdict, entitlements_of, judge


def barred_tiers(user_id: int) -> frozenset[str]:
    """The tiers of presets that the user has not subscribed to. Where an endpoint may know better, none is barred: it is asked
    when a request comes."""
    if settings.SUBSCRIPTION_ENDPOINT_URL:
        return frozenset()
    tiers = {*ManagedPreset.objects.exclude(required_tier="").values_list("required_tier", flat=True)}
    records = entitlements_of(user_id) if tiers else ()
    return frozenset(tier for tier in tiers if judge(records, tier, datetime.now(UTC)) is not Verdict.ENTITLED)
