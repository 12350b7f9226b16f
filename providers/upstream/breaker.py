"""Circuit breakers: a target that keeps failing is left alone for a while, then tried by one call only."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import structlog

from providers.upstream.errors import CircuitOpen, UpstreamError
from providers.upstream.types import RoutingSettings

log = structlog.get_logger(__name__)


class BreakerState(StrEnum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True, slots=True)
class BreakerView:
    """For display. ``probe_in_s`` is the wait until a call may try again, ``None`` unless open."""

    state: BreakerState
    failures: int
    last_error: str
    probe_in_s: float | None


@dataclass(slots=True)
class _Circuit:
    state: BreakerState = BreakerState.CLOSED
    failures: int = 0
    last_error: str = ""
    opened_at: float = 0.0
    probe_since: float | None = None


class Breakers:
    """One circuit per target id. ``clock`` is monotonic seconds; limits come from the routing settings of the moment.

    Every ``admit`` must be answered by one ``record`` or ``release``. A probe whose answer never comes stops counting
    after the open time, so nothing can stick.
    """

    def __init__(self, settings: Callable[[], RoutingSettings], clock: Callable[[], float] = time.monotonic) -> None:
        self.settings = settings
        self._clock = clock
        self._circuits: dict[int, _Circuit] = {}

    def admit(self, target_id: int) -> bool:
        """Whether the admitted call is the probe of a half-open circuit. Raises ``CircuitOpen``."""
        circuit = self._circuits.get(target_id)
        if circuit is None or circuit.state is BreakerState.CLOSED:
            return False
        wait_s = self._wait_s(circuit)
        if wait_s is not None:
            raise CircuitOpen(f"{circuit.failures} failures, last {circuit.last_error}", retry_after_s=wait_s)
        self._move(target_id, circuit, BreakerState.HALF_OPEN)
        circuit.probe_since = self._clock()
        return True

    def record(self, target_id: int, error: UpstreamError | None) -> None:
        """The verdict of an admitted call. Errors that say nothing about the target's health only end the probe."""
        if error is None:
            circuit = self._circuits.pop(target_id, None)
            if circuit is not None and circuit.state is not BreakerState.CLOSED:
                self._move(target_id, circuit, BreakerState.CLOSED)
            return
        if not error.trips_breaker:
            self.release(target_id)
            return
        circuit = self._circuits.setdefault(target_id, _Circuit())
        circuit.failures += 1
        circuit.last_error = error.code
        circuit.probe_since = None
        is_failed_probe = circuit.state is BreakerState.HALF_OPEN
        if is_failed_probe or (circuit.state is BreakerState.CLOSED and circuit.failures >= self.settings().breaker_failures):
            circuit.opened_at = self._clock()
            self._move(target_id, circuit, BreakerState.OPEN)

    def release(self, target_id: int) -> None:
        """An admitted call ended without a verdict (cancelled, refused before sending): the next one may probe."""
        circuit = self._circuits.get(target_id)
        if circuit is not None:
            circuit.probe_since = None

    def open_for_s(self, target_id: int) -> float | None:
        """How long the target will refuse calls, ``None`` when it takes them now (``routing.plan`` asks this)."""
        circuit = self._circuits.get(target_id)
        return None if circuit is None else self._wait_s(circuit)

    def state(self, target_id: int) -> BreakerState:
        circuit = self._circuits.get(target_id)
        if circuit is None:
            return BreakerState.CLOSED
        if circuit.state is BreakerState.OPEN and self._wait_s(circuit) is None:
            return BreakerState.HALF_OPEN
        return circuit.state

    def reset(self, target_id: int) -> None:
        """Closes the circuit by hand."""
        circuit = self._circuits.pop(target_id, None)
        if circuit is not None and circuit.state is not BreakerState.CLOSED:
            self._move(target_id, circuit, BreakerState.CLOSED)

    def snapshot(self) -> dict[int, BreakerView]:
        """All targets that failed since their last success."""
        return {
            target_id: BreakerView(self.state(target_id), circuit.failures, circuit.last_error, self._wait_s(circuit))
            for target_id, circuit in self._circuits.items()
        }

    def _wait_s(self, circuit: _Circuit) -> float | None:
        since = circuit.opened_at if circuit.state is BreakerState.OPEN else circuit.probe_since
        if circuit.state is BreakerState.CLOSED or since is None:
            return None
        left = since + self.settings().breaker_open_s - self._clock()
        return left if left > 0 else None

    def _move(self, target_id: int, circuit: _Circuit, state: BreakerState) -> None:
        if circuit.state is not state:
            log.warning("breaker_moved", target_id=target_id, was=circuit.state.value, now=state.value, last_error=circuit.last_error)
            circuit.state = state
