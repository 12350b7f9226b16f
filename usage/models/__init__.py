"""Everything this app keeps in the database. Amounts are integer nano-dollars."""

from __future__ import annotations

from usage.models.budgets import (
    Budget,
    BudgetAdjustment,
    BudgetAlert,
    BudgetPeriod,
    Caps,
    Enforcement,
    Period,
    Tier,
    TierLimit,
    UserAccount,
)
from usage.models.exports import ClosedMonth, Export
from usage.models.idempotency import IdempotencyRecord
from usage.models.keys import FINANCE_GROUP, ApiKey
from usage.models.ledger import Attempt, GatewayProcess, LedgerDay, LedgerEntry
from usage.models.limits import RateLimit
from usage.models.statements import Statement, StatementLine
from usage.models.subscriptions import Entitlement
from usage.models.teams import TeamOwner
from usage.models.totals import (
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
    "TeamOwner",
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
