"""The money rehearsal in small: the ledger equals the provider's own bill, whatever happens in between."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.load.mixed import mixture, rehearse
from tests.load.served import supervised

pytestmark = pytest.mark.both_databases

REQUESTS = 120


def test_a_mixture_is_repeatable_and_has_everything_in_it() -> None:
    wanted = mixture(400, seed=5)
    assert wanted == mixture(400, seed=5)
    assert 20 <= sum(each.leave_after is not None for each in wanted) <= 70
    assert 20 <= sum(b"fault=" in each.body for each in wanted) <= 70
    assert 150 <= sum(each.stream for each in wanted) <= 250


@pytest.mark.timeout(180)
@pytest.mark.django_db(transaction=True)
def test_ledger_equals_the_bill_after_faults_hang_ups_and_a_killed_process(tmp_path: Path) -> None:
    with supervised(tmp_path) as stage:
        verdict, seen = rehearse(stage, REQUESTS, seed=3)
    assert verdict.faults == []
    assert seen["answered"] > REQUESTS / 2
    assert verdict.measured_equal > REQUESTS / 2
    assert verdict.estimated_covering > 0
