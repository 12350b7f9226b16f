"""Tiers, and the quotas of users: what a tier gives becomes budgets of its members; what was set for one user wins over it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict

from django.contrib.auth.models import User
from django.db import transaction

from providers.models import ConfigVersion
from usage.budgets.actions import Limits, set_budget
from usage.budgets.adjustments import reset_budget
from usage.errors import ActionRefused
from usage.models import Budget, BudgetAdjustment, Caps, Tier, TierLimit, UserAccount


def set_account(user: User, tier: Tier | None, team_id: int | None = None) -> UserAccount:
    """Puts a user into a tier and a team, at once and everywhere. Raises ``ActionRefused`` for a team the user is not in."""
    if team_id is not None and not user.groups.filter(pk=team_id).exists():
        raise ActionRefused("team: the user is not a member of this group.")
    with transaction.atomic():
        account, _ = UserAccount.objects.update_or_create(user=user, defaults={"tier": tier, "team_id": team_id})
        _apply_tier(user, tier)
        ConfigVersion.bump(f"user:{user.pk}")
    return account


def set_tier_limit(tier: Tier, period: str, limits: Limits) -> TierLimit:
    """Sets what a tier allows per period, for all its members at once."""
    with transaction.atomic():
        limit, _ = TierLimit.objects.update_or_create(tier=tier, period=period, defaults=asdict(limits))
        apply_to_members(tier)
    return limit


def delete_tier_limit(limit: TierLimit) -> None:
    with transaction.atomic():
        tier = limit.tier
        limit.delete()
        apply_to_members(tier)


def apply_to_members(tier: Tier) -> None:
    """Brings the budgets of every member in line with the tier."""
    for account in UserAccount.objects.filter(tier=tier).select_related("user"):
        _apply_tier(account.user, tier)
    ConfigVersion.bump("budgets")


def replace_quota(user: User, limits: Mapping[str, Limits], tier: Tier | None) -> None:
    """Sets a user's tier and own limits by period to exactly these. Other periods have what the tier gives (R124).

    Raises ``ActionRefused`` for a period there is not; then nothing has changed.
    """
    with transaction.atomic():
        account = UserAccount.objects.filter(user=user).first()
        Budget.objects.filter(scope=Budget.Scope.USER, user=user, tier=None).exclude(period__in=limits).delete()
        for period, wanted in limits.items():
            set_budget(Budget.Scope.USER, user, period, wanted)
        set_account(user, tier, account.team_id if account else None)


def reset_quota(user: User, reason: str, actor_id: int, periods: Iterable[str] = ()) -> list[BudgetAdjustment]:
    """Lets a user's current periods begin anew by opposite entries (R124). Empty ``periods``: all of them."""
    budgets = Budget.objects.filter(scope=Budget.Scope.USER, user=user).order_by("pk")
    wanted = [*periods]
    chosen = [budget for budget in budgets if not wanted or budget.period in wanted]
    with transaction.atomic():
        return [done for budget in chosen if (done := reset_budget(budget, reason, actor_id)) is not None]


def _apply_tier(user: User, tier: Tier | None) -> None:
    of_user = Budget.objects.filter(scope=Budget.Scope.USER, user=user)
    own = set(of_user.filter(tier=None).values_list("period", flat=True))
    given = {} if tier is None else {limit.period: limit for limit in tier.limits.all() if limit.period not in own}
    of_user.exclude(tier=None).exclude(period__in=given).delete()
    for period, limit in given.items():
        set_budget(Budget.Scope.USER, user, period, limits_of(limit), tier=tier)


def limits_of(caps: Caps) -> Limits:
    """Raises ``ActionRefused`` for what no limit can be."""
    return Limits(caps.cap_nano, caps.cap_tokens, caps.cap_requests, caps.enforcement, caps.charge_failed_attempts)
