"""``manage.py rebuild_totals``: sums the whole ledger anew. Reports stay exact while it runs."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from providers import clock
from usage.reports import roll_up, start_over


class Command(BaseCommand):
    help = "Empties the totals that reports are read from and rebuilds them from the ledger."

    def handle(self, *_: Any, **__: Any) -> None:
        start_over()
        added = 0
        while lines := roll_up(clock.database_now()):
            added += lines
        self.stdout.write(f"{added} lines summed.")
