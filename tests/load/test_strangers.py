"""C17, L04: connections without a key cost next to no memory and nobody else's time."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.load import strangers
from tests.load.served import web_processes

CONNECTIONS = 200
GROWTH_MAX_BYTES = 20 * 1024 * 1024


@pytest.mark.timeout(180)
@pytest.mark.django_db(transaction=True)
def test_C17_connections_without_a_key_cost_next_to_no_memory(tmp_path: Path) -> None:
    with web_processes(tmp_path, 1) as stage:
        found = strangers.measure(stage.origin, stage.web[0].pid, stage.key, CONNECTIONS, seconds=3)
    assert [one.crowd for one in found] == ["nobody", *strangers.CROWDS]
    assert {one.crowd: one.failed for one in found if one.failed} == {}
    assert {one.crowd: one.grown_bytes for one in found if one.grown_bytes > GROWTH_MAX_BYTES} == {}
