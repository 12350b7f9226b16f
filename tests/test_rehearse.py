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


def test_the_slowest_files_take_the_share_that_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    files = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "tests").rglob("test_*.py"))[:4]
    seconds = dict(zip(files, (10.0, 40.0, 30.0, 20.0), strict=True)) | {"tests/test_that_was_renamed.py": 99.0}
    monkeypatch.setattr(durations, "known", lambda: seconds)
    assert rehearse.slowest_files(0.25) == [files[1]]
    assert rehearse.slowest_files(0.5) == [files[1], files[2]]
    assert rehearse.slowest_files(1.0) == [files[1], files[2], files[3], files[0]]
