"""Removes bookkeeping nobody reads any more. Ledger lines and attempts are never pruned."""

from __future__ import annotations

from datetime import datetime

from django.db.models import Exists, OuterRef

from providers.models import ConfigChange
from usage.models import Attempt, GatewayProcess, IdempotencyRecord


def prune(before: datetime) -> tuple[int, int]:
    """Deletes configuration changes and dead processes older than ``before``; returns how many of each.

    A process with open attempts stays until the sweeper has closed them.
    """
    changes, _ = ConfigChange.objects.filter(created_at__lt=before).delete()
    open_attempts = Attempt.objects.filter(process_id=OuterRef("pk"), status=Attempt.Status.DISPATCHED)
    processes, _ = GatewayProcess.objects.filter(~Exists(open_attempts), heartbeat_at__lt=before).delete()
    return changes, processes


def prune_answers(now: datetime) -> int:
    """Deletes answers kept for idempotency keys once they have expired; returns how many."""
    expired, _ = IdempotencyRecord.objects.filter(expires_at__lte=now).delete()
    return expired
