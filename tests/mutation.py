"""Would the tests notice a mistake? Plants one at a time and runs the tests that execute the changed lines.

    python -m tests.mutation usage/money.py usage/periods.py --tests tests/usage/test_money.py tests/usage/test_periods.py
    AIGATEWAY_TEST_DATABASE=postgresql python -m tests.mutation usage/sql/postgresql.py --tests tests/usage --min 90

The files are not touched: one process collects the tests, runs each once (which tells how long it takes and what lines it
executes), and then forks for every mutant of ``tests.mutants``. The child puts the changed code into the loaded modules and runs the
tests concerned, quickest first, on a database of its own, until one fails. A mutant is killed by a failing test or by a test that
takes five times as long as it should. What runs in a process of its own (a subprocess) runs the original: such tests never kill.
Survivors are printed with the text before and after; the exit code is 1 when a file's score is below ``--min``.
"""

from __future__ import annotations

import argparse
import ast
import functools
import importlib
import inspect
import os
import random
import shutil
import signal
import sys
import time
import types
from collections import Counter
from pathlib import Path
from typing import Any, Final, TextIO

import coverage
import psycopg
import pytest
from _pytest.runner import runtestprotocol
from django.db import connections
from hypothesis import Phase, settings

from tests.mutants import Mutant, mutants_of

SURVIVED, KILLED, CANNOT_BE_PLANTED = 0, 1, 2
GRACE_S: Final = 5.0
SLOWER: Final = 5
CHILD_DATABASE: Final = "mutant"


class Mutation:
    """A pytest plugin that takes the place of the loop over the tests."""

    def __init__(self, options: argparse.Namespace, out: TextIO) -> None:
        self.options = options
        self.out = out
        self.scores: dict[str, Counter[int]] = {}
        self._seconds: dict[str, float] = {}
        self._tests: dict[str, dict[int, list[str]]] = {}

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection(self) -> None:
        """The same examples for every mutant; a failing one is enough, it need not be a small one."""
        settings.register_profile("mutation", derandomize=True, database=None, deadline=None, phases=[Phase.explicit, Phase.generate])
        settings.load_profile("mutation")

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        if session.testsfailed:
            raise session.Interrupted("the tests cannot be collected")
        items = {item.nodeid: item for item in session.items}
        self._run_unchanged(session)
        for path in self.options.files:
            mutants = mutants_of(path, Path(path).read_text())
            chosen = mutants
            if self.options.sample and self.options.sample < len(mutants):
                picked = random.Random(self.options.seed).sample(range(len(mutants)), self.options.sample)
                chosen = [mutants[index] for index in sorted(picked)]
            self._say(f"{path}: {len(chosen)} of {len(mutants)} mutants")
            self.scores[path] = Counter(self._try(mutant, items, session) for mutant in chosen)
        test_database = connections["default"].settings_dict
        test_database["NAME"] = test_database.get("PRISTINE", test_database["NAME"])
        return True

    def _run_unchanged(self, session: pytest.Session) -> None:
        recorder = coverage.Coverage(data_file=None, config_file=False, include=[str(Path(path).resolve()) for path in self.options.files])
        recorder.start()
        for item in session.items:
            recorder.switch_context(item.nodeid)
            began = time.monotonic()
            if any(report.failed for report in runtestprotocol(item, log=False, nextitem=session)):  # type: ignore[arg-type]
                raise session.Interrupted(f"{item.nodeid} fails without any change")
            self._seconds[item.nodeid] = time.monotonic() - began
        recorder.stop()
        for path in self.options.files:
            found = recorder.get_data().contexts_by_lineno(str(Path(path).resolve()))
            self._tests[path] = {line: [each for each in tests if each] for line, tests in found.items()}
        self._say(f"{len(self._seconds)} tests pass without any change, in {sum(self._seconds.values()):.0f} s")

    def _try(self, mutant: Mutant, items: dict[str, pytest.Item], session: pytest.Session) -> int:
        tests = self._concerned(mutant)
        _renew_database()
        child = os.fork()
        if not child:
            os._exit(_outcome(mutant, [(items[name], self._seconds[name]) for name in tests], session))
        _, status = os.waitpid(child, 0)
        outcome = os.WEXITSTATUS(status) if os.WIFEXITED(status) else KILLED
        if outcome == SURVIVED:
            self._say(f"{mutant.path}:{mutant.line} survived {len(tests)} tests\n  - {mutant.before}\n  + {mutant.after}")
        return outcome

    def _concerned(self, mutant: Mutant) -> list[str]:
        """The tests that run the mutant's lines; for a constant those that run a line naming it; else all that run the file."""
        by_line = self._tests[mutant.path]
        names = {name for line in mutant.lines for name in by_line.get(line, ())}
        if not names:
            users = _lines_naming(Path(mutant.path).read_text(), mutant.lines)
            names = {name for line in users or by_line for name in by_line.get(line, ())}
        quick = [name for name in names if self._seconds[name] <= self.options.slowest]
        return sorted(quick, key=self._seconds.__getitem__)

    def _say(self, text: str) -> None:
        print(text, file=self.out, flush=True)


