"""Who a key belongs to and which budgets bind it. Synchronous ORM: callers on an event loop use a thread."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from django.contrib.auth.models import Group
from django.db.models import Q

from usage.ledger_types import BudgetRef
from usage.limit_types import Limit
from usage.models import FINANCE_GROUP, ApiKey, Budget, RateLimit, UserAccount

_SCOPE_ORDER = {scope: position for position, scope in enumerate(Budget.Scope)}


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """What the data plane caches of a key. Revoked and expired keys are records too; the caller decides."""

    key_id: str
    user_id: int
    username: str
    is_active: bool
    is_staff: bool
    is_superuser: bool
    secret_sha256: bytes = field(repr=False)
    expires_at: datetime | None
    revoked_at: datetime | None
    allowed_models: tuple[str, ...]
    allowed_contexts: tuple[str, ...]


def load_key(key_id: str) -> KeyRecord | None:
    """The key with this public id; ``None`` if there is none. Raises ``django.db.Error`` when that cannot be known."""
    key = ApiKey.objects.select_related("user").filter(pk=key_id).first()
    if key is None:
        return None
    return KeyRecord(
        key_id=key.pk,
        user_id=key.user.pk,
        username=key.user.get_username(),
        is_active=key.user.is_active,
        is_staff=key.user.is_staff,
        is_superuser=key.user.is_superuser,
        secret_sha256=bytes(key.secret_sha256),
        expires_at=key.expires_at,
        revoked_at=key.revoked_at,
        allowed_models=tuple(key.allowed_models),
        allowed_contexts=tuple(key.allowed_contexts),
    )


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


def rate_limits_for(user_id: int, api_key_id: str) -> tuple[Limit, ...]:
    """Every rate limit that can bind the caller, widest scope first. Those of providers bind only calls to them."""
    binding = Q(scope__in=(RateLimit.Scope.GATEWAY, RateLimit.Scope.PROVIDER)) | Q(scope=RateLimit.Scope.USER, user_id=user_id)
    binding |= Q(scope=RateLimit.Scope.TIER, tier__accounts__user_id=user_id)
    if api_key_id:
        binding |= Q(scope=RateLimit.Scope.KEY, api_key_id=api_key_id)
    order = {scope: position for position, scope in enumerate(RateLimit.Scope)}
    rows = sorted(RateLimit.objects.filter(binding).distinct(), key=lambda row: (order[RateLimit.Scope(row.scope)], row.pk))
    return tuple(_limit(row, user_id) for row in rows)


def _limit(row: RateLimit, user_id: int) -> Limit:
    """A tier's limit is counted for each of its users."""
    key = f"{row.pk}:{user_id}" if row.scope == RateLimit.Scope.TIER else str(row.pk)
    return Limit(key, row.scope, row.measure, row.window, row.limit, row.burst, row.provider_id)


def team_of(user_id: int) -> int | None:
    """The group a user's calls are reported under: the one of the account, else the first by name."""
    chosen = UserAccount.objects.filter(user_id=user_id, team__user=user_id).values_list("team_id", flat=True).first()
    if chosen is not None:
        return chosen
    groups = Group.objects.filter(user=user_id).exclude(name=FINANCE_GROUP).order_by("name")
    return groups.values_list("pk", flat=True).first()


def touch_keys(ids: Iterable[str], now: datetime) -> None:
    """Records the last use. Not a configuration change: no version moves and nothing is audited."""
    ApiKey.objects.filter(pk__in=[*ids]).update(last_used_at=now)
