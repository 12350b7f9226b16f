"""A budget set in the middle of a period counts what was spent in it before."""

from __future__ import annotations

from typing import Final

from django.db.models import Count, Exists, OuterRef, Q, Sum
from django.utils import timezone

from providers import clock
from usage.ledger import NOT_FAILED
from usage.models import Attempt, Budget, BudgetAdjustment, BudgetPeriod, LedgerEntry
from usage.periods import period_bounds, period_key

REASON: Final = "spent before this budget was set"
_FAILED: Final = Attempt.objects.filter(pk=OuterRef("attempt_id")).exclude(error_code__in=NOT_FAILED)


def carry_over(budget: Budget) -> BudgetAdjustment | None:
    """Opens the current period of a new budget at what the ledger has for it; ``None``: nothing was spent.

    Calls still open are not in it: what they cost is counted by the budgets they were reserved on.
    """
    now, tz = clock.database_now(), timezone.get_default_timezone()
    lines = LedgerEntry.objects.filter(_bound_by(budget)).order_by()
    bounds = period_bounds(now, budget.period, tz)
    if bounds is not None:
        lines = lines.filter(dispatched_at__gte=bounds[0], dispatched_at__lt=bounds[1])
    charged = Q() if budget.charge_failed_attempts else ~Exists(_FAILED)
    spent = lines.aggregate(
        nano=Sum("cost_nano", filter=charged, default=0),
        tokens=Sum("quota_tokens", filter=charged, default=0),
        requests=Count("request_id", distinct=True),
    )
    if not any(spent.values()):
        return None
    key = period_key(now, budget.period, tz)
    BudgetPeriod.objects.create(
        budget=budget, key=key, posted_nano=spent["nano"], posted_tokens=spent["tokens"], requests=spent["requests"]
    )
    return BudgetAdjustment.objects.create(
        budget_id=budget.pk,
        key=key,
        subject=str(budget)[:200],
        amount_nano=spent["nano"],
        tokens=spent["tokens"],
        requests=spent["requests"],
        reason=REASON,
        created_at=now,
    )


def _bound_by(budget: Budget) -> Q:
    match budget.scope:
        case Budget.Scope.USER:
            return Q(user_id=budget.user_id)
        case Budget.Scope.KEY:
            return Q(api_key_id=budget.api_key_id)
        case Budget.Scope.TEAM:
            return Q(team_id=budget.team_id)
        case Budget.Scope.PROVIDER:
            return Q(provider_id=budget.provider_id)
        case Budget.Scope.CONTEXT:
            return Q(context=budget.context)
    return Q()
