"""Budgets, quotas and tiers: how much may be spent, by whom, and what is left."""

from __future__ import annotations

from usage.budgets.alerts import note_crossed, undelivered
from usage.budgets.binding import budgets_for, team_of

__all__ = ["budgets_for", "note_crossed", "team_of", "undelivered"]
