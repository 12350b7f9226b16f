"""``manage.py verify_ledger``: recomputes seals, costs, attempts and budgets from the lines; exit code 1 when something is wrong."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import connection, transaction

from usage.ledger import verify_ledger
from usage.models import LedgerDay, LedgerEntry


class Command(BaseCommand):
    help = "Proves that no ledger line was changed, that costs follow from usage and price card, and that budgets add up."

    def handle(self, *_: Any, **__: Any) -> None:
        with transaction.atomic():
            if connection.vendor == "postgresql":
                with connection.cursor() as cursor:
                    cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            found = 0
            for violation in verify_ledger():
                found += 1
                self.stderr.write(f"{violation.rule}: {violation.subject}: {violation.detail}")
            lines, days = LedgerEntry.objects.count(), LedgerDay.objects.count()
        if found:
            raise CommandError(f"{found} violations in {lines} lines.", returncode=1)
        self.stdout.write(f"{lines} lines and {days} sealed days are sound.")
