"""A payment service tells of subscriptions by signed webhook, in Stripe's form (https://docs.stripe.com/webhooks).

The signature is Stripe's scheme v1: ``Stripe-Signature: t=<unix time>,v1=<hex HMAC-SHA256 of "t.body">``.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec

from providers.text import is_plain
from usage.models import Entitlement

TOLERANCE_S = 300
"""How old a signed event may be: Stripe's own default, against replays."""

_STATUSES = {
    "active": Entitlement.Status.ACTIVE,
    "trialing": Entitlement.Status.TRIALING,
    "past_due": Entitlement.Status.PAST_DUE,
    "unpaid": Entitlement.Status.PAST_DUE,
    "canceled": Entitlement.Status.CANCELED,
    "incomplete": Entitlement.Status.CANCELED,
    "incomplete_expired": Entitlement.Status.CANCELED,
    "paused": Entitlement.Status.CANCELED,
}
EVENT_TYPES = frozenset({"customer.subscription.created", "customer.subscription.updated", "customer.subscription.deleted"})


class SignatureInvalid(Exception):
    """The event was not signed with our secret, or too long ago."""


class EventInvalid(Exception):
    """The event is signed and still cannot be used; the message says which field is wrong."""


@dataclass(frozen=True, slots=True)
class SubscriptionEvent:
    """What an event says of one subscription. ``username`` and ``tier`` are its metadata, empty when it has none."""

    subscription_id: str
    username: str
    tier: str
    status: Entitlement.Status
    expires_at: datetime | None
    occurred_at: datetime


def check_signature(body: bytes, header: str, secret: str, now_s: float) -> None:
    """Raises ``SignatureInvalid``. Several ``v1`` values are allowed: secrets are rolled that way."""
    pairs = [part.partition("=") for part in header.split(",")]
    sent_at = next((value for name, _, value in pairs if name.strip() == "t"), "")
    if not (sent_at.isascii() and sent_at.isdecimal() and len(sent_at) < 15):
        raise SignatureInvalid("no time")
    expected = hmac.new(secret.encode(), sent_at.encode() + b"." + body, hashlib.sha256).hexdigest()
    signatures = [value.encode() for name, _, value in pairs if name.strip() == "v1"]
    if not any(hmac.compare_digest(signature, expected.encode()) for signature in signatures):
        raise SignatureInvalid("no matching signature")
    if abs(now_s - int(sent_at)) > TOLERANCE_S:
        raise SignatureInvalid("too old")


def parse_event(body: bytes) -> SubscriptionEvent | None:
    """The event, ``None`` for types that say nothing about subscriptions. Raises ``EventInvalid``."""
    try:
        event = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise EventInvalid("The body is not JSON.") from None
    if not isinstance(event, dict) or event.get("type") not in EVENT_TYPES:
        return None
    found = event.get("data")
    subscription = found.get("object") if isinstance(found, dict) else None
    if not isinstance(subscription, dict) or not _text(subscription.get("id"), 200):
        raise EventInvalid("data.object.id: names no subscription.")
    metadata = subscription.get("metadata")
    labels = metadata if isinstance(metadata, dict) else {}
    occurred_at = _moment(event.get("created"))
    if occurred_at is None:
        raise EventInvalid("created: not a Unix time.")
    return SubscriptionEvent(
        subscription_id=subscription["id"],
        username=_text(labels.get("user"), 150),
        tier=_text(labels.get("tier"), 40),
        status=_status(event["type"], subscription.get("status")),
        expires_at=_period_end(subscription),
        occurred_at=occurred_at,
    )


def _status(event_type: str, status: Any) -> Entitlement.Status:
    """A status nobody knows entitles to nothing."""
    if event_type == "customer.subscription.deleted" or not isinstance(status, str):
        return Entitlement.Status.CANCELED
    return _STATUSES.get(status, Entitlement.Status.CANCELED)


def _period_end(subscription: dict[str, Any]) -> datetime | None:
    """On the subscription in older API versions, on its items since 2025-03-31 ("basil"); the latest of the items counts."""
    ends = [subscription.get("current_period_end")]
    items = subscription.get("items")
    rows = items.get("data") if isinstance(items, dict) else None
    ends += [row.get("current_period_end") for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
    moments = [moment for moment in map(_moment, ends) if moment is not None]
    return max(moments, default=None)


def _moment(value: Any) -> datetime | None:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 10**11:
        return None
    return datetime.fromtimestamp(value, UTC)


def _text(value: Any, limit: int) -> str:
    return value if isinstance(value, str) and len(value) <= limit and is_plain(value) else ""
