"""Who asks, and what of the models is his to use."""

from __future__ import annotations

from aigateway.callers import Caller, presented_key
from aigateway.dialects.model_listings import Reach
from aigateway.door.handler import EdgeRequest
from aigateway.errors import GatewayError


async def authenticate(request: EdgeRequest) -> Caller:
    """Raises ``GatewayError``. A key is refused by the configuration of this moment, not by what was known of it before (C10)."""
    plane, plaintext = request.plane, presented_key(request.META)
    seen_version = plane.version
    try:
        caller = await plane.callers.authenticate(plaintext)
    except GatewayError as refusal:
        if refusal.status not in (401, 403) or not await plane.caught_up(seen_version):
            raise
        caller = await plane.callers.authenticate(plaintext)
    request.allowance.limits = caller.rate_limits
    return caller


async def reach_of(request: EdgeRequest) -> Reach:
    """What the caller may ask for. Raises ``GatewayError``."""
    caller = await authenticate(request)
    plane = request.plane
    return Reach(caller.allowed_models, await plane.entitlements.barred_tiers(plane.snapshot, caller))
