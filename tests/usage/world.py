"""Short ways to say what the ledger is told, and the invariants that hold whatever it was told."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import UTC, datetime

from django.db.models import Sum
from django.utils import timezone

from providers.models import ConfigVersion
from providers.upstream.types import AuthStyle, HealthStatus, PriceCard, ProviderSpec, Target, Timeouts, TokenUsage, Wire
from usage.ledger.front import BudgetRef, ReserveOrder, Settlement
from usage.models import Attempt, Budget, BudgetPeriod, LedgerEntry, Period

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
CARD = PriceCard(id=7, input_nano_per_mtok=2_500_000_000, output_nano_per_mtok=10_000_000_000)
PROVIDER = ProviderSpec(
    id=1,
    slug="sim",
    label="Simulator",
    kind="openai_compatible",
    adapter=Wire.OPENAI_CHAT,
    base_url="http://127.0.0.1:1/v1",
    auth_style=AuthStyle.NONE,
    credentials=(),
    needs_credential=False,
    timeouts=Timeouts(),
    allow_private=True,
    max_connections=10,
    priority=1,
    weight=1,
    health=HealthStatus.GREEN,
)
TARGET = Target(
    id=3,
    name="small",
    upstream_model="small-1",
    provider=PROVIDER,
    capabilities=frozenset(),
    max_output_tokens=100,
    price=CARD,
)
USAGE = TokenUsage(input_tokens=10, output_tokens=5)


def reserve_order(hold_nano: int = 1, budgets: Sequence[Budget] = (), **changes: object) -> ReserveOrder:
    attempt_id = uuid.uuid4()
    fields: dict[str, object] = {
        "attempt_id": attempt_id,
        "request_id": attempt_id.hex,
        "attempt_no": 1,
        "user_id": 1,
        "api_key_id": "abcdefghijkl",
        "context": "default",
        "dialect": "openai_chat",
        "model_asked": "small",
        "target": TARGET,
        "stream": False,
        "hold_nano": hold_nano,
        "budgets": tuple(BudgetRef(budget.pk, budget.period) for budget in budgets),
        "config_version": 1_000_000,
        "dispatched_at": timezone.now(),
        **changes,
    }
    return ReserveOrder(**fields)  # type: ignore[arg-type]


def settlement(order: ReserveOrder, cost_nano: int = 1, **changes: object) -> Settlement:
    return Settlement(order.attempt_id, cost_nano, USAGE, **changes)  # type: ignore[arg-type]


def gateway_budget(cap_nano: int, period: str = Period.TOTAL) -> Budget:
    return Budget.objects.create(scope=Budget.Scope.GATEWAY, period=period, cap_nano=cap_nano)


def counters(budget: Budget) -> tuple[int, int]:
    """Posted and held over all periods of a budget."""
    sums = BudgetPeriod.objects.filter(budget=budget).aggregate(posted=Sum("posted_nano"), held=Sum("held_nano"))
    return sums["posted"] or 0, sums["held"] or 0


def assert_balanced() -> None:
    """Every period's posted is the sum of its lines, its held the sum of its open holds."""
    costs: dict[uuid.UUID, int] = {}
    for attempt_id, cost in LedgerEntry.objects.values_list("attempt_id", "cost_nano"):
        costs[attempt_id] = costs.get(attempt_id, 0) + cost
    attempts = list(Attempt.objects.all())
    for period in BudgetPeriod.objects.all():
        bound = [attempt for attempt in attempts if period.pk in attempt.budget_period_ids]
        assert period.posted_nano == sum(costs.get(attempt.pk, 0) for attempt in bound)
        assert period.held_nano == sum(attempt.hold_nano for attempt in bound if attempt.status == Attempt.Status.DISPATCHED)


def current_version() -> int:
    return ConfigVersion.current()
