"""Gathers the admin pages of the rooms: importing a room's pages registers them."""

from __future__ import annotations

from django.contrib import admin

from usage import (
    account_admin,
    budget_admin,
    export_admin,
    key_admin,
    limit_admin,
    report_admin,
    statement_admin,
    subscription_admin,
)
from usage.ledger_admin import LedgerEntryAdmin
from usage.models import LedgerEntry
from usage.whatif_admin import WhatIfPage

__all__ = [
    "account_admin",
    "budget_admin",
    "export_admin",
    "key_admin",
    "limit_admin",
    "report_admin",
    "statement_admin",
    "subscription_admin",
]


@admin.register(LedgerEntry)
class LedgerPages(WhatIfPage, LedgerEntryAdmin):
    """The ledger's lines, with the page that asks what they would have cost elsewhere."""
