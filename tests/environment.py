"""The world a test run lives in, laid out before Django reads its settings (loaded by ``-p`` in pyproject.toml).

State goes to a scratch folder, never to ``var/``. ``AIGATEWAY_TEST_DATABASE=postgresql`` gives the run private
PostgreSQL and Redis servers (``tests.servers``); otherwise it uses SQLite and neither.
"""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from types import FrameType

from tests.servers import PrivatePostgres, PrivateRedis, PrivateServer

# Without bytecode every worker rewrites the assertions of all test files, and every process compiles the product.
FOREIGN = ("DATABASE_URL", "REDIS_URL", "HOST", "PORT", "DJANGO_SETTINGS_MODULE", "PYTHONDONTWRITEBYTECODE")


class PrivateWorld:
    """Scratch folder and servers of one run; closing ends the servers and removes the folder."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="aigateway-test-"))
        self.servers: list[PrivateServer] = []

    def start_servers(self) -> None:
        postgres = PrivatePostgres(self._new_folder("postgresql"))
        redis = PrivateRedis(self._new_folder("redis"))
        for server in (postgres, redis):
            self.servers.append(server)
            server.start()
        os.environ["DATABASE_URL"] = postgres.url
        os.environ["REDIS_URL"] = redis.url

    def close(self) -> None:
        for server in self.servers:
            server.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _new_folder(self, name: str) -> Path:
        folder = self.folder / name
        folder.mkdir()
        return folder


def _clear_foreign_variables() -> None:
    for name in [*os.environ]:
        ours = name.startswith("AIGATEWAY_") and not name.startswith("AIGATEWAY_TEST_")
        if ours or name in FOREIGN or name.endswith(("_API_KEY", "_BASE_URL")):
            del os.environ[name]
    sys.dont_write_bytecode = False


def _stop_like_ctrl_c(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _enter() -> PrivateWorld:
    _clear_foreign_variables()
    signal.signal(signal.SIGTERM, _stop_like_ctrl_c)
    world = PrivateWorld()
    if os.environ.get("AIGATEWAY_TEST_DATABASE") == "postgresql":
        try:
            world.start_servers()
        except BaseException:
            world.close()
            raise
    os.environ["AIGATEWAY_VAR"] = str(world.folder / "var")
    return world


if _worker := os.environ.get("PYTEST_XDIST_WORKER"):
    os.environ["AIGATEWAY_VAR"] = str(Path(os.environ["AIGATEWAY_VAR"]) / _worker)
else:
    _world = _enter()
    atexit.register(_world.close)  # also when pytest ends before its first hook
