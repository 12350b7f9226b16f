"""Ledger lines for tests of reports and exports."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Any

from usage.models import LedgerEntry

NOON = datetime(2026, 11, 15, 12, tzinfo=UTC)


def line(**changes: Any) -> LedgerEntry:
    """An unsaved line of one measured call; ``changes`` replace its fields."""
    at = changes.get("dispatched_at", NOON)
    values: dict[str, Any] = {
        "attempt_id": uuid.uuid4(),
        "kind": LedgerEntry.Kind.USAGE,
        "basis": LedgerEntry.Basis.MEASURED,
        "cost_nano": 1,
        "posted_at": at,
        "dispatched_at": at,
        "request_id": f"req_{uuid.uuid4().hex}",
        "attempt_no": 1,
        "user_id": 1,
        "api_key_id": "abcdefghijkl",
        "context": "default",
        "provider_id": 1,
        "provider_slug": "sim",
        "deployment_id": 1,
        "model_name": "small",
        "input_tokens": 10,
        "output_tokens": 5,
        "price_id": 1,
        "price_card": {},
    }
    return LedgerEntry(**{**values, **changes})


def post(*lines: LedgerEntry) -> list[LedgerEntry]:
    return LedgerEntry.objects.bulk_create(lines)
