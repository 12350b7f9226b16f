"""How long test files take: recorded for the summary of ``make test``, and used to begin with the slowest.

A pytest plugin (``-p tests.durations``). ``AIGATEWAY_TEST_DURATIONS`` names the file it writes: JSON, by test file the seconds of
set-up, call and teardown of its tests, summed over the workers (worker-seconds). ``tests/durations.json`` has the seconds of an
earlier run: several workers get the slowest files first, so that none ends alone with a long one. It is a hint and may be old.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path

import pytest

VARIABLE = "AIGATEWAY_TEST_DURATIONS"
KNOWN = Path(__file__).with_suffix(".json")
REMEMBERED_S = 1.0


def remember(seconds: Counter[str]) -> None:
    """Keeps the files of ``REMEMBERED_S`` and more for the order of later runs."""
    slow = {name: round(took) for name, took in seconds.most_common() if took >= REMEMBERED_S}
    KNOWN.write_text(json.dumps(slow, indent=2) + "\n")


def known() -> dict[str, float]:
    return json.loads(KNOWN.read_text()) if KNOWN.exists() else {}


def _file_of(nodeid: str) -> str:
    return nodeid.partition("::")[0]


class Recorder:
    """Adds up what the reports say; under xdist all of them reach the controller."""

    def __init__(self, path: Path) -> None:
        self.seconds: Counter[str] = Counter()
        self._path = path

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.seconds[_file_of(report.nodeid)] += report.duration

    def pytest_sessionfinish(self) -> None:
        self._path.write_text(json.dumps(self.seconds))


def pytest_configure(config: pytest.Config) -> None:
    path = os.environ.get(VARIABLE)
    if path and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Recorder(Path(path)), "durations-recorder")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The slowest files first, each in one piece."""
    if not hasattr(config, "workerinput"):
        return
    seconds, places = known(), {}
    for item in items:
        places.setdefault(_file_of(item.nodeid), len(places))
    items.sort(key=lambda item: (-seconds.get(_file_of(item.nodeid), 0.0), places[_file_of(item.nodeid)]))
