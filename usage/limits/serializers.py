"""Rate limits as the API shows them: the numbers of the ``X-RateLimit-*`` headers, for each limit that binds the caller."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.utils import timezone
from rest_framework import serializers

from usage.limits.binding import rate_limits_for
from usage.limits.limiter import states_now
from usage.models import RateLimit


class RateLimitStateSerializer(serializers.Serializer[Any]):
    scope = serializers.ChoiceField(choices=[scope for scope in RateLimit.Scope.choices if scope[0] != RateLimit.Scope.PROVIDER])
    measure = serializers.ChoiceField(choices=RateLimit.Measure.choices)
    window = serializers.ChoiceField(choices=RateLimit.Window.choices)
    limit = serializers.IntegerField(help_text="Per window; 0 blocks.")
    burst = serializers.IntegerField(allow_null=True, help_text="At most so many at once; null: a sliding window.")
    remaining = serializers.IntegerField()
    reset_s = serializers.FloatField(help_text="Seconds until nothing counts any more.")
    resets_at = serializers.DateTimeField()


def shown_rate_limits(user_id: int, api_key_id: str) -> list[dict[str, Any]]:
    """Every limit that binds the caller itself, with what is left of it now; those of providers are nobody's own."""
    own = [limit for limit in rate_limits_for(user_id, api_key_id) if limit.provider_id is None]
    now = timezone.now()
    return [
        {
            "scope": state.limit.scope,
            "measure": state.limit.measure,
            "window": state.limit.window,
            "limit": state.limit.limit,
            "burst": state.limit.burst,
            "remaining": state.remaining,
            "reset_s": state.reset_ms / 1000,
            "resets_at": now + timedelta(milliseconds=state.reset_ms),
        }
        for state in states_now(own)
    ]
