"""A Redis that is killed, forgets, or comes back with what it knew long ago."""

from __future__ import annotations

import shutil
import signal

import redis

from tests.servers import PrivateRedis

SNAPSHOT = "dump.rdb"
OLD_SNAPSHOT = "old.rdb"


class FaultyRedis(PrivateRedis):
    """Start it again from the thread that started it first: the kernel ends a server with the thread that made it."""

    def client(self) -> redis.Redis:
        return redis.Redis.from_url(self.url)

    def remember(self) -> None:
        """Keeps a snapshot of this moment for ``start_from_old_snapshot``."""
        with self.client() as admin:
            admin.save()
        shutil.copy(self.folder / SNAPSHOT, self.folder / OLD_SNAPSHOT)

    def kill(self) -> None:
        """SIGKILL: nothing is saved, connections are reset."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.process = None

    def start_empty(self) -> None:
        (self.folder / SNAPSHOT).unlink(missing_ok=True)
        self.start()

    def start_from_old_snapshot(self) -> None:
        shutil.copy(self.folder / OLD_SNAPSHOT, self.folder / SNAPSHOT)
        self.start()

    def flush(self) -> None:
        """Counters and scripts are gone."""
        with self.client() as admin:
            admin.flushall()
            admin.script_flush()
