"""Real providers' answers mean to our adapters what they mean to the oracles, and our requests are the recorded ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conformance.judge import judge_folder
from tests.conformance.report import failures
from tests.conformance.verdict import Outcome

RECORDED = Path(__file__).parents[3] / "shared" / "recorded"
PROVIDERS = sorted(path.name for path in RECORDED.glob("*/")) if RECORDED.is_dir() else ["any"]

pytestmark = pytest.mark.skipif(not RECORDED.is_dir(), reason="recordings are not part of this project")


@pytest.mark.parametrize("provider", PROVIDERS)
def test_recorded_exchanges_are_understood(provider: str) -> None:
    verdicts = judge_folder(RECORDED / provider)
    assert [f"{verdict.name}: {verdict.difference}" for verdict in failures(verdicts)] == []
    assert sum(verdict.outcome is Outcome.PASSED for verdict in verdicts) > 0


def test_few_exchanges_are_explained_away() -> None:
    """A gateway that refuses by name whatever it is asked would fail in nothing."""
    verdicts = judge_folder(RECORDED)
    explained = [verdict.name for verdict in verdicts if verdict.outcome is Outcome.EXPLAINED]
    assert len(explained) * 50 < len(verdicts), explained
