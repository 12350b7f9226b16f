"""A process of its own that reserves: ``python -m tests.usage.reserve_many <budget id> <how many> <after>``.

``after`` is ``stop`` (leave in order) or ``wait`` (print a line and wait to be killed). Prints how many were admitted.
"""

from __future__ import annotations

import asyncio
import sys

import django

django.setup()

from tests.usage.world import reserve_order  # noqa: E402 - Django first
from usage.ledger.front import BudgetExceeded, Ledger  # noqa: E402
from usage.models import Budget  # noqa: E402


async def reserve_all(ledger: Ledger, budget: Budget, count: int) -> int:
    orders = [reserve_order(1, [budget]) for _ in range(count)]
    outcomes = await asyncio.gather(*(ledger.reserve(order) for order in orders), return_exceptions=True)
    unexpected = [each for each in outcomes if each is not None and not isinstance(each, BudgetExceeded)]
    if unexpected:
        raise unexpected[0]
    return outcomes.count(None)


def main() -> None:
    budget = Budget.objects.get(pk=int(sys.argv[1]))
    ledger = Ledger()
    ledger.start()
    admitted = asyncio.run(reserve_all(ledger, budget, int(sys.argv[2])))
    sys.stdout.write(f"{admitted}\n")
    sys.stdout.flush()
    if sys.argv[3] == "wait":
        sys.stdin.read()
    ledger.stop(10)


if __name__ == "__main__":
    main()
