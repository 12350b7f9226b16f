"""Every kind of secret against every place it could get to: 0 leaks."""

from __future__ import annotations

import pytest

from tests.canaries.kinds import ALLOWED, LEARNT, SINKS, Canary, new_canaries
from tests.canaries.scenario import Scenario

pytestmark = pytest.mark.timeout(600)
KINDS = (*new_canaries(), *LEARNT)


@pytest.fixture(scope="module")
def scenario(tmp_path_factory: pytest.TempPathFactory) -> Scenario:
    made = Scenario(tmp_path_factory.mktemp("canaries"))
    made.run()
    return made


@pytest.mark.parametrize("sink", SINKS)
def test_S09_S10_S12_S13_S15_every_place_was_looked_into(scenario: Scenario, sink: str) -> None:
    assert any(scenario.sinks[sink]), "an empty place proves nothing"


@pytest.mark.parametrize("sink", SINKS)
@pytest.mark.parametrize("kind", KINDS)
def test_S09_S10_S12_S13_S15_no_secret_is_where_it_does_not_belong(scenario: Scenario, kind: str, sink: str) -> None:
    if (kind, sink) in ALLOWED:
        pytest.skip(ALLOWED[kind, sink])
    canary = Canary(kind, scenario.canaries[kind])
    assert canary.leaks_into(b"\n".join(scenario.sinks[sink])) == []
