"""Every write of rate limits: one transaction, announced, audited (``usage.apps`` registers the model)."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import AbstractBaseUser
from django.db import transaction

from providers.models import ConfigVersion, Provider
from usage.errors import ActionRefused
from usage.models import ApiKey, RateLimit, Tier

LIMIT_MAX = 100_000_000
"""Of one window and of a burst: whole numbers stay exact in Redis's arithmetic, for a day's bucket in milliseconds as well."""

Subject = AbstractBaseUser | ApiKey | Tier | Provider | None
"""Whom a rate limit binds; ``None`` for the whole gateway."""


def set_rate_limit(scope: str, subject: Subject, measure: str, window: str, limit: int, burst: int | None = None) -> RateLimit:
    """Sets one limit, at once and everywhere; what was used of it stays used. Raises ``ActionRefused``."""
    check_figures(measure, window, limit, burst)
    with transaction.atomic():
        row, _ = RateLimit.objects.update_or_create(
            scope=scope,
            **_subject_fields(scope, subject),
            measure=measure,
            window=window,
            defaults={"limit": limit, "burst": burst},
        )
        ConfigVersion.bump("budgets")
    return row


def delete_rate_limit(row: RateLimit) -> None:
    """Lifts a limit."""
    with transaction.atomic():
        row.delete()
        ConfigVersion.bump("budgets")


def check_figures(measure: str, window: str, limit: int, burst: int | None) -> None:
    """Raises ``ActionRefused`` for figures no rate limit can have."""
    if measure not in RateLimit.Measure.values:
        raise ActionRefused(f"A measure is one of {', '.join(RateLimit.Measure.values)}.")
    if window not in RateLimit.Window.values:
        raise ActionRefused(f"A window is one of {', '.join(RateLimit.Window.values)}.")
    if not 0 <= limit <= LIMIT_MAX:
        raise ActionRefused(f"A rate limit is 0 (blocks) to {LIMIT_MAX:,}.")
    if burst is not None and not 1 <= burst <= LIMIT_MAX:
        raise ActionRefused(f"A burst is 1 to {LIMIT_MAX:,}; leave it out for a sliding window.")
    if burst is not None and limit == 0:
        raise ActionRefused("A limit of 0 blocks, so it has no burst.")


def _subject_fields(scope: str, subject: Subject) -> dict[str, Any]:
    """The subject as columns. Raises ``ActionRefused`` when it does not belong to the scope."""
    nobody: dict[str, Any] = {"tier": None, "user": None, "api_key": None, "provider": None}
    match scope, subject:
        case RateLimit.Scope.GATEWAY, None:
            return nobody
        case RateLimit.Scope.TIER, Tier():
            return {**nobody, "tier": subject}
        case RateLimit.Scope.USER, AbstractBaseUser():
            return {**nobody, "user": subject}
        case RateLimit.Scope.KEY, ApiKey():
            return {**nobody, "api_key": subject}
        case RateLimit.Scope.PROVIDER, Provider():
            return {**nobody, "provider": subject}
    raise ActionRefused("A rate limit names what its scope says: a tier, a user, a key, a provider; one of the gateway names nobody.")
