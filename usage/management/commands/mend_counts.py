"""``manage.py mend_counts``: takes back counts that no call can have used, and sums the ledger anew."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from providers import clock
from usage.ledger.mending import take_back_counts
from usage.reports import roll_up, start_over


class Command(BaseCommand):
    help = "Adds a correcting line for every ledger line with a count beyond belief, then rebuilds the totals. Costs stay."

    def handle(self, *_: Any, **__: Any) -> None:
        written = take_back_counts()
        start_over()
        while roll_up(clock.database_now()):
            pass
        self.stdout.write(f"{written} lines written.")
