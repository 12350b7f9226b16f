"""``python -m tests.load.limit MODEL NANO_PER_MTOK CAP_NANO``: output-only price for a model, one total budget for its user."""

from __future__ import annotations

import os
import sys

import django


def run(model: str, nano_per_mtok: str, cap_nano: str) -> str:
    from providers.audit import SYSTEM
    from providers.models import Deployment, Price
    from providers.prices.actions import set_price
    from usage.budgets.actions import Limits, set_budget
    from usage.models import ApiKey, Budget, Period

    priced = Deployment.objects.get(name=model)
    set_price(Price(deployment=priced, input_nano_per_mtok=0, output_nano_per_mtok=int(nano_per_mtok), source="rehearsal"), SYSTEM)
    set_budget(Budget.Scope.USER, ApiKey.objects.select_related("user").get().user, Period.TOTAL, Limits(int(cap_nano)))
    return ""


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "aigateway.settings")
    django.setup()
    run(*sys.argv[1:])


if __name__ == "__main__":
    main()
