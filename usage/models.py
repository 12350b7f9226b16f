"""Everything this app keeps in the database. Amounts are integer nano-dollars."""

from __future__ import annotations

from usage.budget_models import Budget, BudgetAdjustment, BudgetAlert, BudgetPeriod, Caps, Enforcement, Period, Tier, TierLimit, UserAccount
from usage.export_models import ClosedMonth, Export
from usage.finance_models import (
    RollUp,
    UsageByCard,
    UsageDay,
    UsageHalfHour,
    UsageHalfHourSum,
    UsageMonth,
    UsageSums,
    UsageTeamDay,
    UsageTotal,
)
from usage.idempotency_models import IdempotencyRecord
from usage.key_models import FINANCE_GROUP, ApiKey
from usage.ledger_models import Attempt, GatewayProcess, LedgerDay, LedgerEntry
from usage.limit_models import RateLimit
from usage.statement_models import Statement, StatementLine
from usage.subscription_models import Entitlement

__all__ = [
    "FINANCE_GROUP",
    "ApiKey",
    "Attempt",
    "Budget",
    "BudgetAdjustment",
    "BudgetAlert",
    "BudgetPeriod",
    "Caps",
    "ClosedMonth",
    "Enforcement",
    "Entitlement",
    "Export",
    "GatewayProcess",
    "IdempotencyRecord",
    "LedgerDay",
    "LedgerEntry",
    "Period",
    "RateLimit",
    "RollUp",
    "Statement",
    "StatementLine",
    "Tier",
    "TierLimit",
    "UsageByCard",
    "UsageDay",
    "UsageHalfHour",
    "UsageHalfHourSum",
    "UsageMonth",
    "UsageSums",
    "UsageTeamDay",
    "UsageTotal",
    "UserAccount",
]
