"""Statements: a provider's own bill held against the ledger, call by call."""

from __future__ import annotations

from usage.statements.actions import StatementOrder, has_differences, reconcile_statement
from usage.statements.reading import FILE_BYTES_MAX, LAYOUTS, StatementInvalid
from usage.statements.report import findings

__all__ = ["FILE_BYTES_MAX", "LAYOUTS", "StatementInvalid", "StatementOrder", "findings", "has_differences", "reconcile_statement"]
