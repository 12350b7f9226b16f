"""May this caller use what a subscription pays for? Whatever cannot be known counts as no (fail closed)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from usage.models import Entitlement


class Verdict(StrEnum):
    """``ENTITLED``, or why not; the other values are error codes of the API."""

    ENTITLED = "entitled"
    REQUIRED = "subscription_required"
    EXPIRED = "subscription_expired"
    PAST_DUE = "subscription_past_due"
    NOT_ENTITLED = "plan_not_entitled"
    UNVERIFIABLE = "subscription_unverifiable"


@dataclass(frozen=True, slots=True)
class EntitlementRecord:
    """One subscription of a caller. ``expires_at is None`` lasts until it is canceled."""

    tier: str
    status: str
    expires_at: datetime | None


_ENTITLING = (Entitlement.Status.ACTIVE.value, Entitlement.Status.TRIALING.value)
"""A trial counts like a paid subscription until it ends."""


def entitlements_of(user_id: int) -> tuple[EntitlementRecord, ...]:
    rows = Entitlement.objects.filter(user_id=user_id)
    return tuple(EntitlementRecord(row.tier, row.status, row.expires_at) for row in rows)


def judge(records: Iterable[EntitlementRecord], tier: str, now: datetime) -> Verdict:
    """What ``records`` say about ``tier`` at ``now``. A status nobody knows entitles to nothing."""
    records = tuple(records)
    if not records:
        return Verdict.REQUIRED
    record = next((record for record in records if record.tier == tier), None)
    if record is None:
        return Verdict.NOT_ENTITLED
    if record.status == Entitlement.Status.PAST_DUE:
        return Verdict.PAST_DUE
    if record.status not in _ENTITLING or (record.expires_at is not None and record.expires_at <= now):
        return Verdict.EXPIRED
    return Verdict.ENTITLED
