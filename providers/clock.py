"""The one clock that money, prices and periods go by: the database's, the same for every machine of a gateway."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import connection
from django.utils import timezone


def database_now() -> datetime:
    """The database's time. SQLite has no server: its time is this machine's. Raises ``django.db.Error``."""
    if connection.vendor != "postgresql":
        return timezone.now()
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        now: datetime = cursor.fetchone()[0]
    return now


@dataclass(frozen=True, slots=True)
class Reading:
    """What the database's clock showed when this process's monotonic clock showed ``monotonic_s``."""

    database_now: datetime
    monotonic_s: float


class CarriedClock:
    """The database's time without asking it: the last reading, carried on by this process's monotonic clock.

    Any thread may read and set it. Before the first reading, and on SQLite, it is this machine's time.
    """

    def __init__(self) -> None:
        self._reading: Reading | None = None

    def now(self) -> datetime:
        reading = self._reading
        if reading is None:
            return timezone.now()
        return reading.database_now + timedelta(seconds=time.monotonic() - reading.monotonic_s)

    def set(self, reading: Reading | None) -> None:
        """``None``: the database has no clock of its own."""
        self._reading = reading


def read() -> Reading | None:
    """A reading of the database's clock; ``None`` where it has none of its own. Raises ``django.db.Error``."""
    return Reading(database_now(), time.monotonic()) if connection.vendor == "postgresql" else None
