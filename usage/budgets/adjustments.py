"""What people change by hand, always by adding: credits on the ledger, and what a budget counts. Nothing is edited or deleted."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Final

from django.db import transaction
from django.db.models import F
from django.utils import timezone

from providers import audit, clock
from providers.models import ConfigVersion
from usage.errors import ActionRefused
from usage.models import Attempt, Budget, BudgetAdjustment, BudgetPeriod, LedgerEntry
from usage.money import MAX_NANO
from usage.periods import period_key

REASON_MAX: Final = 200


def adjust_attempt(attempt: Attempt, amount_nano: int, reason: str, actor_id: int) -> LedgerEntry:
    """Posts ``amount_nano`` (negative: a credit) on a closed attempt and on every budget period it counted in.

    Raises ``ActionRefused`` without a reason, for an attempt that cost nothing or is still open, or for a credit above its cost.
    """
    reason = _checked_reason(reason)
    if amount_nano == 0 or abs(amount_nano) > MAX_NANO:
        raise ActionRefused("An adjustment changes the cost by some amount.")
    with transaction.atomic():
        attempt = Attempt.objects.select_for_update().get(pk=attempt.pk)
        lines = [*LedgerEntry.objects.filter(attempt_id=attempt.pk).order_by("pk")]
        if not lines:
            raise ActionRefused("Only a call that was billed can be adjusted.")
        if sum(line.cost_nano for line in lines) + amount_nano < 0:
            raise ActionRefused("A credit cannot be larger than what the call has cost.")
        line = _adjusting_line(lines[0], amount_nano, reason, actor_id)
        line.save(force_insert=True)
        audit.record(line, {"cost_nano": ["0", str(amount_nano)], "reason": ["", reason]})
        _post(attempt.budget_period_ids, amount_nano)
    return line


def reset_budget(budget: Budget, reason: str, actor_id: int | None, now: datetime | None = None) -> BudgetAdjustment | None:
    """Lets the current period of ``budget`` begin anew by an opposite entry; what is held stays held. ``None``: nothing to reset."""
    reason = _checked_reason(reason)
    key = period_key(now or clock.database_now(), budget.period, timezone.get_default_timezone())
    with transaction.atomic():
        period = BudgetPeriod.objects.select_for_update().filter(budget=budget, key=key).first()
        if period is None or not (period.posted_nano or period.posted_tokens or period.requests):
            return None
        adjustment = BudgetAdjustment.objects.create(
            budget_id=budget.pk,
            key=key,
            subject=str(budget)[:200],
            amount_nano=-period.posted_nano,
            tokens=-period.posted_tokens,
            requests=-period.requests,
            reason=reason,
            actor_id=actor_id,
            created_at=clock.database_now(),
        )
        period.posted_nano = period.posted_tokens = period.requests = 0
        period.save(update_fields=["posted_nano", "posted_tokens", "requests"])
        period.alerts.all().delete()
        ConfigVersion.bump("budgets")
    return adjustment


def _checked_reason(reason: str) -> str:
    reason = reason.strip()
    if not 3 <= len(reason) <= REASON_MAX:
        raise ActionRefused(f"Give a reason of 3 to {REASON_MAX} characters; it stays on record.")
    return reason


def _adjusting_line(line: LedgerEntry, amount_nano: int, reason: str, actor_id: int) -> LedgerEntry:
    return LedgerEntry(
        attempt_id=line.attempt_id,
        kind=LedgerEntry.Kind.ADJUSTMENT,
        basis=line.basis,
        cost_nano=amount_nano,
        posted_at=clock.database_now(),
        dispatched_at=line.dispatched_at,
        request_id=line.request_id,
        attempt_no=line.attempt_no,
        upstream_id=line.upstream_id,
        user_id=line.user_id,
        api_key_id=line.api_key_id,
        team_id=line.team_id,
        context=line.context,
        provider_id=line.provider_id,
        provider_slug=line.provider_slug,
        deployment_id=line.deployment_id,
        model_name=line.model_name,
        price_id=line.price_id,
        price_card=line.price_card,
        note=reason,
        actor_id=actor_id,
    )


def _post(period_ids: Iterable[int], amount_nano: int) -> None:
    """In id order, as every posting locks."""
    for period in BudgetPeriod.objects.select_for_update().filter(pk__in=[*period_ids]).order_by("pk"):
        BudgetPeriod.objects.filter(pk=period.pk).update(posted_nano=F("posted_nano") + amount_nano)
