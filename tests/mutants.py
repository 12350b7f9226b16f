"""What ``tests.mutation`` changes: small, typical mistakes, each one edit of a file's text.

Python: comparisons shifted by one and negated, arithmetic, ``and``/``or``, ``not`` and minus dropped (which turns a ceiling into a
floor), conditions negated, integers one up and one down, booleans flipped, ``min``/``max`` and ``any``/``all`` swapped, ``return``
without its value, statements removed. SQL, in string literals: the same by pattern. Annotations, decorators and docstrings stay.
"""

from __future__ import annotations

import ast
import copy
import io
import re
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

COMPARISONS: Final[dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
ARITHMETIC: Final[dict[type[ast.operator], type[ast.operator]]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.FloorDiv: ast.Mult,
    ast.Div: ast.Mult,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}
SWAPPED: Final = {"min": "max", "max": "min", "any": "all", "all": "any"}
REMOVED: Final = (ast.Raise, ast.AugAssign, ast.Delete, ast.Continue, ast.Break)
IS_SQL: Final = re.compile(r"\b(SELECT|UPDATE|INSERT|CASE|GROUP BY|ON CONFLICT|coalesce)\b")
SQL: Final = (
    (r" <= ", " < "),
    (r" >= ", " > "),
    (r" < ", " <= "),
    (r" <> ", " = "),
    (r" \+ ", " - "),
    (r" - ", " + "),
    (r"\bAND\b", "OR"),
    (r"\bOR\b", "AND"),
    (r"\bIS NULL\b", "IS NOT NULL"),
    (r"\bIS NOT NULL\b", "IS NULL"),
    (r"\bNOT EXISTS\b", "EXISTS"),
    (r"\bLEFT JOIN\b", "JOIN"),
    (r"coalesce\(([^(),]+), [^(),]+\)", r"\1"),
    (r"\b(THEN|ELSE) 0\b", r"\1 1"),
    (r"\b(THEN|ELSE) -?1\b", r"\1 0"),
    (r" = 0\b", " = 1"),
    (r"\bsum\(", "max("),
)


@dataclass(frozen=True, slots=True)
class Mutant:
    """``source`` is the whole file with one edit; tests that run none of ``lines`` cannot tell it from the original."""

    path: str
    line: int
    lines: range
    before: str
    after: str
    source: str


@dataclass(frozen=True, slots=True)
class _Edit:
    start: int
    end: int
    text: str
    lines: range


def mutants_of(path: str, source: str) -> list[Mutant]:
    """In the order of the text, without repetitions. ``source`` must be what ``path`` holds."""
    finder = _Finder(source)
    finder.visit(ast.parse(source))
    edits = sorted([*finder.edits, *_sql_edits(finder)], key=lambda edit: (edit.start, edit.end))
    raw, seen = source.encode(), {source}
    mutants = []
    for edit in edits:
        changed = (raw[: edit.start] + edit.text.encode() + raw[edit.end :]).decode()
        if changed not in seen:
            seen.add(changed)
            line = raw[: edit.start].count(b"\n") + 1
            before = " ".join(raw[edit.start : edit.end].decode().split())
            mutants.append(Mutant(path, line, edit.lines, before, edit.text, changed))
    return mutants


class _Finder(ast.NodeVisitor):
    def __init__(self, source: str) -> None:
        self.source = source
        self.edits: list[_Edit] = []
        self.docstrings: set[int] = set()
        self._starts = [0]
        for line in source.encode().splitlines(keepends=True):
            self._starts.append(self._starts[-1] + len(line))
        self._lines = range(1, 2)

    def offset(self, line: int, column: int) -> int:
        return self._starts[line - 1] + column

    def visit(self, node: ast.AST) -> None:
        outer = self._lines
        if isinstance(node, ast.stmt):
            body = getattr(node, "body", None)
            last = body[0].lineno - 1 if body else node.end_lineno
            self._lines = range(node.lineno, max(node.lineno, last or 0) + 1)
        for changed, text in _rewrites(node):
            self._add(changed, text)
        super().visit(node)
        self._lines = outer

    def visit_arg(self, node: ast.arg) -> None:
        """An annotation is no behaviour."""

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        """Positions inside are wrong before Python 3.12."""

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self.visit(node.value)

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        for child in (node.args, *node.body):
            self.visit(child)

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        for child in node.body:
            self.visit(child)

    def visit_Expr(self, node: ast.Expr) -> None:
        if isinstance(node.value, ast.Constant):
            self.docstrings.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
        else:
            self.generic_visit(node)

    def _add(self, node: ast.expr | ast.stmt, text: str) -> None:
        start, end = self.offset(node.lineno, node.col_offset), self.offset(node.end_lineno or 0, node.end_col_offset or 0)
        self.edits.append(_Edit(start, end, text, self._lines))


def _rewrites(node: ast.AST) -> Iterator[tuple[ast.expr | ast.stmt, str]]:
    """Nodes and the texts to put in their places."""
    match node:
        case ast.Compare():
            for position, operator in enumerate(node.ops):
                for other in COMPARISONS[type(operator)]:
                    changed = copy.deepcopy(node)
                    changed.ops[position] = other()
                    yield node, f"({ast.unparse(changed)})"
        case ast.BinOp() if type(node.op) in ARITHMETIC:
            yield node, f"({ast.unparse(ast.BinOp(node.left, ARITHMETIC[type(node.op)](), node.right))})"
        case ast.BoolOp():
            other = ast.Or() if isinstance(node.op, ast.And) else ast.And()
            yield node, f"({ast.unparse(ast.BoolOp(other, node.values))})"
        case ast.UnaryOp(op=ast.Not() | ast.USub()):
            yield node, f"({ast.unparse(node.operand)})"
        case ast.Constant(value=bool()):
            yield node, str(not node.value)
        case ast.Constant(value=int()):
            yield from ((node, str(node.value + 1)), (node, f"({node.value - 1})"))
        case ast.Call(func=ast.Name(id=name)) if name in SWAPPED:
            yield node.func, SWAPPED[name]
        case ast.Return(value=ast.expr()) if ast.unparse(node) != "return None":
            yield node, "return None"
        case ast.Expr(value=ast.Call() | ast.Await() | ast.Yield() | ast.YieldFrom()):
            yield node, "pass"
        case ast.Assign(targets=[ast.Attribute() | ast.Subscript()]):
            yield node, "pass"
        case ast.If() | ast.While() | ast.IfExp() if not isinstance(node.test, ast.Compare | ast.BoolOp | ast.UnaryOp):
            yield node.test, f"(not {ast.unparse(node.test)})"
        case ast.stmt() if isinstance(node, REMOVED):
            yield node, "pass"


def _sql_edits(finder: _Finder) -> Iterator[_Edit]:
    for token in tokenize.generate_tokens(io.StringIO(finder.source).readline):
        if token.type != tokenize.STRING or token.start[0] in finder.docstrings or not IS_SQL.search(token.string):
            continue
        begin = finder.offset(token.start[0], len(token.line[: token.start[1]].encode()))
        for pattern, text in SQL:
            for found in re.finditer(pattern, token.string):
                start = begin + len(token.string[: found.start()].encode())
                lines = range(token.start[0], token.end[0] + 1)
                yield _Edit(start, start + len(found.group().encode()), found.expand(text), lines)
