"""``make rehearse``: what proves more than ``make test`` has time for, or kills what it tests. Nothing here is needed before a commit.

    python -m tests.rehearse                      # all, one after the other: some hours
    python -m tests.rehearse kills fuzz           # some (make rehearse ONLY="kills fuzz")
    python -m tests.rehearse flaky --runs 20      # the slowest quarter of the suite, again and again, beside a busy core

What each proves and its last figures are in docs/testing.md. Every one runs, whatever failed before; the exit code is 1 when one did.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass, replace

from tests import durations
from tests.run import ROOT, Runner, Stage, announce, pytest_stage, running

MUTATION_MIN = "90"
SEEDS = "1000"
STREAMS = "100000"
FUZZ_RUNS = "10000000"

EDGES = ("ledger", "writer", "posting", "sql", "books", "spool")
"""The files ``tests/usage/test_<name>_edges.py``."""


@dataclass(frozen=True, slots=True)
class Mutation:
    """Files in which mistakes are planted, the tests that should notice, and on which database."""

    files: tuple[str, ...]
    tests: tuple[str, ...]
    database: str = "sqlite"

    @property
    def stage(self) -> Stage:
        words = (*self.files, "--tests", *self.tests, "--min", MUTATION_MIN)
        return _module("mutation", *words, AIGATEWAY_TEST_DATABASE=self.database, name=f"mutation of {self.files[0]}")


def _usage(*names: str) -> tuple[str, ...]:
    return tuple(f"tests/usage/test_{name}.py" for name in names)


_EDGES = _usage(*(f"{name}_edges" for name in EDGES))
MUTATIONS = (
    Mutation(("usage/money.py", "usage/periods.py"), _usage("money", "periods", "prices_at_dispatch")),
    Mutation(("usage/posting.py",), _usage("posting_edges", "sql_edges", "failed_attempts", "books_edges")),
    Mutation(("usage/failed_attempts.py",), _usage("failed_attempts")),
    Mutation(("usage/ledger.py", "usage/writer.py"), _usage("ledger", "ledger_edges", "writer_edges", "writer", "posting_edges")),
    Mutation(("usage/ledger_types.py",), (*_usage("ledger_types"), *_EDGES)),
    Mutation(("usage/sweeper.py", "usage/spool.py"), _EDGES),
    Mutation(("usage/access.py",), _usage("books_edges", "keys")),
    Mutation(("usage/seals.py", "usage/verification.py"), _usage("books_edges", "seals", "verification")),
    Mutation(("usage/carry_over.py", "usage/adjustments.py"), _usage("books_edges", "adjustments")),
    Mutation(("usage/sql/rows.py", "usage/sql/sqlite.py"), _EDGES),
    Mutation(("usage/sql/postgresql.py",), _EDGES, "postgresql"),
    Mutation(("usage/limits.py", "usage/limit_types.py", "usage/limit_memory.py"), _usage("limits", "limits_alone", "limits_exactly")),
    Mutation(("usage/redis_connection.py",), _usage("redis_connection", "redis_greeting")),
    Mutation(("usage/limit_actions.py", "usage/quotas.py", "usage/tiers.py"), _usage("limit_actions", "quota_states", "tiers")),
    Mutation(("usage/alerts.py",), _usage("alerts")),
    Mutation(("aigateway/rate_limits.py",), ("tests/aigateway/test_allowance.py",)),
    Mutation(
        ("aigateway/idempotency.py", "aigateway/idempotency_store.py"),
        ("tests/aigateway/test_idempotency_work.py", "tests/aigateway/test_idempotency_store.py"),
    ),
)


def _module(module: str, *words: str, name: str = "", **env: str) -> Stage:
    return Stage(name or f"{module} {' '.join(words)}", (sys.executable, "-m", f"tests.{module}", *words), env)


def _pytest(name: str, *words: str, **env: str) -> Stage:
    return Stage(name, (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *words), env)


REHEARSALS: dict[str, tuple[Stage, ...]] = {
    "seeds": (
        _pytest(
            f"{SEEDS} seeds of the ledger's state machine",
            *("-n", "2", "tests/usage/test_ledger_machine.py"),
            AIGATEWAY_TEST_SEEDS=SEEDS,
            AIGATEWAY_TEST_DATABASE="postgresql",
        ),
    ),
    "kills": (_module("load.kills", "--kills", "200"),),
    "mixed": (_module("load.mixed", "--requests", "1000", "--seed", "7"),),
    "overshoot": (_module("load.overshoot"),),
    "rate": (_module("load.ledger_rate"),),
    "streams": (_pytest(f"{STREAMS} cut streams", "tests/streams", "-k", "no_cut_changes", "--timeout=0", AIGATEWAY_TEST_STREAMS=STREAMS),),
    "fuzz": tuple(_module("fuzz", target, "--runs", FUZZ_RUNS, "--seed", "7") for target in ("sse", "usage", "stream")),
    "mutation": tuple(mutation.stage for mutation in MUTATIONS),
    "servers": (_pytest("inference servers", "-m", "inference_server", "tests/aigateway/servers"),),
}


def slowest_quarter() -> list[str]:
    """The quarter of the test files that took longest when ``make test`` was last asked to remember."""
    files = [path.relative_to(ROOT).as_posix() for path in (ROOT / "tests").rglob("test_*.py")]
    known = durations.known()
    return sorted(files, key=lambda name: -known.get(name, 0.0))[: len(files) // 4]


def hunt_flaky(runner: Runner, runs: int) -> None:
    """Every failure counts: nothing is tried again."""
    runner.start(Stage("a busy core", (sys.executable, "-c", "while True: pass")))
    quarter = pytest_stage("postgresql", "-q", *slowest_quarter())
    for number in range(1, runs + 1):
        runner.run(replace(quarter, name=f"the slowest quarter, {number} of {runs}"))
    runner.end()


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.rehearse", description="Everything without a name; docs/testing.md tells what each is."
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join([*REHEARSALS, "flaky"]))
    parser.add_argument("--runs", type=int, default=20, help="of flaky (default: %(default)s)")
    options = parser.parse_args()
    unknown = {*options.names} - {*REHEARSALS, "flaky"}
    if unknown:
        parser.error(f"there is no {', '.join(sorted(unknown))}")
    with running() as runner:
        for name in options.names or [*REHEARSALS, "flaky"]:
            if name == "flaky":
                hunt_flaky(runner, options.runs)
            for stage in REHEARSALS.get(name, ()):
                runner.run(stage)
        announce("rehearsed")
        for name, seconds in runner.seconds.items():
            print(f"{seconds:8.0f} s  {'FAILED' if name in runner.failed else 'passed'}  {name}", flush=True)
    return runner.exit_code


if __name__ == "__main__":
    sys.exit(main())
