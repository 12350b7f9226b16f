"""docs/configuration.md lists exactly the environment variables that are read."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from providers.catalog import KINDS
from tests.architecture import source

READERS = {"get", "flag", "integer", "origins", "words"}
VARIABLE = re.compile(r"[A-Z][A-Z0-9_]*[A-Z0-9]")
BY_LIBRARIES = {"FORWARDED_ALLOW_IPS"}
FROM_OUTSIDE = {"CI", "DJANGO_SETTINGS_MODULE", "MAKELEVEL", "PYTEST_XDIST_WORKER", "TMPDIR"}
"""Set by the tools that start us, not by people."""


def _names_read(path) -> Iterator[str]:
    for node in ast.walk(source.tree(path)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in READERS and node.args:
            owner = ast.unparse(node.func.value)
            name = node.args[0]
            if owner in ("os.environ", "env") and isinstance(name, ast.Constant) and isinstance(name.value, str):
                yield name.value
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in READERS:
            yield from (word.value for word in node.args[:1] if isinstance(word, ast.Constant) and isinstance(word.value, str))


def _variables_read() -> set[str]:
    files = (*source.app_files(), *(source.ROOT / "tests").glob("*.py"))
    ours = {name for path in files for name in _names_read(path) if VARIABLE.fullmatch(name)}
    providers = {
        name
        for kind in KINDS.values()
        if kind.slug != "simulator"
        for name in (kind.env_var or f"{kind.slug.upper()}_API_KEY", kind.base_url_env_var, *kind.env_aliases)
    }
    return (ours | providers | BY_LIBRARIES) - FROM_OUTSIDE


def test_every_variable_is_documented_and_none_is_invented() -> None:
    page = (source.ROOT / "docs" / "configuration.md").read_text()
    documented = re.findall(r"^\| `([A-Z0-9_]+)` \|", page, re.MULTILINE)
    assert len(documented) == len(set(documented))
    assert set(documented) == _variables_read()


def test_documented_rows_say_type_default_and_meaning() -> None:
    page = (source.ROOT / "docs" / "configuration.md").read_text()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if line.startswith("| `")]
    assert [row for row in rows if len(row) != 4 or not all(row)] == []


OF_COMPOSE = {"POSTGRES_PASSWORD", "REDIS_PASSWORD", "AIGATEWAY_VERSION", "AIGATEWAY_PUBLISH"}
"""Read by docker-compose.yml itself."""


def test_compose_hands_on_only_variables_that_are_read() -> None:
    named = set(re.findall(r"\$\{([A-Z_]+):", (source.ROOT / "docker-compose.yml").read_text()))
    assert named - OF_COMPOSE <= _variables_read()


def test_the_compose_example_names_what_compose_requires() -> None:
    required = set(re.findall(r"\$\{([A-Z_]+):\?", (source.ROOT / "docker-compose.yml").read_text()))
    optional = set(re.findall(r"\$\{([A-Z_]+):-", (source.ROOT / "docker-compose.yml").read_text()))
    example = (source.ROOT / ".env.example").read_text()
    assert set(re.findall(r"^([A-Z_]+)=", example, re.MULTILINE)) == required
    assert set(re.findall(r"^#([A-Z_]+)=", example, re.MULTILINE)) <= optional
