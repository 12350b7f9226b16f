"""What somebody may still use: limits, use and reset instants of the budgets that bind one caller."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Q
from django.utils import timezone

from providers import clock
from usage.models import Budget, BudgetPeriod
from usage.periods import period_bounds, period_key


@dataclass(frozen=True, slots=True)
class Measure:
    """``limit is None``: no limit. ``held`` is reserved for calls under way; ``remaining`` never goes below 0."""

    limit: int | None
    used: int
    held: int

    @property
    def remaining(self) -> int | None:
        return None if self.limit is None else max(0, self.limit - self.used - self.held)


@dataclass(frozen=True, slots=True)
class QuotaState:
    """One budget in its current period. ``resets_at`` is ``None`` for a total, which never begins anew."""

    budget_id: int
    scope: str
    subject: str
    period: str
    key: str
    starts_at: datetime | None
    resets_at: datetime | None
    enforcement: str
    charge_failed_attempts: bool
    tier: str | None
    money: Measure
    tokens: Measure
    requests: Measure


def quotas_of(user_id: int, api_key_id: str) -> list[QuotaState]:
    """The caller's own limits: of the user, of the key used and of the teams. Those of others are nobody else's business."""
    binding = Q(scope=Budget.Scope.USER, user_id=user_id) | Q(scope=Budget.Scope.TEAM, team__user=user_id)
    if api_key_id:
        binding |= Q(scope=Budget.Scope.KEY, api_key_id=api_key_id)
    budgets = Budget.objects.filter(binding).select_related("user", "api_key", "team", "tier").distinct().order_by("scope", "pk")
    return states_of(budgets, clock.database_now())


def states_of(budgets: Iterable[Budget], now: datetime) -> list[QuotaState]:
    """The budgets in the period of ``now``."""
    tz = timezone.get_default_timezone()
    rows = [*budgets]
    keys = {budget.pk: period_key(now, budget.period, tz) for budget in rows}
    periods = BudgetPeriod.objects.filter(budget__in=rows, key__in={*keys.values()})
    counted = {period.budget_id: period for period in periods}
    return [_state(budget, counted.get(budget.pk) or BudgetPeriod(budget=budget, key=keys[budget.pk]), now) for budget in rows]


def _state(budget: Budget, period: BudgetPeriod, now: datetime) -> QuotaState:
    starts_at, resets_at = period_bounds(now, budget.period, timezone.get_default_timezone()) or (None, None)
    return QuotaState(
        budget_id=budget.pk,
        scope=budget.scope,
        subject=budget.subject,
        period=budget.period,
        key=period.key,
        starts_at=starts_at,
        resets_at=resets_at,
        enforcement=budget.enforcement,
        charge_failed_attempts=budget.charge_failed_attempts,
        tier=budget.tier.name if budget.tier else None,
        money=Measure(budget.cap_nano, period.posted_nano, period.held_nano),
        tokens=Measure(budget.cap_tokens, period.posted_tokens, period.held_tokens),
        requests=Measure(budget.cap_requests, period.requests, 0),
    )
