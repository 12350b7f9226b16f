"""What dispatch and its caller tell each other about attempts, and the tasks that outlive a cancelled request."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol, TypeVar

import structlog

from providers.upstream.breaker import Breakers
from providers.upstream.dispatch.affinity import Affinity
from providers.upstream.errors import CircuitOpen, UpstreamError
from providers.upstream.transport import Transport
from providers.upstream.types import RoutingSettings, Target, TokenUsage

log = structlog.get_logger(__name__)

T = TypeVar("T")

Ticket = Any
"""What ``AttemptLedger.open`` hands out; dispatch gives it back to ``close`` and never looks inside."""


class Billing(StrEnum):
    """``measured``: the provider reported the whole usage. ``estimate``: it may have charged, nobody said how much.
    ``nothing``: it cannot have charged."""

    MEASURED = "measured"
    ESTIMATE = "estimate"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class AttemptOutcome:
    """How one physical call ended. ``error_code`` is empty for success and ``client_closed`` when the client left.

    ``delivered_output_bytes`` counts the UTF-8 bytes of model output received; ``first_byte_ms`` is the time to the first
    content of a stream.
    """

    billing: Billing
    usage: TokenUsage = field(default_factory=TokenUsage)
    delivered_output_bytes: int = 0
    upstream_id: str = ""
    error_code: str = ""
    latency_ms: int = 0
    first_byte_ms: int | None = None
    events: int = 0


@dataclass(frozen=True, slots=True)
class AttemptRecord:
    """One line of the explanation. ``code`` is ``ok`` or an error code; ``attempt_no`` is 0 when no call was made."""

    target: Target
    attempt_no: int
    code: str
    latency_ms: int
    detail: str = ""


class AttemptLedger(Protocol):
    """Opens and closes attempts, so that no call can be made unmetered.

    ``open`` may raise to forbid the call; its exception reaches the caller of dispatch as it is, except for an
    ``UpstreamError``, which leaves this target out and asks the next one. ``close`` is called exactly
    once for every ticket, possibly in a task of its own after the request was cancelled.
    """

    async def open(self, target: Target, attempt_no: int) -> Ticket: ...

    async def close(self, ticket: Ticket, outcome: AttemptOutcome) -> None: ...


class AllTargetsFailed(Exception):
    """No target answered. ``last`` is the error to report, with the soonest wait that any target named."""

    def __init__(self, attempts: tuple[AttemptRecord, ...], last: UpstreamError, retry_after_s: float | None = None) -> None:
        super().__init__(last.code)
        self.attempts = attempts
        self.last = last
        self.retry_after_s = last.retry_after_s = last.retry_after_s if retry_after_s is None else retry_after_s

    @classmethod
    def without_targets(cls) -> AllTargetsFailed:
        return cls((), CircuitOpen("the plan has no target"))


CREDENTIAL_REST_S = 60.0
DRAINS_MAX = 50


class Upstreams:
    """What dispatch needs of the process. ``clock`` is monotonic seconds, ``jitter`` returns [0, 1).

    Without ``settings`` the breakers' own source of routing settings is used.
    """

    def __init__(
        self,
        transport: Transport,
        breakers: Breakers,
        settings: Callable[[], RoutingSettings] | None = None,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.transport = transport
        self.breakers = breakers
        self.settings = settings or breakers.settings
        self.clock = clock
        self.jitter = jitter
        self.sleep = sleep
        self.affinity = Affinity()
        self.drains = 0
        """Streams read on after their client left."""
        self._pending: set[asyncio.Task[Any]] = set()
        self._resting: dict[str, float] = {}

    def supervise(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Runs ``work`` to its end whatever happens to the caller; ``drain_pending`` waits for it."""
        task = asyncio.get_running_loop().create_task(work)
        self._pending.add(task)
        task.add_done_callback(self._pending.discard)
        return task

    def settle(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Supervised work whose failure must not change the client's answer: it is logged, the sweeper mends the line."""
        task = self.supervise(work)
        task.add_done_callback(_log_failure)
        return task

    async def drain_pending(self, timeout_s: float = 60.0) -> int:
        """Waits for settlements and drains at shutdown; returns how many are still unfinished."""
        unfinished = set(self._pending)
        if unfinished:
            _, unfinished = await asyncio.wait(unfinished, timeout=timeout_s)
        return len(unfinished)

    def rest_credential(self, credential_id: str) -> None:
        """A key the provider refused, or whose account is empty, is tried last for a minute."""
        self._resting[credential_id] = self.clock() + CREDENTIAL_REST_S

    def is_resting(self, credential_id: str) -> bool:
        return self._resting.get(credential_id, 0.0) > self.clock()


def _log_failure(task: asyncio.Task[None]) -> None:
    error = None if task.cancelled() else task.exception()
    if error is not None:
        log.error("settlement_failed", error=type(error).__name__)
