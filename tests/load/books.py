"""``python -m tests.load.books [--sweep]``: attempts and budgets of the gateway named by the environment, as JSON.

``--sweep`` first lets every process that no longer reports be taken for dead, as the sweeper does after a while.
"""

from __future__ import annotations

import json
import os
import sys
from datetime import timedelta

import django


def run(*words: str) -> str:
    from django.utils import timezone

    from usage.ledger.sweeper import ALIVE_FOR, sweep
    from usage.models import Attempt, BudgetPeriod

    if "--sweep" in words:
        sweep(timezone.now() + ALIVE_FOR + timedelta(seconds=10))
    attempts = Attempt.objects.values_list("request_id", "attempt_no", "status", "hold_nano")
    periods = BudgetPeriod.objects.values_list("budget__scope", "posted_nano", "held_nano")
    return json.dumps({"attempts": [*map(list, attempts)], "budget_periods": [*map(list, periods)]})


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "aigateway.settings")
    django.setup()
    sys.stdout.write(run(*sys.argv[1:]))


if __name__ == "__main__":
    main()
