"""Orphans: attempts whose process died between dispatch and settlement become flagged estimates, exactly once."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from django.db import connection

from usage.ledger.posting import Work, apply_batch, current_statements
from usage.ledger.sql.rows import ORPHANED, ClosingRow
from usage.ledger.types import ESTIMATED

ALIVE_FOR: Final = timedelta(seconds=20)
"""A process that has not reported for this long is dead: four missed heartbeats."""
BATCH_MAX: Final = 500
NOTE: Final = "the process stopped reporting; its whole hold is posted as an upper bound"
_NOBODY: Final = UUID(int=0)


def sweep(now: datetime) -> int:
    """Posts the whole hold of every orphan and returns how many this call closed.

    Any number of sweepers may run at once: the database lets one of them close an attempt. A settlement that arrives
    later is posted as a correction. Raises ``django.db.Error``.
    """
    closed = 0
    while True:
        with connection.cursor() as cursor:
            orphans = current_statements().find_orphans(cursor, now - ALIVE_FOR, BATCH_MAX)
        if orphans:
            rows = [_estimate(attempt_id, hold_nano) for attempt_id, hold_nano in orphans]
            closed += len(apply_batch(Work(_NOBODY, now, closings=rows), {}).closed)
        if len(orphans) < BATCH_MAX:
            return closed


def _estimate(attempt_id: UUID, hold_nano: int) -> ClosingRow:
    return ClosingRow(attempt_id=attempt_id.hex, status="estimated", cost_nano=hold_nano, basis=ESTIMATED, error_code=ORPHANED, note=NOTE)
