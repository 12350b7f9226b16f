"""Gives failed attempts back to the budgets that do not charge them. The ledger keeps their lines: the provider has billed them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from usage.ledger.sql.rows import ClosedAttempt, ClosingRow, LockedPeriod
from usage.models import Budget, BudgetAdjustment


@dataclass(frozen=True, slots=True)
class FailedAttempt:
    """An attempt that this transaction closed, failed and billed."""

    closing: ClosingRow
    closed: ClosedAttempt

    @property
    def cost_nano(self) -> int:
        return self.closing.cost_nano or 0

    @property
    def tokens(self) -> int:
        """What quotas counted of it; of a correction whose tokens nobody knows nothing, for it adds nothing to the estimate's."""
        known = self.closing.quota_tokens
        return self.closed.posted_tokens if known is None else known

    @property
    def reason(self) -> str:
        return f"attempt {self.closed.id} failed ({self.closing.error_code}) and is not charged"


def give_back(
    failed: Iterable[FailedAttempt], locked: Mapping[int, LockedPeriod], now: datetime
) -> list[tuple[LockedPeriod, BudgetAdjustment]]:
    """Writes one entry per attempt and budget period that does not charge it; their counters are the caller's to change."""
    entries = [
        (period, _entry(attempt, period, now))
        for attempt in failed
        if attempt.cost_nano or attempt.tokens
        for period_id in attempt.closed.period_ids
        if (period := locked.get(period_id)) is not None and not period.charges_failed_attempts
    ]
    if entries:
        budgets = Budget.objects.select_related("user", "api_key", "team", "provider")
        subjects = {budget.pk: str(budget) for budget in budgets.filter(pk__in={entry.budget_id for _, entry in entries})}
        for _, entry in entries:
            entry.subject = subjects[entry.budget_id]
        BudgetAdjustment.objects.bulk_create(entry for _, entry in entries)
    return entries


def _entry(attempt: FailedAttempt, period: LockedPeriod, now: datetime) -> BudgetAdjustment:
    return BudgetAdjustment(
        budget_id=period.budget_id,
        key=period.key,
        amount_nano=-attempt.cost_nano,
        tokens=-attempt.tokens,
        reason=attempt.reason,
        created_at=now,
    )
