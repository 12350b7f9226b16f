"""The project's own Python files, parsed once."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("aigateway", "providers", "usage", "preferences")
COMMANDS = ("aigateway/process/run.py", "aigateway/process/supervisor.py", "providers/simulator/running.py")
"""Files that talk to a terminal, beside management commands."""


@cache
def app_files() -> tuple[Path, ...]:
    return tuple(path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py")) if "migrations" not in path.parts)


@cache
def test_files() -> tuple[Path, ...]:
    return tuple(sorted((ROOT / "tests").rglob("*.py")))


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), filename=str(path))


@cache
def imports(path: Path) -> tuple[ast.Import | ast.ImportFrom, ...]:
    """Every import statement of a file, those inside functions included."""
    return tuple(node for node in ast.walk(tree(path)) if isinstance(node, ast.Import | ast.ImportFrom))


def name(path: Path) -> str:
    """``providers/upstream/sse.py``: how violations name a file."""
    return path.relative_to(ROOT).as_posix()


def module(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def imported_modules(node: ast.AST, importer: Path) -> Iterator[str]:
    """Absolute dotted names an import statement may load: ``from a import b`` gives ``a.b``, or ``a`` when that is no module."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield alias.name
    elif isinstance(node, ast.ImportFrom):
        base = _absolute_base(node, importer)
        for alias in node.names:
            yield f"{base}.{alias.name}" if _is_ours(f"{base}.{alias.name}") else base


def _absolute_base(node: ast.ImportFrom, importer: Path) -> str:
    base = node.module or ""
    if not node.level:
        return base
    parents = module(importer).split(".")
    depth = node.level - (1 if importer.name == "__init__.py" else 0)
    return ".".join([*parents[: len(parents) - depth], *([base] if base else [])])


@cache
def _is_ours(dotted: str) -> bool:
    path = ROOT / dotted.replace(".", "/")
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()
