"""Understanding a body: at once where it is small, away from the event loop where it is not (C02)."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from aigateway.api.parsing import values_at_most
from aigateway.dialects.base import Call, Dialect, Sent

INLINE_BYTES_MAX = 256 * 1024
INLINE_VALUES_MAX = 4_000
"""So much is read within a few milliseconds, whatever it is."""
_threads = ThreadPoolExecutor(max_workers=2, thread_name_prefix="reading")


async def read_call(dialect: Dialect, body: bytes, context: str | None, sent: Sent) -> Call:
    """Raises ``GatewayError`` (400, 413) naming the field."""
    if len(body) <= INLINE_VALUES_MAX or (len(body) <= INLINE_BYTES_MAX and values_at_most(body) <= INLINE_VALUES_MAX):
        return dialect.parse(body, context, sent)
    return await asyncio.get_running_loop().run_in_executor(_threads, partial(dialect.parse, body, context, sent))
