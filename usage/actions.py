"""Every write with a rule: keys and budgets. Each owns its transaction, announces itself and is audited."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import AbstractBaseUser, Group
from django.db import IntegrityError, transaction
from django.utils import timezone

from providers.models import ConfigVersion, Provider, Route
from usage import keys
from usage.carry_over import carry_over
from usage.models import ApiKey, Budget, Enforcement, Entitlement, Period, Tier
from usage.money import MAX_NANO
from usage.subscriptions import SubscriptionEvent


class ActionRefused(ValueError):
    """The write breaks a rule; the message is for people."""


def create_api_key(
    user: AbstractBaseUser,
    name: str,
    *,
    secret: str | None = None,
    allowed_models: Iterable[str] = (),
    allowed_contexts: Iterable[str] = (),
    expires_at: datetime | None = None,
) -> tuple[ApiKey, str]:
    """Makes a key and returns it with its plaintext, which is stored nowhere and cannot be had again.

    ``secret`` is a plaintext chosen by the caller. Raises ``ActionRefused`` when it is unusable or taken.
    """
    plaintext = keys.new_key() if secret is None else secret
    key_id = keys.lookup_id(plaintext)
    if key_id is None:
        raise ActionRefused(f"A key is {keys.FOREIGN_KEY_MIN} to {keys.KEY_MAX} printable ASCII characters without spaces.")
    key = ApiKey(
        id=key_id,
        user_id=user.pk,
        name=name,
        secret_sha256=keys.sha256(plaintext),
        allowed_models=[*allowed_models],
        allowed_contexts=[*allowed_contexts],
        expires_at=expires_at,
    )
    try:
        with transaction.atomic():
            key.save(force_insert=True)
            ConfigVersion.bump(f"key:{key_id}")
    except IntegrityError as error:
        raise ActionRefused("This key exists already.") from error
    return key, plaintext


def update_api_key(
    key: ApiKey, *, name: str, allowed_models: Iterable[str], allowed_contexts: Iterable[str], expires_at: datetime | None
) -> ApiKey:
    """Changes what a key may do, at once and everywhere."""
    with transaction.atomic():
        key = ApiKey.objects.select_for_update().get(pk=key.pk)
        key.name = name
        key.allowed_models = [*allowed_models]
        key.allowed_contexts = [*allowed_contexts]
        key.expires_at = expires_at
        key.save(update_fields=["name", "allowed_models", "allowed_contexts", "expires_at"])
        ConfigVersion.bump(f"key:{key.pk}")
    return key


def revoke_api_key(key: ApiKey) -> ApiKey:
    """Ends a key for good. Revoking it again keeps the first date."""
    with transaction.atomic():
        key = ApiKey.objects.select_for_update().get(pk=key.pk)
        if key.revoked_at is None:
            key.revoked_at = timezone.now()
            key.save(update_fields=["revoked_at"])
            ConfigVersion.bump(f"key:{key.pk}")
    return key


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


def save_entitlement(entitlement: Entitlement) -> Entitlement:
    """Gives a subscription or changes it, at once and everywhere."""
    with transaction.atomic():
        entitlement.save()
        ConfigVersion.bump(f"user:{entitlement.user_id}")
    return entitlement


def delete_entitlement(entitlement: Entitlement) -> None:
    with transaction.atomic():
        user_id = entitlement.user_id
        entitlement.delete()
        ConfigVersion.bump(f"user:{user_id}")


def apply_subscription_event(event: SubscriptionEvent) -> bool:
    """Stores what a payment service said; ``False`` when something newer is known already.

    Events come late, twice and out of order; the newest one by the service's own clock decides. Raises ``ActionRefused``
    when the event names nobody we know.
    """
    with transaction.atomic():
        known = Entitlement.objects.select_for_update().filter(subscription_id=event.subscription_id).first()
        entitlement = known or _entitlement_for(event)
        if entitlement.last_event_at is not None and event.occurred_at < entitlement.last_event_at:
            return False
        entitlement.status = event.status
        entitlement.expires_at = event.expires_at
        entitlement.subscription_id = event.subscription_id
        entitlement.last_event_at = event.occurred_at
        entitlement.save()
        ConfigVersion.bump(f"user:{entitlement.user_id}")
    return True


def _entitlement_for(event: SubscriptionEvent) -> Entitlement:
    if not event.tier:
        raise ActionRefused("metadata.tier: the subscription names no tier.")
    user = get_user_model().objects.filter(username=event.username).first() if event.username else None
    if user is None:
        raise ActionRefused("metadata.user: the subscription names no user of this gateway.")
    return Entitlement.objects.select_for_update().filter(user_id=user.pk, tier=event.tier).first() or Entitlement(
        user_id=user.pk, tier=event.tier
    )


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
