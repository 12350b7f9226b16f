"""Checks subscriptions before a provider that needs one is asked."""

from __future__ import annotations

from aigateway.entitlements.checks import Entitlements
from aigateway.entitlements.endpoint import fetcher, specs

__all__ = ["Entitlements", "fetcher", "specs"]
