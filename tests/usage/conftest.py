"""Ledger fixtures: a real database, a real writer thread."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.contrib.auth.models import User

from usage.ledger import Ledger


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
