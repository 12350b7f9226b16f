"""Gathers the admin pages of the rooms: importing a room's pages registers them."""

from __future__ import annotations

from django.contrib import admin

from usage.budgets import account_admin
from usage.budgets import admin as budget_admin
from usage.exports import admin as export_admin
from usage.keys import admin as key_admin
from usage.ledger.admin import LedgerEntryAdmin
from usage.limits import admin as limit_admin
from usage.models import LedgerEntry
from usage.reports import admin as report_admin
from usage.statements import admin as statement_admin
from usage.subscriptions import admin as subscription_admin
from usage.whatif.admin import WhatIfPage

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
