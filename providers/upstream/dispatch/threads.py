"""Work whose length the size of a text decides: long ones leave the event loop, where everybody else would wait for them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

INLINE_BYTES_MAX = 64 * 1024
"""Translating so much takes a few milliseconds at worst; handing it to a thread costs a tenth of one."""
T = TypeVar("T")


async def away_from_loop(size_bytes: int, work: Callable[[], T]) -> T:
    """What ``work`` returns or raises. It must be pure: when the caller is cancelled it goes on, for nobody."""
    return work() if size_bytes <= INLINE_BYTES_MAX else await asyncio.to_thread(work)
