"""Which tests run on SQLite too: those of code that speaks to the two databases in two ways, or in SQL of its own."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

from tests.architecture import source

MARKER = "both_databases"
OWN_SQL = {"vendor", "cursor"}
"""Attributes of a connection that only such code needs."""


@cache
def speakers() -> frozenset[str]:
    """Modules with SQL of their own, and those that import them from a package ``sql``."""
    return frozenset(source.module(path) for path in source.app_files() if _speaks(path))


def _speaks(path: Path) -> bool:
    if "sql" in path.parts:
        return True
    for node in ast.walk(source.tree(path)):
        if isinstance(node, ast.Attribute) and node.attr in OWN_SQL:
            return True
        if any("sql" in name.split(".") for name in source.imported_modules(node, path)):
            return True
    return False


def imported(path: Path) -> set[str]:
    return {name for node in ast.walk(source.tree(path)) for name in source.imported_modules(node, path)}


def is_marked(path: Path) -> bool:
    """Whether the file's ``pytestmark`` has the marker."""
    return any(
        isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "pytestmark" and f"pytest.mark.{MARKER}" in ast.unparse(node.value)
        for node in source.tree(path).body
    )


def test_tests_of_code_with_sql_of_its_own_run_on_both_databases() -> None:
    missing = {
        source.name(path): sorted(found)
        for path in source.test_files()
        if path.name.startswith("test_") and (found := imported(path) & speakers()) and not is_marked(path)
    }
    assert missing == {}, f"add pytest.mark.{MARKER} to pytestmark"


def test_there_is_code_with_sql_of_its_own() -> None:
    assert any("sql" in name.split(".") for name in speakers())
    assert {"providers.clock", "aigateway.checks"} <= speakers()
