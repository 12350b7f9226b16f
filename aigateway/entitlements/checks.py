"""Checks subscriptions before a provider that needs one is asked: briefly cached, and no answer counts as no (fail closed)."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime

import structlog

from aigateway import errors
from aigateway.api.errors import Category
from aigateway.callers import Caller
from aigateway.errors import GatewayError
from providers.upstream.types import Plan, Skipped, Snapshot
from usage.subscriptions import EntitlementRecord, Verdict, judge

CACHE_S = 60.0
UNVERIFIABLE_CACHE_S = 5.0
CACHED_MAX = 10_000
Fetch = Callable[[str], Awaitable[tuple[EntitlementRecord, ...]]]
"""Asks the subscription endpoint about a user name. Raises ``SubscriptionUnknown`` when it gives no usable answer."""

_log = structlog.get_logger("aigateway.entitlements")


class SubscriptionUnknown(Exception):
    """The endpoint is away, slow or answers nonsense."""


class Entitlements:
    """Stored entitlements first; where they do not grant access, the endpoint, if there is one."""

    def __init__(self, fetch: Fetch | None = None, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._fetch = fetch
        self._monotonic = monotonic
        self._known: OrderedDict[str, tuple[float, tuple[EntitlementRecord, ...] | None]] = OrderedDict()

    async def only_entitled(self, plan: Plan, caller: Caller) -> Plan:
        """The plan without what the caller has not subscribed to. Raises ``GatewayError`` when nothing else is left."""
        if all(target.provider.preset is None for target in plan.targets):
            return plan
        kept, skipped, refused = [], list(plan.skipped), None
        for target in plan.targets:
            tier = target.provider.preset.required_tier if target.provider.preset is not None else ""
            verdict = await self._verdict(caller, tier) if tier else Verdict.ENTITLED
            if verdict is Verdict.ENTITLED:
                kept.append(target)
                continue
            refusal = refused_subscription(verdict, tier)
            refused = refused or refusal
            skipped.append(Skipped(target.address, verdict.value, refusal.message))
        if not kept and refused is not None:
            raise refused
        return replace(plan, targets=tuple(kept), skipped=tuple(skipped))

    async def barred_tiers(self, snapshot: Snapshot, caller: Caller) -> frozenset[str]:
        """The tiers of the snapshot that the caller has not subscribed to, for listings. What cannot be known is not barred: a
        request will tell."""
        presets = (target.provider.preset for target in snapshot.targets.values())
        tiers = {preset.required_tier for preset in presets if preset is not None and preset.required_tier}
        verdicts = {tier: await self._verdict(caller, tier) for tier in tiers}
        return frozenset(tier for tier, verdict in verdicts.items() if verdict not in (Verdict.ENTITLED, Verdict.UNVERIFIABLE))

    async def _verdict(self, caller: Caller, tier: str) -> Verdict:
        stored = judge(caller.entitlements, tier, datetime.now(UTC))
        if stored is Verdict.ENTITLED or self._fetch is None:
            return stored
        try:
            return judge(await self._asked(caller.username, self._fetch), tier, datetime.now(UTC))
        except SubscriptionUnknown as error:
            _log.warning("subscription_unverifiable", reason=str(error))
            return Verdict.UNVERIFIABLE

    async def _asked(self, username: str, fetch: Fetch) -> tuple[EntitlementRecord, ...]:
        now = self._monotonic()
        good_until, records = self._known.get(username, (0.0, None))
        if good_until <= now:
            try:
                good_until, records = now + CACHE_S, await fetch(username)
            except SubscriptionUnknown:
                self._remember(username, now + UNVERIFIABLE_CACHE_S, None)
                raise
            self._remember(username, good_until, records)
        if records is None:
            raise SubscriptionUnknown("it failed a moment ago")
        return records

    def _remember(self, username: str, good_until: float, records: tuple[EntitlementRecord, ...] | None) -> None:
        self._known[username] = (good_until, records)
        self._known.move_to_end(username)
        while len(self._known) > CACHED_MAX:
            self._known.popitem(last=False)


_REFUSALS: Mapping[Verdict, tuple[int, Category, str, str]] = {
    Verdict.REQUIRED: (402, Category.PERMISSION, "This model needs a subscription to '{tier}'.", "Subscribe, or choose another model."),
    Verdict.EXPIRED: (402, Category.PERMISSION, "The subscription to '{tier}' has ended.", "Renew it, or choose another model."),
    Verdict.PAST_DUE: (402, Category.PERMISSION, "A payment for '{tier}' is overdue.", "Settle the open invoice, or choose another model."),
    Verdict.NOT_ENTITLED: (403, Category.PERMISSION, "Your plan does not include '{tier}'.", "Change the plan, or choose another model."),
    Verdict.UNVERIFIABLE: (503, Category.SERVICE, "The subscription to '{tier}' cannot be checked right now.", "Try again shortly."),
}


def refused_subscription(verdict: Verdict, tier: str) -> GatewayError:
    """What a caller without the tier is told; each reason has its own code and way out."""
    status, category, message, recovery = _REFUSALS[verdict]
    retry_after_s = UNVERIFIABLE_CACHE_S if verdict is Verdict.UNVERIFIABLE else None
    return errors.GatewayError(status, category, verdict.value, message.format(tier=tier), recovery, "model", retry_after_s)
