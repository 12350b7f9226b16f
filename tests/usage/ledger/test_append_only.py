"""M17: the database refuses to change or delete a ledger line, whoever asks."""

from __future__ import annotations

import pytest
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor

from tests.usage.world import CARD, USAGE, reserve_order, settlement
from usage.ledger import append_only
from usage.ledger.front import reserve_now, settle_now
from usage.models import LedgerEntry
from usage.money import cost_of

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]


@pytest.fixture
def line(transactional_db: None) -> LedgerEntry:
    order = reserve_order(100_000)
    reserve_now(order)
    settle_now(settlement(order, cost_of(USAGE, CARD)))
    return LedgerEntry.objects.get()


def test_M17_update_is_refused(line: LedgerEntry) -> None:
    with pytest.raises(DatabaseError, match="append-only"):
        LedgerEntry.objects.update(cost_nano=0)
    assert LedgerEntry.objects.get().cost_nano == cost_of(USAGE, CARD)


def test_M17_delete_is_refused(line: LedgerEntry) -> None:
    with pytest.raises(DatabaseError, match="append-only"):
        line.delete()
    assert LedgerEntry.objects.count() == 1


def test_M17_raw_sql_is_refused(line: LedgerEntry) -> None:
    with pytest.raises(DatabaseError, match="append-only"), connection.cursor() as cursor:
        cursor.execute("DELETE FROM usage_ledgerentry")


@pytest.mark.parametrize("table", append_only.TABLES)
def test_M17_no_append_only_table_can_be_emptied_at_once(line: LedgerEntry, on_postgresql: bool, table: str) -> None:
    if not on_postgresql:
        pytest.skip("SQLite has no TRUNCATE")
    with pytest.raises(DatabaseError, match="append-only"), connection.cursor() as cursor:
        cursor.execute(f"TRUNCATE {table} CASCADE")
    assert LedgerEntry.objects.count() == 1


def test_the_guard_can_be_taken_away_and_put_back_twice(line: LedgerEntry) -> None:
    for _ in range(2):
        append_only.remove(connection)
    assert LedgerEntry.objects.update(note="x") == 1
    for _ in range(2):
        append_only.install(connection)
    with pytest.raises(DatabaseError, match="append-only"):
        LedgerEntry.objects.update(note="y")


def test_the_migration_runs_backwards_and_forwards(line: LedgerEntry) -> None:
    MigrationExecutor(connection).migrate([("usage", "0001_initial")])
    assert LedgerEntry.objects.update(note="x") == 1
    executor = MigrationExecutor(connection)
    executor.migrate(executor.loader.graph.leaf_nodes("usage"))
    with pytest.raises(DatabaseError, match="append-only"):
        LedgerEntry.objects.update(note="y")
