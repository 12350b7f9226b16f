"""What the ledger is told and what it answers: frozen orders, settlements and the classes of refusal."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from providers.upstream.types import PriceCard, Target, TokenUsage
from usage.money import MAX_NANO

MEASURED, ESTIMATED, UNPRICED = "measured", "estimated", "unpriced"


@dataclass(frozen=True, slots=True)
class BudgetRef:
    """A budget of a caller. ``unit`` is its period unit. ``provider_id`` and ``context`` narrow it to calls to or in these."""

    budget_id: int
    unit: str
    provider_id: int | None = None
    context: str = ""

    def binds(self, provider_id: int, context: str) -> bool:
        return self.provider_id in (None, provider_id) and self.context in ("", context)


@dataclass(frozen=True, slots=True)
class ReserveOrder:
    """One physical call about to be made, and the most it can cost.

    ``budgets`` come from ``usage.budgets.budgets_for`` at ``config_version``, those that bind this call. The period it counts in
    is the one of ``dispatched_at`` (aware). The same ``attempt_id`` sent twice is one reservation. ``price`` is the card fixed
    for this call; ``None`` takes the target's as it stands. The first attempt of a request is what request quotas count.
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
    price: PriceCard | None = None
    hold_tokens: int = 0
    team_id: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.hold_nano <= MAX_NANO:
            raise ValueError("a hold is an amount from 0 to 2**63 - 1 nano-dollars")
        if not 0 <= self.hold_tokens <= MAX_NANO:
            raise ValueError("a hold is a number of tokens from 0 to 2**63 - 1")

    @property
    def card(self) -> PriceCard | None:
        return self.price or self.target.price

    @property
    def requests(self) -> int:
        """What request quotas count of it."""
        return 1 if self.attempt_no == 1 else 0


@dataclass(frozen=True, slots=True)
class Settlement:
    """What a call cost. ``basis`` is ``measured``, ``estimated`` or ``unpriced``; durations are milliseconds since dispatch.

    ``error_code`` is set when the call failed and still cost something, ``note`` where the line needs a word of explanation.
    """

    attempt_id: UUID
    cost_nano: int
    usage: TokenUsage
    basis: str = MEASURED
    upstream_id: str = ""
    error_code: str = ""
    note: str = ""
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
    """The hold does not fit. ``period`` is the unit of the budget; figures are nano-dollars, tokens or requests by ``measure``.

    ``fallback_route`` is where the budget sends what no longer fits; empty: it is refused.
    """

    def __init__(
        self, scope: str, period: str, measure: str, *, cap: int, posted: int, held: int, wanted: int, fallback_route: str = ""
    ) -> None:
        super().__init__(f"{scope} {measure} per {period}: {wanted} wanted, {max(0, cap - posted - held)} left")
        self.scope = scope
        self.period = period
        self.measure = measure
        self.cap = cap
        self.posted = posted
        self.held = held
        self.wanted = wanted
        self.fallback_route = fallback_route


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
