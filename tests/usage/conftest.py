"""Ledger fixtures: a real database, a real writer thread."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings
from django.contrib.auth.models import User

from tests.usage.transactions import Transactions
from usage.ledger import writer
from usage.ledger.front import Ledger


@pytest.fixture
def user(transactional_db: None) -> User:
    return User.objects.create_user("ada")


@pytest.fixture
def ledger(transactional_db: None) -> Iterator[Ledger]:
    """A running ledger, stopped before the tables are flushed."""
    ledger = Ledger()
    ledger.start()
    yield ledger
    assert ledger.stop(10)


@pytest.fixture
def transactions(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Transactions:
    """Those of writers of this test: no waits between tries, nothing done by the clock, and a spool of their own."""
    stand_in = Transactions()
    monkeypatch.setattr(writer, "apply_batch", stand_in)
    monkeypatch.setattr(writer, "RETRY_DELAYS_S", (0, 0, 0))
    for name in ("HEARTBEAT_S", "SWEEP_S", "UNPOSTED_RETRY_S"):
        monkeypatch.setattr(writer, name, 60.0)
    monkeypatch.setattr(settings, "VAR_DIR", tmp_path)
    return stand_in
