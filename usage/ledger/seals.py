"""The seal of each day: a hash over every line posted in it and over the seal before, so that no line can change unseen."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final

from django.db import transaction
from django.db.models import Min

from usage.models import LedgerDay, LedgerEntry

GENESIS: Final = "0" * 64
SETTLED_AFTER: Final = timedelta(minutes=10)
"""How long after a day its last lines are surely committed: a posting transaction takes two seconds at most."""
CHUNK: Final = 2000
SEALED_COLUMNS: Final = (
    "id", "attempt_id", "kind", "basis", "cost_nano", "reported_cost_nano", "posted_at", "dispatched_at", "request_id", "attempt_no",
    "upstream_id", "user_id", "api_key_id", "team_id", "context", "provider_id", "provider_slug", "deployment_id", "model_name",
    "input_tokens", "cache_read_tokens", "cache_write_tokens", "cache_write_1h_tokens", "output_tokens", "reasoning_tokens",
    "audio_input_tokens", "audio_output_tokens", "image_input_tokens", "quota_tokens", "price_id", "price_card", "error_code", "note",
    "actor_id",
)  # fmt: skip
"""In this order for ever."""
LATER_COLUMNS: Final = ("provider_tool_calls",)
"""Added after days had been sealed. Their values follow those above up to the last that is not NULL: lines from before a column
keep their bytes, and so their seal, and a value put into one of them afterwards is found out. New ones at the end only."""


@dataclass(frozen=True, slots=True)
class DayDigest:
    lines: int
    cost_nano: int
    last_id: int
    sha256: str


def seal_due(now: datetime) -> list[LedgerDay]:
    """Seals every finished day that has none yet, oldest first, days without lines included; returns the new seals."""
    sealed: list[LedgerDay] = []
    while (day := _next_day()) is not None and _ends_at(day) + SETTLED_AFTER <= now:
        sealed.append(_seal(day, now))
    return sealed


def digest_of(day: date, previous_sha256: str) -> DayDigest:
    """Over the lines posted on a UTC day, in order of id, in constant memory."""
    digest = hashlib.sha256(previous_sha256.encode())
    lines = cost_nano = last_id = 0
    for values in _lines_of(day):
        digest.update(_encoded(values) + b"\n")
        lines += 1
        cost_nano += values[SEALED_COLUMNS.index("cost_nano")]
        last_id = values[0]
    return DayDigest(lines, cost_nano, last_id, digest.hexdigest())


def _next_day() -> date | None:
    last = LedgerDay.objects.order_by("-day").values_list("day", flat=True).first()
    if last is not None:
        return last + timedelta(days=1)
    first = LedgerEntry.objects.aggregate(first=Min("posted_at"))["first"]
    return None if first is None else first.astimezone(UTC).date()


def _seal(day: date, now: datetime) -> LedgerDay:
    with transaction.atomic():
        before = LedgerDay.objects.select_for_update().filter(day=day - timedelta(days=1)).first()
        previous = before.sha256 if before is not None else GENESIS
        digest = digest_of(day, previous)
        seal, _ = LedgerDay.objects.get_or_create(
            day=day,
            defaults={
                "lines": digest.lines,
                "cost_nano": digest.cost_nano,
                "last_id": digest.last_id,
                "previous_sha256": previous,
                "sha256": digest.sha256,
                "sealed_at": now,
            },
        )
    return seal


def _lines_of(day: date) -> Iterator[tuple[Any, ...]]:
    start = datetime.combine(day, time(), UTC)
    lines = LedgerEntry.objects.filter(posted_at__gte=start, posted_at__lt=_ends_at(day)).order_by("pk")
    return lines.values_list(*SEALED_COLUMNS, *LATER_COLUMNS).iterator(chunk_size=CHUNK)


def _ends_at(day: date) -> datetime:
    return datetime.combine(day + timedelta(days=1), time(), UTC)


def _encoded(values: tuple[Any, ...]) -> bytes:
    while len(values) > len(SEALED_COLUMNS) and values[-1] is None:
        values = values[:-1]
    return json.dumps(values, default=_text, sort_keys=True, separators=(",", ":")).encode()


def _text(value: object) -> str:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="microseconds")
    return str(value)
