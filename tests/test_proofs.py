"""The tables of docs/security.md and docs/faults.md are true: what they name is there, and every row has its test."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent
DOCS = TESTS.parent / "docs"
SHORT = {"up/": "providers/upstream/", "gw/": "aigateway/"}
NAMED = re.compile(r"`([\w/]+\.py)::(test_\w+)`")
LATER = {"C12", "C15"}
"""Management by REST and several keys of one provider: not part of the product yet."""
ROWS = (
    {f"S{number:02}" for number in range(1, 40)}
    | {f"B{number:02}" for number in range(1, 17)}
    | {f"C{number:02}" for number in range(1, 29)}
)


@cache
def _tests_of(path: Path) -> frozenset[str]:
    return frozenset(re.findall(r"^\s*(?:async )?def (test_\w+)", path.read_text(), re.MULTILINE)) if path.exists() else frozenset()


def _path(name: str) -> Path:
    for short, long in SHORT.items():
        if name.startswith(short):
            name = long + name.removeprefix(short)
    return TESTS / name


@pytest.mark.parametrize("page", ["faults.md", "security.md"])
def test_every_test_a_table_names_is_there(page: str) -> None:
    named = NAMED.findall((DOCS / page).read_text())
    assert len(named) > 40
    absent = [f"{file}::{name}" for file, name in named if not any(each.startswith(name) for each in _tests_of(_path(file)))]
    assert absent == []


def test_every_row_has_a_test_with_its_id() -> None:
    names = {name for path in TESTS.rglob("test_*.py") for name in _tests_of(path)}
    proved = {row for name in names for row in re.findall(r"_([SBC]\d\d)(?=_)", name)}
    assert ROWS - LATER - proved == set()


def test_every_row_stands_in_the_tables() -> None:
    listed = set(re.findall(r"^\| ([SBC]\d\d) \|", (DOCS / "faults.md").read_text(), re.MULTILINE))
    assert ROWS - LATER - listed == set()


def test_lines_of_the_security_page_are_short() -> None:
    long = [line for line in (DOCS / "security.md").read_text().splitlines() if len(line) > 100 and not line.startswith("|")]
    assert long == []
