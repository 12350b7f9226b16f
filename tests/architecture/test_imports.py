"""Imports stand at the top of a file and make no cycle; what import-linter's contracts cannot say is said here."""

from __future__ import annotations

import ast

from tests.architecture import source

SEAMS_OF_PROVIDERS = (
    "providers",
    "providers.audit",
    "providers.clock",
    "providers.fields",
    "providers.models",
    "providers.rights",
    "providers.upstream",
    "providers.upstream.types",
)


def _graph() -> dict[str, set[str]]:
    """Which of our modules imports which, function-local imports included. Importing ``a.b`` also runs ``a/__init__.py``."""
    modules = {source.module(path): path for path in source.app_files()}
    graph: dict[str, set[str]] = {name: set() for name in modules}
    for name, path in modules.items():
        for node in source.imports(path):
            graph[name] |= {target for target in source.imported_modules(node, path) if target in modules and target != name}
    return graph


def _cycles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Strongly connected components of more than one module (Tarjan)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for target in sorted(graph[node]):
            if target not in index:
                visit(target)
                low[node] = min(low[node], low[target])
            elif target in stack:
                low[node] = min(low[node], index[target])
        if low[node] == index[node]:
            component = stack[stack.index(node) :]
            del stack[stack.index(node) :]
            if len(component) > 1:
                found.append(sorted(component))

    for node in sorted(graph):
        if node not in index:
            visit(node)
    return found


def test_a_cycle_is_found() -> None:
    assert _cycles({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == [["b", "c"]]


def test_there_is_no_import_cycle() -> None:
    assert _cycles(_graph()) == []


def test_no_function_imports() -> None:
    """Except ``ready()``: before it the models are not there yet."""
    local = {
        f"{source.name(path)}:{node.lineno}"
        for path in source.app_files()
        for function in source.functions(path)
        if not (path.name == "apps.py" and function.name == "ready")
        for node in ast.walk(function)
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    assert sorted(local) == []


def test_usage_and_preferences_see_only_the_seams_of_providers() -> None:
    outside = []
    for path in source.app_files():
        if not source.module(path).startswith(("usage", "preferences")):
            continue
        for node in ast.walk(source.tree(path)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("providers") and node.module not in SEAMS_OF_PROVIDERS:
                outside.append(f"{source.name(path)}:{node.lineno} {node.module}")
            if isinstance(node, ast.Import):
                outside += [
                    f"{source.name(path)} {a.name}"
                    for a in node.names
                    if a.name.startswith("providers") and a.name not in SEAMS_OF_PROVIDERS
                ]
    assert outside == []
