"""The measuring tools themselves."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.load import bench, rig
from tests.load.bench import Side, loads, measure, table
from tests.load.client import BadAnswer, Load, drive
from tests.load.cpu import descendants, tree_cpu_s
from tests.load.nginx import nginx, program

BURN = "import time\nwhile time.process_time() < 0.3: pass\n"
BURN_IN_CHILD = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {BURN!r}])\n"


def test_cpu_of_a_process_and_of_what_it_started_is_counted(tmp_path: Path) -> None:
    program_text = BURN_IN_CHILD + BURN + "print('done', flush=True)\nsys.stdin.read()\n"
    with subprocess.Popen([sys.executable, "-c", program_text], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        process.stdout.readline()
        assert 0.55 <= tree_cpu_s(process.pid) < 3
        assert descendants(process.pid) == []
        process.stdin.close()
    assert tree_cpu_s(process.pid) == 0


def test_load_is_counted_exactly_and_measured_against_a_proxy(tmp_path: Path) -> None:
    if program() is None:
        pytest.skip("nginx is not installed")
    with rig.simulator(tmp_path) as (_, origin), nginx(tmp_path / "nginx", origin) as (proxy, address):
        side = Side("nginx", address, "any", {"nginx": proxy.pid})
        plain = measure(side, Load(4, 20, False, 10))
        streamed = measure(side, Load(4, 12, True, 10, chunk_ms=1))
        billed = rig.fetch_json(f"{origin}/_sim/bill")["lines"]
    assert (plain.done.requests, streamed.done.chunks) == (20, 12 * 13)
    assert len(billed) == 32
    assert plain.cpu_s["nginx"] > 0


def test_answers_that_are_no_answers_stop_the_measurement(tmp_path: Path) -> None:
    with rig.simulator(tmp_path) as (_, origin), pytest.raises((BadAnswer, ExceptionGroup)):
        drive(Load(1, 1, False, 0), origin, "any")


def test_table_has_a_line_per_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "STREAMS", {1: (40, 1), 2: (64, 1)})  # nobody reads the figures
    with rig.simulator(tmp_path) as (process, origin):
        side = Side("gateway", origin, "any", {"gateway": process.pid, "postgresql": process.pid})
        wanted = loads([1, 2], 0.005)
        results = {load: {"gateway": [measure(side, load)]} for load in wanted}
    lines = table(results).splitlines()
    assert len(lines) == 2 + len(wanted) == 8
    assert {line.count("|") for line in lines} == {10}
