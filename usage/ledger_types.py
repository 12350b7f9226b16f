"""What the ledger is told and what it answers: frozen orders, settlements and the classes of refusal."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from providers.upstream.types import Target, TokenUsage
from usage.money import MAX_NANO

MEASURED, ESTIMATED = "measured", "estimated"


@dataclass(frozen=True, slots=True)
class BudgetRef:
    """A budget that applies to a call. ``unit`` is its period unit: ``day``, ``month`` or ``total``."""

    budget_id: int
    unit: str


@dataclass(frozen=True, slots=True)
class ReserveOrder:
    """One physical call about to be made, and the most it can cost.

    ``budgets`` come from ``usage.access.budgets_for`` at ``config_version``. The period it counts in is the one of
    ``dispatched_at`` (aware). The same ``attempt_id`` sent twice is one reservation.
    """

    attempt_id: UUID
    request_id: str
    attempt_no: int
    user_id: int
    api_key_id: str
    context: str
    dialect: str
    model_asked: str
    target: Target
    stream: bool
    hold_nano: int
    budgets: tuple[BudgetRef, ...]
    config_version: int
    dispatched_at: datetime

    def __post_init__(self) -> None:
        if not 0 <= self.hold_nano <= MAX_NANO:
            raise ValueError("a hold is an amount from 0 to 2**63 - 1 nano-dollars")


@dataclass(frozen=True, slots=True)
class Settlement:
    """What a call cost. ``basis`` is ``measured`` or ``estimated``; durations are milliseconds since dispatch.

    ``error_code`` is set when the call failed and still cost something.
    """

    attempt_id: UUID
    cost_nano: int
    usage: TokenUsage
    basis: str = MEASURED
    upstream_id: str = ""
    error_code: str = ""
    latency_ms: int | None = None
    first_byte_ms: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.cost_nano <= MAX_NANO:
            raise ValueError("a cost is an amount from 0 to 2**63 - 1 nano-dollars")


@dataclass(frozen=True, slots=True)
class Void:
    """A call that cost nothing: its whole hold is returned and no line is written."""

    attempt_id: UUID
    error_code: str = ""
    latency_ms: int | None = None


class LedgerError(Exception):
    """Base of every reason why a reservation was not made. Nothing was written and nothing is held."""


class BudgetExceeded(LedgerError):
    """The hold does not fit. ``period`` is the unit (``day``, ``month``, ``total``); amounts are nano-dollars."""

    def __init__(self, scope: str, period: str, cap_nano: int, posted_nano: int, held_nano: int, wanted_nano: int) -> None:
        super().__init__(f"{scope} budget per {period}: {wanted_nano} wanted, {max(0, cap_nano - posted_nano - held_nano)} left")
        self.scope = scope
        self.period = period
        self.cap_nano = cap_nano
        self.posted_nano = posted_nano
        self.held_nano = held_nano
        self.wanted_nano = wanted_nano


class StaleConfiguration(LedgerError):
    """The order was made from an older configuration than ``version``: refresh to it and order again."""

    def __init__(self, version: int) -> None:
        super().__init__(f"configuration {version} is in force")
        self.version = version


class AttemptConflict(LedgerError):
    """Another attempt already has this request id and number."""


class LedgerUnavailable(LedgerError):
    """The database did not answer, or did not answer in time. A paid call must not be made."""


class UnpricedTarget(LedgerError):
    """The target has no price card; what it costs is unknown, so nothing can be held for it."""
