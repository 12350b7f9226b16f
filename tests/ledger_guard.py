"""Lets Django empty the tables after a transactional test although the ledger refuses to be emptied.

Django flushes with DELETE on SQLite and with TRUNCATE on PostgreSQL; the append-only triggers refuse both. Import the fixture
into a ``conftest.py``: ``from tests.ledger_guard import ledger_guard  # noqa: F401``.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.db import connection

from usage.ledger import append_only, cost_guard

TRANSACTIONAL_FIXTURES = {"transactional_db", "live_server", "django_db_reset_sequences", "django_db_serialized_rollback"}


def _is_transactional(request: pytest.FixtureRequest) -> bool:
    marker = request.node.get_closest_marker("django_db")
    by_marker = marker is not None and bool(marker.kwargs.get("transaction", marker.args[:1] == (True,)))
    return by_marker or not TRANSACTIONAL_FIXTURES.isdisjoint(request.fixturenames)


@pytest.fixture(autouse=True)
def ledger_guard(request: pytest.FixtureRequest) -> Iterator[None]:
    """Installs the triggers for a transactional test and lifts them before the tables are flushed."""
    if not _is_transactional(request):
        yield
        return
    request.getfixturevalue("transactional_db")
    append_only.install(connection, append_only.TABLES)
    yield
    append_only.remove(connection, append_only.TABLES)


@pytest.fixture
def made_up_costs(request: pytest.FixtureRequest) -> Iterator[None]:
    """For tests whose lines cost what the test says, not what their card and counts come to."""
    is_transactional = _is_transactional(request)
    request.getfixturevalue("transactional_db" if is_transactional else "db")
    cost_guard.remove(connection)
    yield
    if is_transactional:
        cost_guard.install(connection)
