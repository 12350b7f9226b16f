"""Which rate limits bind a caller. Synchronous ORM: callers on an event loop use a thread."""

from __future__ import annotations

from django.db.models import Q

from usage.limits.types import Limit
from usage.models import RateLimit


def rate_limits_for(user_id: int, api_key_id: str) -> tuple[Limit, ...]:
    """Every rate limit that can bind the caller, widest scope first. Those of providers bind only calls to them."""
    binding = Q(scope__in=(RateLimit.Scope.GATEWAY, RateLimit.Scope.PROVIDER)) | Q(scope=RateLimit.Scope.USER, user_id=user_id)
    binding |= Q(scope=RateLimit.Scope.TIER, tier__accounts__user_id=user_id)
    if api_key_id:
        binding |= Q(scope=RateLimit.Scope.KEY, api_key_id=api_key_id)
    order = {scope: position for position, scope in enumerate(RateLimit.Scope)}
    rows = sorted(RateLimit.objects.filter(binding).distinct(), key=lambda row: (order[RateLimit.Scope(row.scope)], row.pk))
    return tuple(_limit(row, user_id) for row in rows)


def _limit(row: RateLimit, user_id: int) -> Limit:
    """A tier's limit is counted for each of its users."""
    key = f"{row.pk}:{user_id}" if row.scope == RateLimit.Scope.TIER else str(row.pk)
    return Limit(key, row.scope, row.measure, row.window, row.limit, row.burst, row.provider_id)
