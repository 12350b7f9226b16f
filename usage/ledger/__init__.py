"""The ledger: reserve before a call, settle after it, and prove that nothing was changed since."""

from __future__ import annotations

from usage.ledger.front import Ledger, reserve_now, settle_now, void_now
from usage.ledger.sql.rows import NOT_FAILED
from usage.ledger.sweeper import ALIVE_FOR
from usage.ledger.types import (
    ESTIMATED,
    MEASURED,
    UNPRICED,
    BudgetExceeded,
    BudgetRef,
    LedgerError,
    LedgerUnavailable,
    ReserveOrder,
    Settlement,
    StaleConfiguration,
    Void,
)
from usage.ledger.verification import verify_ledger

__all__ = [
    "ALIVE_FOR",
    "ESTIMATED",
    "MEASURED",
    "NOT_FAILED",
    "UNPRICED",
    "BudgetExceeded",
    "BudgetRef",
    "Ledger",
    "LedgerError",
    "LedgerUnavailable",
    "ReserveOrder",
    "Settlement",
    "StaleConfiguration",
    "Void",
    "reserve_now",
    "settle_now",
    "verify_ledger",
    "void_now",
]
