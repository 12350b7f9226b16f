"""``python -m tests.load.bench``: CPU seconds of the gateway beside a plain nginx proxy, in one run on one machine.

Both stand in front of the same simulator and take turns. The gateway runs one web process with everything on: API key,
budgets on gateway, user and key, durable ledger on PostgreSQL. README.md says how to read the table.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.load import rig
from tests.load.client import MODEL, TRANSLATED_MODEL, Done, Load, drive
from tests.load.cpu import tree_cpu_s
from tests.load.nginx import nginx, program

PLAIN_REQUESTS = {1: 1000, 16: 2000, 64: 2000}
STREAMS = {1: (40, 2), 16: (64, 10), 64: (128, 30)}
"""Per concurrency: how many streams, and milliseconds between chunks: slow enough that every chunk travels alone."""
STREAM_TOKENS = 100
PLAIN_TOKENS = 32


@dataclass(frozen=True, slots=True)
class Side:
    """One thing to measure: where it listens, which processes it is made of, by name."""

    name: str
    origin: str
    key: str
    processes: dict[str, int]


@dataclass(frozen=True, slots=True)
class Measured:
    """One load against one side. ``cpu_s`` is per process group and per 1,000 requests, or per 1,000 chunks of streams."""

    cpu_s: dict[str, float]
    done: Done


def loads(concurrencies: list[int], scale: float, *, only_streams: bool = False) -> list[Load]:
    plain = [Load(c, max(c, round(PLAIN_REQUESTS.get(c, 2000) * scale)), False, PLAIN_TOKENS) for c in concurrencies]
    streams = []
    for model in (MODEL, TRANSLATED_MODEL):
        for c in concurrencies:
            count, chunk_ms = STREAMS.get(c, (2 * c, 30))
            streams.append(Load(c, max(c, round(count * scale)), True, STREAM_TOKENS, chunk_ms, model))
    return streams if only_streams else plain + streams


def measure(side: Side, load: Load) -> Measured:
    before = {name: tree_cpu_s(pid) for name, pid in side.processes.items()}
    done = drive(load, side.origin, side.key)
    after = {name: tree_cpu_s(pid) for name, pid in side.processes.items()}
    units = done.chunks if load.stream else done.requests
    return Measured({name: (after[name] - before[name]) / units * 1000 for name in after}, done)


@contextmanager
def sides(folder: Path) -> Iterator[list[Side]]:
    """nginx (where it is installed) and the gateway before one simulator."""
    with ExitStack() as stack:
        simulator, origin = stack.enter_context(rig.simulator(folder))
        found = []
        if program() is not None:
            proxy, address = stack.enter_context(nginx(folder / "nginx", origin))
            found.append(Side("nginx", address, "any-key", {"nginx": proxy.pid, "simulator": simulator.pid}))
        postgres = stack.enter_context(rig.durable_postgres(folder / "postgresql"))
        key, port = rig.new_gateway_key(), rig.free_port()
        environment = rig.gateway_environment(folder / "var", port, key, postgres.url)
        rig.manage(environment, "migrate", "--verbosity", "0")
        rig.in_django(environment, "tests.load.prepare", origin)
        web = stack.enter_context(rig.running([sys.executable, "-m", "aigateway.process.web"], folder / "web.log", environment))
        web.wait_for_url(f"http://127.0.0.1:{port}/readyz")
        assert postgres.process is not None
        groups = {"gateway": web.pid, "postgresql": postgres.process.pid, "simulator": simulator.pid}
        yield [*found, Side("gateway", f"http://127.0.0.1:{port}", key, groups)]


def run(both: list[Side], wanted: list[Load], rounds: int) -> dict[Load, dict[str, list[Measured]]]:
    for side in both:
        for load in wanted:
            drive(Load(load.concurrency, load.concurrency * 4, load.stream, 8, model=load.model), side.origin, side.key)
    results: dict[Load, dict[str, list[Measured]]] = {load: {side.name: [] for side in both} for load in wanted}
    for number in range(rounds):
        for load in wanted:
            for side in both:
                results[load][side.name].append(measure(side, load))
        sys.stderr.write(f"round {number + 1} of {rounds} done\n")
    return results


def table(results: dict[Load, dict[str, list[Measured]]]) -> str:
    """Medians over the rounds, as Markdown."""
    lines = [
        "| per 1,000 | at once | nginx CPU s | gateway CPU s | ratio | PostgreSQL CPU s | median ms | p99 ms | per s |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for load, by_side in results.items():
        ours, theirs = by_side["gateway"], by_side.get("nginx", [])
        gateway_s, nginx_s = _median(ours, "gateway"), _median(theirs, "nginx") if theirs else None
        per_s = statistics.median((m.done.chunks if load.stream else m.done.requests) / m.done.seconds for m in ours)
        cells = [
            load.label,
            str(load.concurrency),
            "-" if nginx_s is None else f"{nginx_s:.3f}",
            f"{gateway_s:.3f}",
            "-" if not nginx_s else f"{gateway_s / nginx_s:.1f}",
            f"{_median(ours, 'postgresql'):.3f}",
            f"{statistics.median(m.done.median_ms for m in ours):.1f}",
            f"{statistics.median(m.done.p99_ms for m in ours):.1f}",
            f"{per_s:.0f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _median(measured: list[Measured], name: str) -> float:
    return statistics.median(each.cpu_s[name] for each in measured)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="medians are taken over so many rounds (default: %(default)s)")
    parser.add_argument("--concurrency", type=int, nargs="+", default=[1, 16, 64])
    parser.add_argument("--scale", type=float, default=1.0, help="multiplies the number of requests (default: %(default)s)")
    parser.add_argument("--streams", action="store_true", help="measure streams only")
    options = parser.parse_args()
    with rig.scratch_folder() as folder, sides(folder) as both:
        results = run(both, loads(options.concurrency, options.scale, only_streams=options.streams), options.rounds)
    sys.stdout.write(table(results) + "\n")


if __name__ == "__main__":
    main()
