"""The data plane of one process: what the edge needs, started and stopped with it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import TypeVar

import structlog
from django.conf import settings
from django.db import DatabaseError, InterfaceError, close_old_connections

from aigateway import entitlements
from aigateway.callers import CallerDirectory
from aigateway.entitlements import Entitlements
from providers.addresses import own_addresses
from providers.registry import EVERYTHING, SnapshotHolder, changes_since, locked_credentials
from providers.upstream.breaker import Breakers
from providers.upstream.dispatch import Upstreams
from providers.upstream.egress import EgressPolicy
from providers.upstream.transport import Transport
from providers.upstream.types import Snapshot
from usage.ledger import Ledger
from usage.limits import RateLimiter, serve

POLL_S = 0.5
LOOK_PAUSE_S = 0.005
REGISTRY = "registry"
LAST_USED_FLUSH_S = 30.0
STOP_DRAIN_S = 2.0
STOP_LEDGER_S = 2.0
"""Together they fit into the grace a supervisor gives after the drain; what they cannot finish, the sweeper estimates."""
T = TypeVar("T")
_log = structlog.get_logger("aigateway.runtime")


class DataPlane:
    """Owns the configuration snapshot, the callers, the ledger writer and the upstream connections of this process."""

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(max_workers=2, thread_name_prefix="config")
        self._snapshots = SnapshotHolder()
        self._refreshing = asyncio.Lock()
        self._next_look: asyncio.Future[None] | None = None
        self._looked_at_s = 0.0
        self._watcher: asyncio.Task[None] | None = None
        self._egress: tuple[Snapshot | None, EgressPolicy] = (None, EgressPolicy())
        self.version = 0
        self.callers = CallerDirectory(self._executor)
        self.ledger = Ledger()
        self.limits = RateLimiter(settings.REDIS_URL, settings.WEB_PROCESSES)
        self.in_flight = 0
        self.in_flight_max = settings.MAX_IN_FLIGHT
        self.breakers = Breakers(lambda: self.snapshot.routing)
        self.transport = Transport(self._egress_policy)
        self.entitlements = Entitlements(entitlements.fetcher(self.transport))
        self.upstreams = Upstreams(self.transport, self.breakers, lambda: self.snapshot.routing)

    @property
    def snapshot(self) -> Snapshot:
        return self._snapshots.current

    def _egress_policy(self) -> EgressPolicy:
        """Private destinations are those of the current provider rows, no others."""
        if self._egress[0] is not self.snapshot:
            providers = {target.provider.id: target.provider for target in self.snapshot.targets.values()}
            dialled = [*providers.values(), *entitlements.specs()]
            self._egress = (self.snapshot, EgressPolicy.for_providers(dialled, own_addresses()))
        return self._egress[1]

    async def start(self) -> None:
        await self._in_thread(self._snapshots.refresh)
        self.version = self.snapshot.version
        locked = await self._in_thread(locked_credentials)
        if locked:
            _log.error("credentials_locked", providers=locked[:20], mend="restore the key ring, or enter these keys again")
        await self._in_thread(self.ledger.read_clock)
        self.ledger.start()
        await self.transport.start()
        await self.limits.start()
        serve(self.limits)
        self._watcher = asyncio.create_task(self._watch())

    async def stop(self) -> None:
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.gather(self._watcher, return_exceptions=True)
        await self.upstreams.drain_pending(STOP_DRAIN_S)
        await self.transport.close()
        await self.limits.stop()
        await self.callers.flush_last_used()
        await asyncio.to_thread(self.ledger.stop, STOP_LEDGER_S)
        self._executor.shutdown(wait=True)

    async def refresh(self) -> bool:
        """Catches up with the configuration in the database. Returns whether anything had moved."""
        async with self._refreshing:
            return await self._refresh()

    async def _refresh(self) -> bool:
        version, subjects = await self._in_thread(lambda: changes_since(self.version))
        if version == self.version and not self.price_is_due(self.ledger.now()):
            return False
        if EVERYTHING in subjects or REGISTRY in subjects or self.price_is_due(self.ledger.now()):
            await self._in_thread(self._snapshots.refresh)
        self.callers.drop(subjects)
        self.version = version
        _log.info("configuration_applied", version=version, subjects=subjects[:10])
        return True

    async def caught_up(self, seen_version: int) -> bool:
        """Whether the configuration is newer than ``seen_version`` by now. Every refusal that rests on the configuration asks
        before it stands (C10); when the database is away, what is known stands.

        An indexed read for all who ask while it waits for its turn, and ``LOOK_PAUSE_S`` from one to the next: a storm of refusals
        costs the database no more than two hundred of them a second.
        """
        if self.version == seen_version:
            if self._next_look is None:
                self._next_look = asyncio.ensure_future(self._look())
                self._next_look.add_done_callback(lambda look: look.cancelled() or look.exception())
            try:
                await asyncio.shield(self._next_look)
            except (DatabaseError, InterfaceError):
                return False
        return self.version > seen_version

    async def _look(self) -> None:
        async with self._refreshing:
            await asyncio.sleep(self._looked_at_s + LOOK_PAUSE_S - time.monotonic())
            self._next_look = None  # who asks from here on may have seen a later write, and waits for the next look
            try:
                await self._refresh()
            finally:
                self._looked_at_s = time.monotonic()

    def price_is_due(self, now: datetime) -> bool:
        """Whether a stored price has come into force since the snapshot was made."""
        due_at = self._snapshots.due_at
        return due_at is not None and due_at <= now

    async def _watch(self) -> None:
        flush_in_s = LAST_USED_FLUSH_S
        while True:
            await asyncio.sleep(POLL_S)
            flush_in_s -= POLL_S
            try:
                await self.refresh()
                if flush_in_s <= 0:
                    flush_in_s = LAST_USED_FLUSH_S
                    await self.callers.flush_last_used()
            except (DatabaseError, InterfaceError) as error:
                _log.warning("configuration_not_checked", error=type(error).__name__)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, _with_own_connection, work)


def _with_own_connection(work: Callable[[], T]) -> T:
    try:
        return work()
    finally:
        close_old_connections()
