"""The rehearsals name files and programs that exist, and docs/testing.md tells of each."""

from __future__ import annotations

import importlib.util

import pytest

from tests import durations, rehearse
from tests.run import ROOT


@pytest.mark.parametrize("mutation", rehearse.MUTATIONS, ids=lambda mutation: mutation.files[0])
def test_mistakes_are_planted_in_files_there_are(mutation: rehearse.Mutation) -> None:
    assert [name for name in (*mutation.files, *mutation.tests) if not (ROOT / name).is_file()] == []


@pytest.mark.parametrize("name", rehearse.REHEARSALS)
def test_a_rehearsal_runs_what_there_is(name: str) -> None:
    for stage in rehearse.REHEARSALS[name]:
        _, flag, module, *words = stage.command
        assert flag == "-m"
        assert importlib.util.find_spec(module) is not None
        assert all((ROOT / word).exists() for word in words if word.startswith("tests/"))


@pytest.mark.parametrize("name", [*rehearse.REHEARSALS, "flaky"])
def test_the_guide_tells_of_each(name: str) -> None:
    assert f"\n| `{name}` | " in (ROOT / "docs/testing.md").read_text()


def test_the_slowest_quarter_is_of_files_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    files = [path.relative_to(ROOT).as_posix() for path in (ROOT / "tests").rglob("test_*.py")]
    slowest = files[len(files) // 2]
    monkeypatch.setattr(durations, "known", lambda: {slowest: 9.0, "tests/test_that_was_renamed.py": 99.0})
    quarter = rehearse.slowest_quarter()
    assert quarter[0] == slowest
    assert {*quarter} < {*files}
    assert len(quarter) == len(files) // 4
