"""Subscriptions: who may use providers that require one, and the webhook that tells."""

from __future__ import annotations

from usage.subscriptions.actions import save_entitlement
from usage.subscriptions.entitlements import EntitlementRecord, Verdict, entitlements_of, judge

__all__ = ["EntitlementRecord", "Verdict", "entitlements_of", "judge", "save_entitlement"]
