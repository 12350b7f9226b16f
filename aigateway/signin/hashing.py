"""Slow password hashes, two at a time and behind everything else the processor has to do (C23).

A hash takes a processor for about half a second. Requests of the data plane share the processors, so hashes run in threads of the
lowest priority, and who finds all of them busy for a second is sent away instead of queueing up.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from django.contrib.auth.hashers import verify_password

AT_ONCE = 2
WAIT_S = 1.0
RETRY_AFTER_S = 2
NICENESS = 19


class HashingBusy(Exception):
    """All hashing threads are taken."""

    wait_s = RETRY_AFTER_S


def _step_back() -> None:
    """Linux keeps a priority for each thread."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)


_threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="hashing", initializer=_step_back)
_slots = threading.BoundedSemaphore(AT_ONCE)


@contextmanager
def slot() -> Iterator[None]:
    """Held while a password is looked at, so that what is refused for want of a slot has counted nothing. Raises ``HashingBusy``."""
    if not _slots.acquire(timeout=WAIT_S):
        raise HashingBusy
    try:
        yield
    finally:
        _slots.release()


def is_right(password: str, encoded: str | None) -> tuple[bool, bool]:
    """Whether the password is right, and whether its hash is out of date. ``None`` (nobody) takes as long as somebody."""
    return _threads.submit(verify_password, password, encoded or "").result()
