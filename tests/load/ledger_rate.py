"""``python -m tests.load.ledger_rate``: pairs of reserve and settle per second on one shared budget, four scopes deep.

Several processes on a durable PostgreSQL, each with its own ledger writer and 32 calls at once. First on a
budget worth a fixed number of calls: what is admitted is compared with what it is worth, to the nano-dollar; then as fast as it goes.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from tests.load import rig

HOLD_NANO = 1_000


def measure(folder: Path, processes: int, seconds: float) -> dict[str, float]:
    """Pairs per second over all processes, and what a budget of ``worth`` calls admitted of three times as many."""
    with rig.durable_postgres(folder / "postgresql") as postgres:
        environment = rig.gateway_environment(folder / "var", 1, rig.new_gateway_key(), postgres.url)
        rig.manage(environment, "migrate", "--verbosity", "0")
        worth = 500
        tight = rig.in_django(environment, "tests.load.ledger_pairs", "budgets", str(worth * HOLD_NANO)).split()
        counts = _in_parallel(environment, processes, "times", str(3 * worth // processes), *tight)
        posted, held = json.loads(rig.in_django(environment, "tests.load.ledger_pairs", "books", *tight))
        plenty = rig.in_django(environment, "tests.load.ledger_pairs", "budgets", str(10**15)).split()
        rates = _in_parallel(environment, processes, "for", str(seconds), *plenty)
    return {
        "processes": processes,
        "pairs_per_s": round(sum(rates), 1),
        "worth": worth,
        "admitted": sum(counts),
        "overshoot_nano": max(0, posted + held - worth * HOLD_NANO),
        "utilisation_percent": round(100 * posted / (worth * HOLD_NANO), 2),
    }


def _in_parallel(environment: dict[str, str], processes: int, *words: str) -> list[float]:
    """All start at the same instant, once each has said that it is ready."""
    command = [sys.executable, "-m", "tests.load.ledger_pairs", *words]
    started = [
        subprocess.Popen(command, cwd=rig.ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(processes)
    ]
    for each in started:
        assert each.stdout is not None
        assert each.stdout.readline() == "ready\n"
    for each in started:
        assert each.stdin is not None
        each.stdin.write("go\n")
        each.stdin.flush()
    return [float(each.communicate()[0]) for each in started]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=10.0)
    options = parser.parse_args()
    with rig.scratch_folder() as folder:
        started = time.monotonic()
        figures = measure(folder, options.processes, options.seconds)
    sys.stdout.write(f"{json.dumps(figures)}\n{os.cpu_count()} cores, {time.monotonic() - started:.0f} s in all\n")


if __name__ == "__main__":
    main()
