"""Triggers that make tables append-only in the database, whoever connects. Both functions may be called twice."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from django.db.backends.base.base import BaseDatabaseWrapper

LEDGER: Final = "usage_ledgerentry"
ADJUSTMENTS: Final = "usage_budgetadjustment"
CLOSED_MONTHS: Final = "usage_closedmonth"
TABLES: Final = (LEDGER, ADJUSTMENTS, CLOSED_MONTHS)

_POSTGRESQL_FUNCTION = """
CREATE OR REPLACE FUNCTION usage_ledger_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the ledger is append-only' USING ERRCODE = 'integrity_constraint_violation';
END
$$
"""


def install(connection: BaseDatabaseWrapper, tables: Iterable[str] = (LEDGER,)) -> None:
    """``tables`` are names of ours, never input."""
    _execute(connection, _postgresql_install(tables) if connection.vendor == "postgresql" else _sqlite_install(tables))


def remove(connection: BaseDatabaseWrapper, tables: Iterable[str] = (LEDGER,)) -> None:
    _execute(connection, _postgresql_remove(tables) if connection.vendor == "postgresql" else _sqlite_remove(tables))


def _postgresql_install(tables: Iterable[str]) -> Iterator[str]:
    yield _POSTGRESQL_FUNCTION
    for table in tables:
        yield (
            f"CREATE OR REPLACE TRIGGER {_trigger(table)} BEFORE UPDATE OR DELETE ON {table} "
            "FOR EACH ROW EXECUTE FUNCTION usage_ledger_refuse_change()"
        )
        yield (
            f"CREATE OR REPLACE TRIGGER {_trigger(table)}_truncate BEFORE TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION usage_ledger_refuse_change()"
        )


def _postgresql_remove(tables: Iterable[str]) -> Iterator[str]:
    for table in tables:
        yield f"DROP TRIGGER IF EXISTS {_trigger(table)} ON {table}"
        yield f"DROP TRIGGER IF EXISTS {_trigger(table)}_truncate ON {table}"


def _sqlite_install(tables: Iterable[str]) -> Iterator[str]:
    for table in tables:
        for change in ("UPDATE", "DELETE"):
            yield (
                f"CREATE TRIGGER IF NOT EXISTS {_trigger(table)}_{change.lower()} BEFORE {change} ON {table} "
                "BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END"
            )


def _sqlite_remove(tables: Iterable[str]) -> Iterator[str]:
    for table in tables:
        for change in ("update", "delete"):
            yield f"DROP TRIGGER IF EXISTS {_trigger(table)}_{change}"


def _trigger(table: str) -> str:
    return "usage_ledger_append_only" if table == LEDGER else f"{table}_append_only"


def _execute(connection: BaseDatabaseWrapper, statements: Iterable[str]) -> None:
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
