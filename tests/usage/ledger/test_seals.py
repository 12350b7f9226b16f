"""The chain of seals: where it begins, days on which nothing was posted, and cards as databases keep them."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime, timedelta

import pytest

from tests.usage.lines import line, post
from usage.ledger.seals import SEALED_COLUMNS, digest_of, seal_due
from usage.models import LedgerDay

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("made_up_costs")]

MIDNIGHT = datetime(2026, 11, 20, tzinfo=UTC)


def test_the_chain_begins_with_zeros_and_goes_on_over_days_without_lines() -> None:
    first, last = post(line(cost_nano=3, posted_at=MIDNIGHT), line(cost_nano=4, posted_at=MIDNIGHT + timedelta(days=2)))
    seals = seal_due(MIDNIGHT + timedelta(days=5))
    assert [(seal.day.day, seal.lines, seal.cost_nano, seal.last_id) for seal in seals] == [
        (20, 1, 3, first.pk),
        (21, 0, 0, 0),
        (22, 1, 4, last.pk),
        (23, 0, 0, 0),
    ]
    assert [seal.previous_sha256 for seal in seals] == ["0" * 64, *(seal.sha256 for seal in seals[:-1])]
    assert len({seal.sha256 for seal in seals}) == 4
    assert [*LedgerDay.objects.order_by("day")] == seals
    assert seal_due(MIDNIGHT + timedelta(days=5)) == []


def test_the_keys_of_a_card_are_sealed_in_order_whatever_the_database_keeps() -> None:
    (entry,) = post(line(posted_at=MIDNIGHT, dispatched_at=MIDNIGHT, price_card={"zeta": 1, "a": {"y": 2, "b": 3}, "mm": 4}))
    values = [getattr(entry, name) for name in SEALED_COLUMNS]
    told = ["2026-11-20T00:00:00.000000+00:00" if isinstance(each, datetime) else each for each in values]
    told[SEALED_COLUMNS.index("attempt_id")] = str(entry.attempt_id)
    told[SEALED_COLUMNS.index("price_card")] = {"a": {"b": 3, "y": 2}, "mm": 4, "zeta": 1}
    text = "f" * 64 + json.dumps(told, separators=(",", ":")) + "\n"
    assert digest_of(MIDNIGHT.date(), "f" * 64).sha256 == hashlib.sha256(text.encode()).hexdigest()
