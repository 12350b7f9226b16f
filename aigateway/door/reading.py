"""Receiving and understanding the body of a known caller (C02, C17)."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from aigateway import errors
from aigateway.api.parsing import values_at_most
from aigateway.callers import Caller
from aigateway.dialects.base import Call, Dialect, Sent
from aigateway.door.authentication import authenticate
from aigateway.door.handler import EdgeRequest
from aigateway.idempotency import store
from usage.limits import RateLimitExceeded

INLINE_BYTES_MAX = 256 * 1024
INLINE_VALUES_MAX = 4_000
"""So much is read within a few milliseconds, whatever it is."""
_threads = ThreadPoolExecutor(max_workers=2, thread_name_prefix="reading")


async def receive_body(request: EdgeRequest) -> Caller:
    """Who asks; what can be refused without the body is refused before it is read. A body on its way is no request in flight yet."""
    caller = await authenticate(request)
    _check_media_type(request)
    if store.META_KEY not in request.META:  # an answer that is kept uses no rate limit
        caller = await _with_room(request, caller)
    plane = request.plane
    plane.in_flight -= 1
    try:
        await request.receive_body(caller.user_id)
    finally:
        plane.in_flight += 1
    if plane.in_flight > plane.in_flight_max:
        raise errors.overloaded()
    return caller


async def _with_room(request: EdgeRequest, caller: Caller) -> Caller:
    """Raises ``RateLimitExceeded``, by the limits of this moment (C10)."""
    seen_version = request.plane.version
    try:
        await request.allowance.check()
    except RateLimitExceeded:
        if not await request.plane.caught_up(seen_version):
            raise
        caller = await authenticate(request)
        await request.allowance.check()
    return caller


def _check_media_type(request: EdgeRequest) -> None:
    """Raises ``GatewayError`` 415 for a body that does not say it is JSON (B01): a form, a text or nothing said at all."""
    declared = request.META.get("CONTENT_TYPE", "").partition(";")[0].strip().lower()
    if declared != "application/json":
        raise errors.invalid_request(
            "Send the body as JSON, with 'Content-Type: application/json'.", code="unsupported_media_type", status=415
        )


async def read_call(dialect: Dialect, body: bytes, context: str | None, sent: Sent) -> Call:
    """At once where it is small, away from the event loop where it is not. Raises ``GatewayError`` (400, 413) naming the field."""
    if len(body) <= INLINE_VALUES_MAX or (len(body) <= INLINE_BYTES_MAX and values_at_most(body) <= INLINE_VALUES_MAX):
        return dialect.parse(body, context, sent)
    return await asyncio.get_running_loop().run_in_executor(_threads, partial(dialect.parse, body, context, sent))
