"""Checks subscriptions before a provider that needs one is asked."""

from __future__ import annotations

from aigateway.entitlements.checks import Entitlements
from aigateway.entitlements.endpoint import fetcher, specs
from aigateway.entitlements.stored import barred_tiers

__all__ = ["Entitlements", "barred_tiers", "fetcher", "specs"]
