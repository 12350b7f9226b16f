"""A request that is sent again is answered once and paid once: the store for both planes, and the control plane's middleware."""

from __future__ import annotations

from aigateway.idempotency import store

__all__ = ["store"]
