"""One process of ``tests.load.ledger_rate``: makes budgets, reserves and settles on them, or tells what they hold."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
import uuid

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "aigateway.settings")
django.setup()

from django.contrib.auth.models import Group, User  # noqa: E402 - Django first
from django.db.models import Max  # noqa: E402

from tests.usage.world import reserve_order, settlement  # noqa: E402
from usage.budgets.actions import Limits, delete_budget, set_budget  # noqa: E402
from usage.keys.actions import create_api_key  # noqa: E402
from usage.ledger.front import BudgetExceeded, Ledger  # noqa: E402
from usage.models import Budget, BudgetPeriod, Period  # noqa: E402

HOLD_NANO = 1_000
AT_ONCE = 32


def make_budgets(cap_nano: int) -> list[int]:
    """Gateway, team, user and key, all worth the same."""
    for budget in Budget.objects.all():
        delete_budget(budget)
    name = uuid.uuid4().hex[:12]
    user, team = User.objects.create(username=name), Group.objects.create(name=name)
    key, _ = create_api_key(user, name)
    subjects = ((Budget.Scope.GATEWAY, None), (Budget.Scope.TEAM, team), (Budget.Scope.USER, user), (Budget.Scope.KEY, key))
    return [set_budget(scope, subject, Period.TOTAL, Limits(cap_nano)).pk for scope, subject in subjects]


async def pairs(ledger: Ledger, budgets: list[Budget], until_s: float, count: int) -> int:
    """How many were admitted and settled: until the clock says so, or after ``count`` tries."""
    tries = iter(range(count))
    done = 0

    async def caller() -> None:
        nonlocal done
        for _ in tries:
            if time.monotonic() >= until_s:
                return
            order = reserve_order(HOLD_NANO, budgets)
            try:
                await ledger.reserve(order)
            except BudgetExceeded:
                continue
            await ledger.settle(settlement(order, HOLD_NANO, basis="estimated"))
            done += 1

    await asyncio.gather(*(caller() for _ in range(AT_ONCE)))
    return done


def main() -> None:
    what, *words = sys.argv[1:]
    if what == "budgets":
        sys.stdout.write(" ".join(map(str, make_budgets(int(words[0])))))
        return
    if what == "books":
        sums = BudgetPeriod.objects.filter(budget__in=words).aggregate(posted=Max("posted_nano"), held=Max("held_nano"))
        sys.stdout.write(json.dumps([sums["posted"], sums["held"]]))
        return
    budgets = [*Budget.objects.filter(pk__in=words[1:]).order_by("pk")]
    ledger = Ledger()
    ledger.start()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    started = time.monotonic()
    until_s, count = (started + float(words[0]), 10**9) if what == "for" else (started + 600, int(words[0]))
    done = asyncio.run(pairs(ledger, budgets, until_s, count))
    seconds = time.monotonic() - started
    ledger.stop(30)
    sys.stdout.write(f"{done / seconds if what == 'for' else done}\n")


if __name__ == "__main__":
    main()