def _outcome(mutant: Mutant, tests: list[tuple[pytest.Item, float]], session: pytest.Session) -> int:
    """In the child. SIGALRM ends it: the parent reads that as killed."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    try:
        _plant(mutant)
    except ValueError:  # another number of closed-over names
        return CANNOT_BE_PLANTED
    except BaseException:  # noqa: BLE001 - whatever a broken module raises on import, nobody would miss it
        return KILLED
    for item, seconds in tests:
        signal.setitimer(signal.ITIMER_REAL, GRACE_S + SLOWER * seconds)
        if any(report.failed for report in runtestprotocol(item, log=False, nextitem=session)):  # type: ignore[arg-type]
            return KILLED
    return SURVIVED


def _plant(mutant: Mutant) -> None:
    name = mutant.path.removesuffix(".py").replace("/", ".")
    loaded = importlib.import_module(name)
    fresh = types.ModuleType(name)
    fresh.__file__ = loaded.__file__
    exec(compile(mutant.source, mutant.path, "exec"), fresh.__dict__)
    for key, value in vars(fresh).items():
        old = vars(loaded).get(key)
        if key.startswith("__") or value is old or isinstance(value, types.ModuleType):
            continue
        if isinstance(value, type) and getattr(value, "__struct_defaults__", ()) == getattr(old, "__struct_defaults__", ()):
            for member, changed in vars(value).items():
                _graft(vars(old).get(member), changed)
        elif not _graft(old, value) and old != value:
            for module in [*sys.modules.values()]:
                if vars(module).get(key) is old:
                    setattr(module, key, value)


def _graft(old: Any, new: Any) -> bool:
    """Puts the code of a function, method or property in place, where everybody who has it runs it; ``False`` for other things."""
    old, new = (getattr(each, "fget", None) or getattr(each, "__func__", None) or each for each in (old, new))
    if isinstance(old, functools._lru_cache_wrapper):
        old.cache_clear()
    if not (inspect.isroutine(new) or isinstance(new, functools._lru_cache_wrapper)):
        return False
    old, new = inspect.unwrap(old), inspect.unwrap(new)
    if isinstance(old, types.FunctionType) and isinstance(new, types.FunctionType):
        old.__code__, old.__defaults__, old.__kwdefaults__ = new.__code__, new.__defaults__, new.__kwdefaults__
    return True


def _lines_naming(source: str, lines: range) -> set[int]:
    """The lines of functions that use the names assigned at module level in ``lines``."""
    tree = ast.parse(source)
    names = {
        node.id
        for statement in tree.body
        if isinstance(statement, ast.Assign | ast.AnnAssign) and statement.lineno in lines
        for node in ast.walk(statement)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    }
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return {node.lineno for each in functions for node in ast.walk(each) if isinstance(node, ast.Name) and node.id in names}


def _renew_database() -> None:
    """A copy of the test database for the next child; no connection is open across the fork."""
    connection = connections["default"]
    connection.close()
    pristine = connection.settings_dict.setdefault("PRISTINE", connection.settings_dict["NAME"])
    if not Path(pristine).exists() and connection.vendor == "sqlite":
        return  # no test needed one
    connection.settings_dict["NAME"] = CHILD_DATABASE
    if connection.vendor == "sqlite":
        connection.settings_dict["NAME"] = f"{pristine}.{CHILD_DATABASE}"
        for suffix in ("-wal", "-shm"):
            Path(f"{pristine}.{CHILD_DATABASE}{suffix}").unlink(missing_ok=True)
        shutil.copy(pristine, f"{pristine}.{CHILD_DATABASE}")
        return
    connection.close_pool()
    with psycopg.connect(os.environ["DATABASE_URL"].replace("postgres://", "postgresql://"), autocommit=True) as server:
        server.execute(f"DROP DATABASE IF EXISTS {CHILD_DATABASE} WITH (FORCE)")
        server.execute(f"CREATE DATABASE {CHILD_DATABASE} TEMPLATE {pristine}")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutation")
    parser.add_argument("files", nargs="+", help="files to plant mistakes in, relative to the project")
    parser.add_argument("--tests", nargs="+", default=["tests/usage"])
    parser.add_argument("--sample", type=int, default=0, help="at most so many mutants of each file, chosen by --seed")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--slowest", type=float, default=3.0, help="leave out tests that take longer than this, in seconds")
    parser.add_argument("--min", type=float, default=0.0, help="lowest score of a file, in percent")
    options = parser.parse_args()
    with os.fdopen(os.dup(1), "w") as out:
        plugin = Mutation(options, out)
        # This module has imported hypothesis before pytest could.
        flags = ["-q", "-p", "no:cacheprovider", "-W", "ignore::pytest.PytestAssertRewriteWarning"]
        code = pytest.main([*options.tests, *flags], plugins=[plugin])
        low = False
        for path, outcomes in plugin.scores.items():
            tried = outcomes[KILLED] + outcomes[SURVIVED]
            score = 100 * outcomes[KILLED] / tried if tried else 100.0
            low |= score < options.min
            print(f"{path}: {tried} mutants, {outcomes[KILLED]} killed, {score:.1f} %", file=out)
    return int(low or code not in (0, pytest.ExitCode.NO_TESTS_COLLECTED))


if __name__ == "__main__":
    sys.exit(main())
