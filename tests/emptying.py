"""Empties the database after a test whose rows were committed: only the tables that have rows.

Django would empty all sixty tables and have every app make its permissions again, which takes longer than most tests. Here one
query tells which tables have rows. What migrations made (content types, permissions) stays, and is put back where a test changed it.
The ledger's triggers refuse to be emptied: PostgreSQL leaves them out in a session of the role ``replica``; on SQLite they are taken
away and put back in the same transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from django.contrib.contenttypes.models import ContentType
from django.db import connection, transaction
from django.test import TransactionTestCase

from usage.ledger import append_only

Rows = list[tuple[Any, ...]]

LARGE_BYTES: Final = 1_000_000
"""A PostgreSQL table of this size is truncated: deleted rows would be read again by the next tests."""


@dataclass(frozen=True, slots=True)
class Pristine:
    """The database as the migrations left it: its tables, the rows of those that have some, and its triggers."""

    tables: tuple[str, ...]
    rows: dict[str, Rows]
    triggers: frozenset[str]

    @classmethod
    def read(cls) -> Pristine:
        tables = tuple(connection.introspection.django_table_names(only_existing=True, include_views=False))
        return cls(tables, {table: _rows(table) for table in _with_rows(tables)}, _triggers())

    def restore(self) -> None:
        """Empties and restores; a table nobody touched costs nothing."""
        changed = {table: rows for table, rows in self.rows.items() if _rows(table) != rows}
        filled = [*_with_rows([table for table in self.tables if table not in self.rows]), *changed]
        if filled:
            with _unguarded(filled) as empty:
                empty(filled)
                for table, rows in changed.items():
                    _insert(table, rows)
        if changed:
            ContentType.objects.clear_cache()
        if _triggers() != self.triggers:
            append_only.install(connection, append_only.TABLES)


@contextmanager
def emptied_by(pristine: Pristine) -> Iterator[None]:
    """Transactional tests end with ``pristine`` as long as this lasts."""
    original = TransactionTestCase._fixture_teardown
    TransactionTestCase._fixture_teardown = lambda self: pristine.restore()
    try:
        yield
    finally:
        TransactionTestCase._fixture_teardown = original


@contextmanager
def _unguarded(tables: list[str]) -> Iterator[Callable[[list[str]], None]]:
    """A transaction in which neither triggers nor foreign keys hold; gives what empties tables in it."""
    if connection.vendor == "postgresql":
        with transaction.atomic():
            _execute("SET LOCAL session_replication_role = replica")
            yield _empty_on_postgresql
        return
    guarded = not {*append_only.TABLES}.isdisjoint(tables)
    with connection.constraint_checks_disabled(), transaction.atomic():
        if guarded:
            append_only.remove(connection, append_only.TABLES)
        yield lambda names: _execute(*(f'DELETE FROM "{name}"' for name in names))
        if guarded:
            append_only.install(connection, append_only.TABLES)


def _empty_on_postgresql(tables: list[str]) -> None:
    sizes = dict(_query("SELECT relname, pg_relation_size(oid) FROM pg_class WHERE relname = ANY(%s) AND relkind = 'r'", tables))
    _execute("; ".join(f'TRUNCATE "{name}" CASCADE' if sizes[name] > LARGE_BYTES else f'DELETE FROM "{name}"' for name in tables))


def _with_rows(tables: tuple[str, ...] | list[str]) -> list[str]:
    parts = (f"SELECT '{table}' WHERE EXISTS (SELECT 1 FROM \"{table}\")" for table in tables)
    return [name for (name,) in _query(" UNION ALL ".join(parts))]


def _rows(table: str) -> Rows:
    return sorted(_query(f'SELECT * FROM "{table}"'), key=repr)


def _insert(table: str, rows: Rows) -> None:
    places = ", ".join(["%s"] * len(rows[0]))
    with connection.cursor() as cursor:
        cursor.executemany(f'INSERT INTO "{table}" VALUES ({places})', rows)


def _triggers() -> frozenset[str]:
    on_postgresql = connection.vendor == "postgresql"
    names = "tgname FROM pg_trigger WHERE NOT tgisinternal" if on_postgresql else "name FROM sqlite_master WHERE type = 'trigger'"
    return frozenset(name for (name,) in _query(f"SELECT {names}"))


def _query(statement: str, *values: object) -> Rows:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        return list(cursor.fetchall())


def _execute(*statements: str) -> None:
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
