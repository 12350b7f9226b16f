"""Lets a test book lines whose cost PostgreSQL would refuse. Import the fixture into a ``conftest.py``."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.db import connection

from usage.ledger import cost_guard

TRANSACTIONAL_FIXTURES = {"transactional_db", "live_server", "django_db_reset_sequences", "django_db_serialized_rollback"}


def _is_transactional(request: pytest.FixtureRequest) -> bool:
    marker = request.node.get_closest_marker("django_db")
    by_marker = marker is not None and bool(marker.kwargs.get("transaction", marker.args[:1] == (True,)))
    return by_marker or not TRANSACTIONAL_FIXTURES.isdisjoint(request.fixturenames)


@pytest.fixture
def made_up_costs(request: pytest.FixtureRequest) -> Iterator[None]:
    """For tests whose lines cost what the test says, not what their card and counts come to."""
    is_transactional = _is_transactional(request)
    request.getfixturevalue("transactional_db" if is_transactional else "db")
    cost_guard.remove(connection)
    yield
    if is_transactional:
        cost_guard.install(connection)
