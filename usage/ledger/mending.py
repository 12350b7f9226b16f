"""Takes back counts that an older release believed: ten of them overflowed the sums of every report."""

from __future__ import annotations

from functools import reduce
from operator import or_
from typing import Final

import structlog
from django.db import transaction
from django.db.models import Q

from providers import clock
from usage.models import LedgerEntry
from usage.money import COUNTS, MAX_TOKENS

NOTE: Final = "takes back counts beyond belief; the cost stays"
log = structlog.get_logger(__name__)


def take_back_counts() -> int:
    """One line of cost 0 for every line with a count beyond belief, which it takes back; returns how many were written.

    Lines are never changed. What was taken back once is not taken back again, so it may run any number of times.
    """
    beyond = reduce(or_, (Q(**{f"{name}__gt": MAX_TOKENS}) | Q(**{f"{name}__lt": -MAX_TOKENS}) for name in COUNTS))
    written = 0
    for line in LedgerEntry.objects.filter(beyond).exclude(note=NOTE).order_by("pk").iterator(chunk_size=500):
        written += _take_back(line)
    return written


def _take_back(line: LedgerEntry) -> bool:
    wrong = {name: -count for name in COUNTS if abs(count := getattr(line, name) or 0) > MAX_TOKENS}
    with transaction.atomic():
        others = LedgerEntry.objects.filter(attempt_id=line.attempt_id).exclude(pk=line.pk)
        if others.filter(note=NOTE, **wrong).exists():
            return False
        kinds = LedgerEntry.Kind
        is_free = line.kind == kinds.USAGE and not others.filter(kind=kinds.CORRECTION).exists()
        kept = {field.attname: getattr(line, field.attname) for field in LedgerEntry._meta.concrete_fields if field.attname in _KEPT}
        LedgerEntry(
            kind=kinds.CORRECTION if is_free else kinds.ADJUSTMENT, cost_nano=0, posted_at=clock.database_now(), note=NOTE, **kept, **wrong
        ).save(force_insert=True)
    log.warning("counts_taken_back", line=line.pk, **{name: str(-count) for name, count in wrong.items()})
    return True


_KEPT: Final = frozenset(
    (
        "attempt_id", "basis", "dispatched_at", "request_id", "attempt_no", "upstream_id", "user_id", "api_key_id", "team_id", "context",
        "provider_id", "provider_slug", "deployment_id", "model_name", "price_id", "price_card",
    )
)  # fmt: skip
