"""``python -m tests.load.prepare ORIGIN``: a migrated, seeded gateway whose simulator is at ORIGIN, with a budget on every scope."""

from __future__ import annotations

import os
import sys

import django

PLENTY_NANO = 1_000_000 * 1_000_000_000


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "aigateway.settings")
    django.setup()

    from aigateway import bootstrap
    from usage.actions import set_budget
    from usage.models import ApiKey, Budget

    bootstrap.seed(sys.argv[1])
    key = ApiKey.objects.select_related("user").get()
    for scope, subject in ((Budget.Scope.GATEWAY, None), (Budget.Scope.USER, key.user), (Budget.Scope.KEY, key)):
        set_budget(scope, subject, Budget.Period.MONTH, PLENTY_NANO)


if __name__ == "__main__":
    main()
