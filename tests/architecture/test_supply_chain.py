"""What is installed is what was reviewed: pinned, hashed, from no address written down here."""

from __future__ import annotations

import re
import tomllib

import pytest

from tests.architecture import source

LOCKS = ("requirements.lock", "requirements-dev.lock", "requirements-litellm.lock")
ADDRESS_FREE = (*LOCKS, "pyproject.toml", "Makefile", ".pre-commit-config.yaml", "Dockerfile")
REGISTRY = re.compile(
    r"--(extra-)?index-url|--find-links|--trusted-host|[a-z]+://\S*(pypi|simple|artifactory|nexus|registry)", re.IGNORECASE
)


def _requirements(lock: str) -> list[str]:
    """One logical line per requirement, continuation lines joined."""
    text = (source.ROOT / lock).read_text().replace("\\\n", " ")
    return [line.strip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]


def _pins(lock: str) -> dict[str, str]:
    return dict(re.match(r"([A-Za-z0-9._-]+)(?:\[[^]]*\])?==(\S+)", line).groups() for line in _requirements(lock))


@pytest.mark.parametrize("lock", LOCKS)
def test_S37_every_requirement_is_pinned_with_hashes(lock: str) -> None:
    requirements = _requirements(lock)
    assert len(requirements) > 20
    assert [line for line in requirements if not re.match(r"[A-Za-z0-9._-]+(\[[^]]*\])?==\S+.*--hash=sha256:[0-9a-f]{64}", line)] == []


@pytest.mark.parametrize("name", ADDRESS_FREE)
def test_S37_no_registry_address_is_committed(name: str) -> None:
    assert REGISTRY.findall((source.ROOT / name).read_text()) == []


def test_both_locks_agree() -> None:
    runtime, development = (_pins(lock) for lock in LOCKS[:2])
    assert {name: version for name, version in runtime.items() if development.get(name) != version} == {}


def test_every_direct_dependency_is_locked() -> None:
    project = tomllib.loads((source.ROOT / "pyproject.toml").read_text())["project"]
    for lock, wanted in ((LOCKS[0], project["dependencies"]), (LOCKS[1], project["optional-dependencies"]["dev"])):
        names = {re.split(r"[\[<>=;! ]", requirement)[0].lower() for requirement in wanted}
        assert names - {name.lower() for name in _pins(lock)} == set()
