"""Which budgets bind a caller. Synchronous ORM: callers on an event loop use a thread."""

from __future__ import annotations

from django.contrib.auth.models import Group
from django.db.models import Q

from usage.ledger import BudgetRef
from usage.models import FINANCE_GROUP, Budget, UserAccount

_SCOPE_ORDER = {scope: position for position, scope in enumerate(Budget.Scope)}


def budgets_for(user_id: int, api_key_id: str) -> tuple[BudgetRef, ...]:
    """Every budget that can bind the caller, widest scope first. ``api_key_id`` is empty for a session.

    Those of providers and contexts bind only calls to or in them (``BudgetRef.binds``); a user counts in every group's budget.
    """
    binding = Q(scope__in=(Budget.Scope.GATEWAY, Budget.Scope.PROVIDER, Budget.Scope.CONTEXT))
    binding |= Q(scope=Budget.Scope.USER, user_id=user_id) | Q(scope=Budget.Scope.TEAM, team__user=user_id)
    if api_key_id:
        binding |= Q(scope=Budget.Scope.KEY, api_key_id=api_key_id)
    budgets = sorted(Budget.objects.filter(binding).distinct(), key=lambda budget: (_SCOPE_ORDER[Budget.Scope(budget.scope)], budget.pk))
    return tuple(BudgetRef(budget.pk, budget.period, budget.provider_id, budget.context) for budget in budgets)


def team_of(user_id: int) -> int | None:
    """The group a user's calls are reported under: the one of the account, else the first by name."""
    chosen = UserAccount.objects.filter(user_id=user_id, team__user=user_id).values_list("team_id", flat=True).first()
    if chosen is not None:
        return chosen
    groups = Group.objects.filter(user=user_id).exclude(name=FINANCE_GROUP).order_by("name")
    return groups.values_list("pk", flat=True).first()
