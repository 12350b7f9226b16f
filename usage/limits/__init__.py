"""Rate limits: so many requests or tokens per minute, hour or day."""

from __future__ import annotations

from usage.limits.actions import set_rate_limit
from usage.limits.binding import rate_limits_for
from usage.limits.limiter import RateLimiter, asks_for, exceeded, serve, tightest
from usage.limits.redis_connection import COMMAND_S, CONNECT_S, evicting_policy
from usage.limits.serializers import RateLimitStateSerializer, shown_rate_limits
from usage.limits.types import REQUESTS, TOKENS, Limit, RateLimitExceeded, State, Verdict

__all__ = [
    "COMMAND_S",
    "CONNECT_S",
    "REQUESTS",
    "TOKENS",
    "Limit",
    "RateLimitExceeded",
    "RateLimitStateSerializer",
    "RateLimiter",
    "State",
    "Verdict",
    "asks_for",
    "evicting_policy",
    "exceeded",
    "rate_limits_for",
    "serve",
    "set_rate_limit",
    "shown_rate_limits",
    "tightest",
]
