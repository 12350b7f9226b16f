"""The planted mistakes: what is planted where, and what is left alone."""

from __future__ import annotations

import pytest

from tests.mutants import mutants_of


def planted(source: str) -> list[str]:
    """What stands in place of ``source``'s last line, mistake by mistake."""
    return [mutant.source.splitlines()[-1].strip() for mutant in mutants_of("usage/sample.py", source)]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("if a < b: pass", ["if (a <= b): pass", "if (a >= b): pass"]),
        ("if a is None: pass", ["if (a is not None): pass"]),
        ("x = -(-a // b)", ["x = (-a // b)", "x = -((a) // b)", "x = -((-a * b))"]),
        ("x = a and not b", ["x = (a or not b)", "x = a and (b)"]),
        ("x = max(a, 1)", ["x = min(a, 1)", "x = max(a, 2)", "x = max(a, (0))"]),
        ("x: int = a or True", ["x: int = (a and True)", "x: int = a or False"]),
        ("a.b(c)", ["pass"]),
        ("a.b += c", ["pass"]),
        ("return a", ["return None"]),
        (
            "x = 'UPDATE t SET a = a + 1 WHERE b <= c'",
            ["x = 'UPDATE t SET a = a - 1 WHERE b <= c'", "x = 'UPDATE t SET a = a + 1 WHERE b < c'"],
        ),
        ("'INSERT OR UPDATE: a docstring'", []),
        ("x: 'int | None' = a", []),
    ],
)
def test_each_mistake_is_planted_once(line: str, expected: list[str]) -> None:
    assert planted(f"def f(a, b, c):\n    {line}\n") == expected


def test_a_mistake_knows_the_lines_whose_tests_can_notice_it() -> None:
    source = "def f(a):\n    return g(\n        a + 1,\n    )\n"
    assert {(mutant.line, mutant.lines) for mutant in mutants_of("usage/sample.py", source)} == {(2, range(2, 5)), (3, range(2, 5))}
