"""What a test's request writes is undone, so that the next one finds the same world."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import transaction


@contextmanager
def undone() -> Iterator[None]:
    """A savepoint and no block of its own: durable transactions of the product work inside."""
    point = transaction.savepoint()
    try:
        yield
    finally:
        transaction.set_rollback(False)
        transaction.savepoint_rollback(point)
        transaction.savepoint_commit(point)  # PostgreSQL holds a lock for each that stays open
