"""``make test``: static checks, then the tests on PostgreSQL and Redis with the coverage gate, then the tests on SQLite.

Every stage runs, whatever failed before; the exit code is 1 when one did. At the end stand each stage's time and share and the
test files that took longest. ``--static`` stops before the tests; ``--remember`` keeps the files' times for the order of later runs.

All tests run on PostgreSQL, which production uses. On SQLite those run again for which the database is the point: SQL of our own,
constraints, triggers, locks, transactions, and the product that brings its own database. Their files carry the marker
``both_databases``; ``tests/architecture/test_databases.py`` finds files that should.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from tests import durations

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("aigateway", "providers", "usage", "preferences")
STOP_TIMEOUT_S = 60.0
SLOWEST_SHOWN = 20
WORKERS = os.environ.get("AIGATEWAY_TEST_WORKERS", "2")

PRODUCTION = {
    "AIGATEWAY_PUBLIC_URL": "https://gateway.example.org",
    "AIGATEWAY_ALLOWED_HOSTS": "gateway.example.org",
    "AIGATEWAY_BEHIND_PROXY": "1",
}


@dataclass(frozen=True, slots=True)
class Stage:
    """One command of the virtual environment and the variables it adds."""

    name: str
    command: tuple[str, ...]
    env: dict[str, str] = field(default_factory=dict)


def _tool(name: str) -> str:
    return str(Path(sys.executable).parent / name)


def _manage(name: str, *words: str, env: dict[str, str] | None = None) -> Stage:
    return Stage(name, (sys.executable, "manage.py", *words), env or {})


def pytest_stage(database: str, *words: str) -> Stage:
    plugins = ("-p", "no:cacheprovider", "-p", "tests.durations")
    command = (sys.executable, "-m", "pytest", "-n", WORKERS, "--dist", "worksteal", *plugins, *words)
    return Stage(f"pytest on {database}", command, {"AIGATEWAY_TEST_DATABASE": database})


MYPY = Stage("mypy", (_tool("mypy"), *PACKAGES))
STATIC = (
    Stage("ruff check", (_tool("ruff"), "check", ".")),
    Stage("ruff format", (_tool("ruff"), "format", "--check", ".")),
    Stage("import contracts", (_tool("lint-imports"),)),
    _manage("migrations are complete", "makemigrations", "--check", "--dry-run"),
    _manage("system checks", "check", "--fail-level", "WARNING"),
    _manage("deployment checks", "check", "--deploy", "--fail-level", "WARNING", env=PRODUCTION),
)
BOTH = "both_databases"


def files_marked(marker: str) -> list[str]:
    """Test files with ``marker``: the others need not even be imported."""
    found = sorted((ROOT / "tests").rglob("test_*.py"))
    return [path.relative_to(ROOT).as_posix() for path in found if f"pytest.mark.{marker}" in path.read_text()]


POSTGRESQL = pytest_stage("postgresql", "--cov", "--cov-report=", "--cov-fail-under=0")
COVERAGE = Stage("coverage", (_tool("coverage"), "report", "--skip-covered"))
SQLITE = pytest_stage("sqlite", "-m", BOTH, *files_marked(BOTH))


class Runner:
    """Runs stages in a clean environment; ``failed`` names those that did not succeed, ``seconds`` how long each took."""

    def __init__(self, scratch: Path) -> None:
        foreign = {name for name in os.environ if name.startswith("AIGATEWAY_") and not name.startswith("AIGATEWAY_TEST_")}
        foreign |= {"DATABASE_URL", "REDIS_URL", "HOST", "PORT", "MAKELEVEL", "MAKEFLAGS", "MFLAGS"}
        self.env = {name: value for name, value in os.environ.items() if name not in foreign} | {"AIGATEWAY_VAR": str(scratch / "var")}
        self.failed: list[str] = []
        self.seconds: dict[str, float] = {}
        self._scratch = scratch
        self._running: list[subprocess.Popen[bytes]] = []

    def start(self, stage: Stage, output: int | None = None) -> subprocess.Popen[bytes]:
        env = self.env | stage.env | {durations.VARIABLE: str(self._durations(stage.name))}
        process = subprocess.Popen(stage.command, cwd=ROOT, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        self._running.append(process)
        return process

    def run(self, stage: Stage) -> None:
        announce(stage.name)
        started = time.monotonic()
        self._finish(stage, self.start(stage), started)

    def run_beside(self, beside: Stage, stages: tuple[Stage, ...]) -> None:
        """Runs ``stages`` one by one while ``beside`` runs; its output is shown at the end."""
        started = time.monotonic()
        log = self._scratch / "beside.log"
        with log.open("wb") as file:
            process = self.start(beside, file.fileno())
            for stage in stages:
                self.run(stage)
            process.wait()
        announce(beside.name)
        print(log.read_text(errors="replace"), end="", flush=True)
        self._finish(beside, process, started)

    def files(self) -> Counter[str]:
        """Worker-seconds by test file, summed over the stages."""
        found = [path for name in self.seconds if (path := self._durations(name)).exists()]
        return sum((Counter(json.loads(path.read_text())) for path in found), Counter())

    @property
    def exit_code(self) -> int:
        return 1 if self.failed else 0

    def end(self) -> None:
        """Ends what still runs: as Ctrl-C would, then for good."""
        for process in self._running:
            if process.poll() is None:
                process.terminate()
        for process in self._running:
            try:
                process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._running.clear()

    def _finish(self, stage: Stage, process: subprocess.Popen[bytes], started: float) -> None:
        code = process.wait()
        self._running.remove(process)
        self.seconds[stage.name] = time.monotonic() - started
        if code:
            self.failed.append(stage.name)
            print(f"FAILED ({code}): {stage.name}", flush=True)
        elif "pytest" not in stage.name:
            print(f"passed in {self.seconds[stage.name]:.0f} s", flush=True)

    def _durations(self, stage: str) -> Path:
        return self._scratch / f"{stage.replace(' ', '-')}.json"


def announce(name: str) -> None:
    print(f"\n--- {name}", flush=True)


def _summary(runner: Runner, static_s: float) -> list[str]:
    """Where the time went: by stage, then by test file."""
    tests_s = {stage.name: runner.seconds[stage.name] for stage in (POSTGRESQL, SQLITE) if stage.name in runner.seconds}
    stages = {"static checks": static_s} | tests_s
    total = sum(stages.values())
    lines = [f"{seconds:7.0f} s {seconds / total:5.0%}  {name}" for name, seconds in {**stages, "in all": total}.items()]
    files = runner.files()
    if files:
        shown = files.most_common(SLOWEST_SHOWN)
        lines.append(f"The {len(shown)} test files that took longest (of {files.total():.0f} worker-seconds, all databases):")
        lines += [f"{seconds:7.1f} s {seconds / files.total():5.1%}  {name}" for name, seconds in shown]
    return lines


@contextmanager
def running() -> Iterator[Runner]:
    """A runner with a scratch folder of its own; ends with what it started. Ctrl-C and SIGTERM end the program with 130."""
    signal.signal(signal.SIGTERM, _interrupt)
    with tempfile.TemporaryDirectory(prefix="aigateway-check-") as scratch:
        runner = Runner(Path(scratch))
        try:
            yield runner
        except KeyboardInterrupt:
            sys.exit(130)
        finally:
            runner.end()
    if runner.failed:
        print(f"\nFAILED: {', '.join(runner.failed)}", flush=True)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main() -> int:
    with running() as runner:
        started = time.monotonic()
        runner.run_beside(MYPY, STATIC)
        static_s = time.monotonic() - started
        if "--static" not in sys.argv:
            runner.run(POSTGRESQL)
            runner.run_beside(COVERAGE, (SQLITE,))
        announce("where the time went")
        print("\n".join(_summary(runner, static_s)), flush=True)
        if "--remember" in sys.argv:
            durations.remember(runner.files())
    return runner.exit_code


if __name__ == "__main__":
    sys.exit(main())
