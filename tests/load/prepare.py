"""``python -m tests.load.prepare ORIGIN [MODEL ...]``: a migrated, seeded gateway whose simulator is at ORIGIN, with further
models of it, and a budget on every scope."""

from __future__ import annotations

import os
import sys

import django

PLENTY_NANO = 1_000_000 * 1_000_000_000


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "aigateway.settings")
    django.setup()

    from aigateway.process import bootstrap
    from providers.models import Provider
    from tests.load import rows
    from usage.budgets.actions import Limits, set_budget
    from usage.models import ApiKey, Budget, Period

    bootstrap.seed(sys.argv[1])
    rows.speak_anthropic(sys.argv[1])
    for name in sys.argv[2:]:
        rows.add_model(Provider.objects.get(slug=bootstrap.SIMULATOR_SLUG), name, 1_000_000, 1_000_000)
    key = ApiKey.objects.select_related("user").get()
    for scope, subject in ((Budget.Scope.GATEWAY, None), (Budget.Scope.USER, key.user), (Budget.Scope.KEY, key)):
        set_budget(scope, subject, Period.MONTH, Limits(PLENTY_NANO))


if __name__ == "__main__":
    main()
