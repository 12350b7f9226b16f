"""Every write to budgets. Each owns its transaction, announces itself and is audited."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from django.contrib.auth.models import AbstractBaseUser, Group
from django.db import transaction

from providers.models import ConfigVersion, Provider, Route
from usage.budgets.carry_over import carry_over
from usage.errors import ActionRefused
from usage.models import ApiKey, Budget, Enforcement, Period, Tier
from usage.money import MAX_NANO

Subject = AbstractBaseUser | ApiKey | Group | Provider | str | None
"""Whom a limit binds: a user, a key, a team, a provider, a context by name, or ``None`` for the whole gateway."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Caps of one period; ``None`` is no limit. Raises ``ActionRefused`` for what no budget can be."""

    cap_nano: int | None = None
    cap_tokens: int | None = None
    cap_requests: int | None = None
    enforcement: str = Enforcement.HARD
    charge_failed_attempts: bool = True

    def __post_init__(self) -> None:
        caps = (self.cap_nano, self.cap_tokens, self.cap_requests)
        if all(cap is None for cap in caps):
            raise ActionRefused("A budget limits money, tokens or requests: set at least one cap.")
        if not all(cap is None or 0 <= cap <= MAX_NANO for cap in caps):
            raise ActionRefused("A cap is 0 or more: at most 9.2 billion dollars, tokens or requests at most 2**63 - 1.")
        if self.enforcement not in Enforcement.values:
            raise ActionRefused(f"An enforcement is one of {', '.join(Enforcement.values)}.")


def set_budget(
    scope: str, subject: Subject, period: str, limits: Limits, *, fallback_route: Route | None = None, tier: Tier | None = None
) -> Budget:
    """Sets the caps of one scope and period; what is posted and held stays.

    Raises ``ActionRefused`` for a subject that does not belong to the scope.
    """
    if period not in Period.values:
        raise ActionRefused(f"A period is one of {', '.join(Period.values)}.")
    values = {**asdict(limits), "fallback_route": fallback_route, "tier": tier}
    with transaction.atomic():
        budget, created = Budget.objects.select_for_update().get_or_create(
            scope=scope, **_subject_fields(scope, subject), period=period, defaults=values
        )
        if created:
            carry_over(budget)
        else:
            for name, value in values.items():
                setattr(budget, name, value)
            budget.save(update_fields=[*values])
        ConfigVersion.bump("budgets")
    return budget


def delete_budget(budget: Budget) -> None:
    """Lifts a limit. The ledger keeps its lines; the counters of this budget go."""
    with transaction.atomic():
        budget.delete()
        ConfigVersion.bump("budgets")


def _subject_fields(scope: str, subject: Subject) -> dict[str, Any]:
    """The subject as the columns of a budget. Raises ``ActionRefused`` when it does not belong to the scope."""
    nobody = {"user": None, "api_key": None, "team": None, "provider": None, "context": ""}
    match scope, subject:
        case Budget.Scope.GATEWAY, None:
            return nobody
        case Budget.Scope.USER, AbstractBaseUser():
            return {**nobody, "user": subject}
        case Budget.Scope.KEY, ApiKey():
            return {**nobody, "api_key": subject}
        case Budget.Scope.TEAM, Group():
            return {**nobody, "team": subject}
        case Budget.Scope.PROVIDER, Provider():
            return {**nobody, "provider": subject}
        case Budget.Scope.CONTEXT, str() if subject:
            return {**nobody, "context": subject}
    raise ActionRefused("A budget names what its scope says: a user, a key, a team, a provider, a context; a gateway budget names nobody.")
