"""Seeded runs of the ledger's state machine. A failure names its seed: ``AIGATEWAY_TEST_SEED=7 pytest tests/usage/test_ledger_machine.py``.

``AIGATEWAY_TEST_SEEDS=1000`` is the long run.
"""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.usage.ledger.machine import LedgerMachine

STEPS = 200
SEEDS = int(os.environ.get("AIGATEWAY_TEST_SEEDS", "50"))
ONE_SEED = os.environ.get("AIGATEWAY_TEST_SEED")
GROUPS = 10
RUN = settings(
    max_examples=1,
    stateful_step_count=STEPS,
    deadline=None,
    database=None,
    derandomize=False,
    phases=[Phase.generate],
    suppress_health_check=[*HealthCheck],
)

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(max(600, SEEDS * 4)), pytest.mark.both_databases]


def seeds_of(group: int, on_postgresql: bool) -> range | list[int]:
    """SQLite serialises everything anyway: a tenth of the seeds shows that its statements agree."""
    if ONE_SEED is not None:
        return [int(ONE_SEED)] if group == 0 else []
    return range(group, SEEDS if on_postgresql else max(GROUPS // 2, SEEDS // 10), GROUPS)


@pytest.mark.parametrize("group", range(GROUPS))
def test_R503_R504_whatever_happens_caps_sums_and_lines_stay_right(transactional_db: None, on_postgresql: bool, group: int) -> None:
    for number in seeds_of(group, on_postgresql):
        machine = seed(number)(type("LedgerMachine", (LedgerMachine,), {}))
        try:
            run_state_machine_as_test(machine, settings=RUN)
        except BaseException as error:
            error.add_note(f"replay with AIGATEWAY_TEST_SEED={number}")
            raise
