"""The one place where the data plane speaks HTTP: pool, deadlines, limits, and exceptions turned into errors by their type."""

from __future__ import annotations

from providers.upstream.transport.client import Transport
from providers.upstream.transport.limits import Deadline, PoolState
from providers.upstream.transport.stream import MAX_BODY_BYTES, UpstreamStream

__all__ = ["MAX_BODY_BYTES", "Deadline", "PoolState", "Transport", "UpstreamStream"]
