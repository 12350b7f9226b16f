"""``python -m tests.load.books [--sweep]``: attempts and budgets of the gateway named by the environment, as JSON.

``--sweep`` first lets every process that no longer reports be taken for dead, as the sweeper does after a while.
"""

from __future__ import annotations

import json
import os
import sys
from datetime import timedelta

import django


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "aigateway.settings")
    django.setup()

    from django.utils import timezone

    from usage.ledger.sweeper import ALIVE_FOR, sweep
    from usage.models import Attempt, BudgetPeriod

    if "--sweep" in sys.argv:
        sweep(timezone.now() + ALIVE_FOR + timedelta(seconds=10))
    attempts = Attempt.objects.values_list("request_id", "attempt_no", "status", "hold_nano")
    periods = BudgetPeriod.objects.values_list("budget__scope", "posted_nano", "held_nano")
    sys.stdout.write(json.dumps({"attempts": [*map(list, attempts)], "budget_periods": [*map(list, periods)]}))


if __name__ == "__main__":
    main()
