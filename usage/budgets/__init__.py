"""Budgets, quotas and tiers: how much may be spent, by whom, and what is left."""

from __future__ import annotations

from usage.budgets.actions import set_budget
from usage.budgets.alerts import note_crossed, undelivered
from usage.budgets.binding import budgets_for, team_of
from usage.budgets.tiers import limits_of, set_account, set_tier_limit

__all__ = [
    "budgets_for",
    "limits_of",
    "note_crossed",
    "set_account",
    "set_budget",
    "set_tier_limit",
    "team_of",
    "undelivered",
]
