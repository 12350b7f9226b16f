"""Triggers that make the ledger append-only in the database, whoever connects. Both functions may be called twice."""

from __future__ import annotations

from django.db.backends.base.base import BaseDatabaseWrapper

_POSTGRESQL_INSTALL = """
CREATE OR REPLACE FUNCTION usage_ledger_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the ledger is append-only' USING ERRCODE = 'integrity_constraint_violation';
END
$$;
CREATE OR REPLACE TRIGGER usage_ledger_append_only BEFORE UPDATE OR DELETE ON usage_ledgerentry
FOR EACH ROW EXECUTE FUNCTION usage_ledger_refuse_change();
"""
_POSTGRESQL_REMOVE = """
DROP TRIGGER IF EXISTS usage_ledger_append_only ON usage_ledgerentry;
DROP FUNCTION IF EXISTS usage_ledger_refuse_change();
"""
_SQLITE_INSTALL = (
    "CREATE TRIGGER IF NOT EXISTS usage_ledger_no_update BEFORE UPDATE ON usage_ledgerentry "
    "BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END",
    "CREATE TRIGGER IF NOT EXISTS usage_ledger_no_delete BEFORE DELETE ON usage_ledgerentry "
    "BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END",
)
_SQLITE_REMOVE = (
    "DROP TRIGGER IF EXISTS usage_ledger_no_update",
    "DROP TRIGGER IF EXISTS usage_ledger_no_delete",
)


def install(connection: BaseDatabaseWrapper) -> None:
    _execute(connection, [_POSTGRESQL_INSTALL] if connection.vendor == "postgresql" else _SQLITE_INSTALL)


def remove(connection: BaseDatabaseWrapper) -> None:
    _execute(connection, [_POSTGRESQL_REMOVE] if connection.vendor == "postgresql" else _SQLITE_REMOVE)


def _execute(connection: BaseDatabaseWrapper, statements: list[str] | tuple[str, ...]) -> None:
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
