"""The measurement of forward delays, against the stamping provider itself."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.load import delay, rig


def test_delays_are_counted_per_event_once_every_stream_is_under_way(tmp_path: Path) -> None:
    with rig.running([sys.executable, "-m", "tests.load.stamps"], tmp_path / "stamps.log") as provider:
        origin = provider.wait_for_line(r"listening on (\S+)/v1\n")
        found = delay.measure(origin, "any-key", streams=3, events=20, pause_ms=5)
    assert 30 <= len(found.ms) <= 60
    assert all(0 < ms < 1000 for ms in found.ms), "one clock for both sides"


def test_the_table_gives_medians_of_quantiles() -> None:
    rounds = [delay.Delays([float(ms) for ms in range(100)]), delay.Delays([2.0] * 100), delay.Delays([1.0] * 100)]
    assert delay.table({"gateway": rounds}).splitlines()[2] == "| gateway | 300 | 2.00 | 2.00 | 2.00 | 2.00 |"
