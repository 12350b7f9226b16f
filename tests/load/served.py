"""A gateway for tests: web processes on the database of the test run, which is migrated already, and little else.

Rows are made and read in the test's own process. The long forms (``python -m tests.load.mixed`` and the like) start everything:
a PostgreSQL with durable commits, supervisor, worker, beat, every row from a process of its own.
"""

from __future__ import annotations

import importlib
import shutil
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings

from tests.load import rig
from tests.load.mixed import Stage, SupervisedStage
from tests.usage.processes import database_url

SECRETS = ("secret_key", "keks")


@dataclass(frozen=True, slots=True)
class ServedStage(Stage):
    web: tuple[rig.Running, ...]


def in_this_process(module: str, *words: str) -> str:
    said: str = importlib.import_module(module).run(*words)
    return said


@contextmanager
def web_processes(folder: Path, count: int, *, send_buffer_bytes: int | None = None, **variables: str) -> Iterator[ServedStage]:
    """``count`` of them, each on an address of its own, so that a test says who is asked. Logs are ``folder/web-N.log``.

    ``send_buffer_bytes``: see ``rig.listener``.
    """
    with rig.simulator(folder, send_buffer_bytes) as (_, simulator), ExitStack() as running:
        key = in_this_process("tests.load.prepare", simulator)
        environment = _environment(folder) | variables
        origins, web = [], []
        for number in range(count):
            listener = running.enter_context(rig.listener(send_buffer_bytes))
            fd, port = listener.fileno(), listener.getsockname()[1]
            command = [sys.executable, "-m", "aigateway.process.web", "--fd", str(fd)]
            web.append(running.enter_context(rig.running(command, folder / f"web-{number}.log", environment, (fd,))))
            origins.append(f"http://127.0.0.1:{port}")
        for process, origin in zip(web, origins, strict=True):
            process.wait_for_url(f"{origin}/readyz")
        yield ServedStage(tuple(origins), simulator, key, in_this_process, tuple(web))


@contextmanager
def supervised(folder: Path) -> Iterator[SupervisedStage]:
    """One web process that is started again when it ends."""
    with rig.simulator(folder) as (_, simulator):
        key, port = in_this_process("tests.load.prepare", simulator), rig.free_port()
        command = [sys.executable, "manage.py", "run", "--web-only"]
        origin, environment = f"http://127.0.0.1:{port}", _environment(folder) | {"PORT": str(port)}
        with rig.running(command, folder / "run.log", environment) as supervisor:
            supervisor.wait_for_url(f"{origin}/readyz")
            yield SupervisedStage((origin,), simulator, key, in_this_process, supervisor)


def _environment(folder: Path) -> dict[str, str]:
    """A state folder of their own, but the secrets of this process, which made the rows."""
    var = folder / "var"
    var.mkdir(mode=0o700)
    for name in SECRETS:
        shutil.copy(settings.VAR_DIR / name, var / name)
    return rig.gateway_environment(var, 0, "", database_url())
