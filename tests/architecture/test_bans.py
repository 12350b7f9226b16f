"""What application code must not do, with the few places where it must."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.architecture import source

SPAWNING = ("aigateway/process/children.py",)
"""The one file that starts processes."""

OUTERMOST_EDGES = ("aigateway/door/views.py", "aigateway/api/errors.py")
"""Where an unforeseen exception becomes an answer; everywhere else the exceptions that are meant are named."""

BANNED_CALLS = {"eval", "exec", "mark_safe", "__import__"}
BANNED_METHODS = {"raw", "extra", "mark_safe"}
BANNED_MODULES = {"pickle", "marshal", "shelve", "subprocess", "multiprocessing"}


def _nodes() -> Iterator[tuple[Path, ast.AST]]:
    for path in source.app_files():
        for node in ast.walk(source.tree(path)):
            yield path, node


def _places(found: Iterator[tuple[Path, ast.AST]], allowed: tuple[str, ...] = ()) -> list[str]:
    return sorted(f"{source.name(path)}:{node.lineno}" for path, node in found if source.name(path) not in allowed)


def _is_called(node: ast.AST, names: set[str], methods: set[str]) -> bool:
    if not isinstance(node, ast.Call):
        return False
    called = node.func
    return (isinstance(called, ast.Name) and called.id in names) or (isinstance(called, ast.Attribute) and called.attr in methods)


def test_S17_S26_S33_no_code_from_text_and_no_unescaped_html_and_no_raw_sql_querysets() -> None:
    assert _places((path, node) for path, node in _nodes() if _is_called(node, BANNED_CALLS, BANNED_METHODS)) == []


def test_S33_no_unsafe_serialisation_and_no_processes_but_the_supervisors() -> None:
    found = (
        (path, node)
        for path, node in _nodes()
        if any(target.split(".")[0] in BANNED_MODULES for target in source.imported_modules(node, path))
    )
    assert _places(found, allowed=SPAWNING) == []


def test_everything_is_caught_only_at_the_outermost_edges() -> None:
    def catches_everything(node: ast.AST) -> bool:
        if not isinstance(node, ast.ExceptHandler):
            return False
        caught = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
        everything = any(kind is None or (isinstance(kind, ast.Name) and kind.id in ("Exception", "BaseException")) for kind in caught)
        passes_on = any(isinstance(inner, ast.Raise) and inner.exc is None for inner in ast.walk(node))
        return everything and not passes_on

    assert _places(((path, node) for path, node in _nodes() if catches_everything(node)), allowed=OUTERMOST_EDGES) == []


def test_only_what_talks_to_a_terminal_prints() -> None:
    found = ((path, node) for path, node in _nodes() if _is_called(node, {"print"}, set()) and "management" not in path.parts)
    assert _places(found, allowed=source.COMMANDS) == []


@pytest.mark.parametrize("word", ["TODO", "FIXME", "XXX", "NotImplementedError"])
def test_nothing_is_left_unfinished(word: str) -> None:
    assert [source.name(path) for path in source.app_files() if word in path.read_text()] == []


def _has_inline_code(html: str) -> bool:
    scripts = [tag.split(">")[0] for tag in html.split("<script")[1:]]
    inline_script = any("src=" not in tag and "application/json" not in tag for tag in scripts)
    return inline_script or re.search(r"<style|\sstyle=|javascript:|\son[a-z]+=", html) is not None


def test_templates_carry_no_inline_code() -> None:
    """The content security policy allows scripts and styles from files only."""
    templates = [*source.ROOT.glob("*/templates/**/*.html"), *(source.ROOT / "templates").rglob("*.html")]
    assert [source.name(path) for path in sorted(templates) if _has_inline_code(path.read_text().lower())] == []


SECONDS_AND_COUNTS = {
    *("usage/ledger/front.py", "usage/ledger/writer.py", "usage/reports/totals.py", "usage/reports/serializers.py"),
    *("usage/limits/redis_connection.py", "usage/limits/memory.py", "usage/limits/serializers.py", "usage/subscriptions/events.py"),
}
"""Files of the money package whose floats are waits in seconds, parts of a rate limit or a share of successful calls."""


def _is_binary_fraction(node: ast.AST) -> bool:
    """The type, a literal, or a field of a form, an answer or a table that holds one."""
    return (
        (isinstance(node, ast.Name) and node.id in ("float", "FloatField"))
        or (isinstance(node, ast.Constant) and isinstance(node.value, float))
        or (isinstance(node, ast.Attribute) and node.attr == "FloatField")
    )


def test_M09_nothing_that_counts_money_knows_binary_fractions() -> None:
    money = ("usage/", "providers/prices/", "providers/rates.py", "providers/fields.py", "aigateway/trials/metered_calls.py")
    found = [(path, node) for path, node in _nodes() if source.name(path).startswith(money) and _is_binary_fraction(node)]
    timed = SECONDS_AND_COUNTS | {"aigateway/trials/metered_calls.py"}
    assert {source.name(path) for path, _ in found} == timed, "a list of exceptions names no file that needs none"
