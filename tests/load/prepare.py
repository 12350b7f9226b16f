"""``python -m tests.load.prepare ORIGIN [MODEL ...]``: a migrated, seeded gateway whose simulator is at ORIGIN, with further
models of it, and a budget on every scope."""

from __future__ import annotations

import os
import sys

import django

PLENTY_NANO = 1_000_000 * 1_000_000_000


def run(simulator: str, *models: str) -> str:
    """Returns the API key when there was none yet, in the environment or on the database."""
    from aigateway.process import bootstrap
    from providers.models import Provider
    from tests.load import rows
    from usage.budgets.actions import Limits, set_budget
    from usage.keys import update_api_key
    from usage.models import ApiKey, Budget, Period

    seeded = bootstrap.seed(simulator)
    rows.speak_anthropic(simulator)
    for name in models:
        rows.add_model(Provider.objects.get(slug=bootstrap.SIMULATOR_SLUG), name, 1_000_000, 1_000_000)
    key = ApiKey.objects.select_related("user").get()
    update_api_key(key, name=key.name, scopes=[*key.scopes, "finance_read"], allowed_models=[], allowed_contexts=[], expires_at=None)
    for scope, subject in ((Budget.Scope.GATEWAY, None), (Budget.Scope.USER, key.user), (Budget.Scope.KEY, key)):
        set_budget(scope, subject, Period.MONTH, Limits(PLENTY_NANO))
    return seeded.api_key or ""


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "aigateway.settings")
    django.setup()
    run(*sys.argv[1:])


if __name__ == "__main__":
    main()
