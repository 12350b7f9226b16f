"""``make rehearse``: what proves more than ``make test`` has time for, or kills what it tests. Nothing here is needed before a commit.

    python -m tests.rehearse                      # all, one after the other: some hours
    python -m tests.rehearse kills fuzz           # some (make rehearse ONLY="kills fuzz")
    python -m tests.rehearse flaky --runs 20      # the slowest files, again and again, beside a busy core

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
CONTRACT_CASES = "50000"

EDGES = ("front", "writer", "posting", "sql", "books", "spool")
"""The files ``tests/usage/ledger/test_<name>_edges.py``."""


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
    """``ledger/posting_edges`` is the file ``tests/usage/ledger/test_posting_edges.py``."""
    parts = [name.rpartition("/") for name in names]
    return tuple(f"tests/usage/{room}{slash}test_{name}.py" for room, slash, name in parts)


_EDGES = _usage(*(f"ledger/{name}_edges" for name in EDGES))
MUTATIONS = (
    Mutation(("usage/money.py", "usage/periods.py"), _usage("money", "periods", "ledger/prices_at_dispatch")),
    Mutation(
        ("usage/ledger/posting.py",), _usage("ledger/posting_edges", "ledger/sql_edges", "ledger/failed_attempts", "ledger/books_edges")
    ),
    Mutation(("usage/ledger/failed_attempts.py",), _usage("ledger/failed_attempts")),
    Mutation(
        ("usage/ledger/front.py", "usage/ledger/writer.py"),
        _usage("ledger/front", "ledger/front_edges", "ledger/writer_edges", "ledger/writer", "ledger/posting_edges"),
    ),
    Mutation(("usage/ledger/types.py",), (*_usage("ledger/types"), *_EDGES)),
    Mutation(("usage/ledger/sweeper.py", "usage/ledger/spool.py"), _EDGES),
    Mutation(("usage/keys/records.py",), _usage("ledger/books_edges", "keys/form")),
    Mutation(
        ("usage/ledger/seals.py", "usage/ledger/verification.py"), _usage("ledger/books_edges", "ledger/seals", "ledger/verification")
    ),
    Mutation(("usage/budgets/carry_over.py", "usage/budgets/adjustments.py"), _usage("ledger/books_edges", "budgets/adjustments")),
    Mutation(("usage/ledger/sql/rows.py", "usage/ledger/sql/sqlite.py"), _EDGES),
    Mutation(("usage/ledger/sql/postgresql.py",), _EDGES, "postgresql"),
    Mutation(
        ("usage/limits/limiter.py", "usage/limits/types.py", "usage/limits/memory.py"),
        _usage("limits/limiter", "limits/alone", "limits/exactly"),
    ),
    Mutation(("usage/limits/redis_connection.py",), _usage("limits/redis_connection", "limits/redis_greeting")),
    Mutation(
        ("usage/limits/actions.py", "usage/budgets/quotas.py", "usage/budgets/tiers.py"),
        _usage("limits/actions", "budgets/quota_states", "budgets/tiers"),
    ),
    Mutation(("usage/budgets/alerts.py",), _usage("budgets/alerts")),
    Mutation(("aigateway/rate_limits.py",), ("tests/aigateway/test_allowance.py",)),
    Mutation(
        ("aigateway/door/idempotency.py", "aigateway/idempotency/store.py"),
        ("tests/aigateway/door/test_idempotency_work.py", "tests/aigateway/idempotency/test_store.py"),
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
            *("-n", "2", "tests/usage/ledger/test_machine.py"),
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
    "contract": tuple(
        _pytest(
            f"{CONTRACT_CASES} cases of the OpenAPI document on {database}",
            *("tests/api_contract", "--timeout=0"),
            AIGATEWAY_TEST_CONTRACT_CASES=CONTRACT_CASES,
            AIGATEWAY_TEST_DATABASE=database,
        )
        for database in ("postgresql", "sqlite")
    ),
    "mutation": tuple(mutation.stage for mutation in MUTATIONS),
    "servers": (_pytest("inference servers", "-m", "inference_server", "tests/aigateway/servers"),),
}


def slowest_files(share: float) -> list[str]:
    """The fewest test files that took this ``share`` of all worker-seconds when ``make test`` was last asked to remember."""
    files = {path.relative_to(ROOT).as_posix() for path in (ROOT / "tests").rglob("test_*.py")}
    known = sorted(((seconds, name) for name, seconds in durations.known().items() if name in files), reverse=True)
    wanted_s = share * sum(seconds for seconds, _ in known)
    chosen: list[str] = []
    for seconds, name in known:
        if wanted_s <= 0:
            break
        chosen.append(name)
        wanted_s -= seconds
    return chosen


def hunt_flaky(runner: Runner, runs: int, share: float) -> None:
    """Every failure counts: nothing is tried again."""
    runner.start(Stage("a busy core", (sys.executable, "-c", "while True: pass")))
    slowest = pytest_stage("postgresql", "-q", *slowest_files(share))
    for number in range(1, runs + 1):
        runner.run(replace(slowest, name=f"the slowest files, {number} of {runs}"))
    runner.end()


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.rehearse", description="Everything without a name; docs/testing.md tells what each is."
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join([*REHEARSALS, "flaky"]))
    parser.add_argument("--runs", type=int, default=20, help="of flaky (default: %(default)s)")
    parser.add_argument("--share", type=float, default=0.25, help="of the suite's time that flaky runs (default: %(default)s)")
    options = parser.parse_args()
    unknown = {*options.names} - {*REHEARSALS, "flaky"}
    if unknown:
        parser.error(f"there is no {', '.join(sorted(unknown))}")
    with running() as runner:
        for name in options.names or [*REHEARSALS, "flaky"]:
            if name == "flaky":
                hunt_flaky(runner, options.runs, options.share)
            for stage in REHEARSALS.get(name, ()):
                runner.run(stage)
        announce("rehearsed")
        for name, seconds in runner.seconds.items():
            print(f"{seconds:8.0f} s  {'FAILED' if name in runner.failed else 'passed'}  {name}", flush=True)
    return runner.exit_code


if __name__ == "__main__":
    sys.exit(main())
