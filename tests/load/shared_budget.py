"""``python -m tests.load.shared_budget CAP_NANO``: budgets of four scopes on the caller of the gateway named by the environment,
the gateway's own the tightest, and rate limits too wide to refuse anything, so that every call counts in Redis. The provider takes
as many connections as there are calls, and patiently: only the budget may refuse one, however busy the machine is."""

from __future__ import annotations

import os
import sys

import django

LOOSER = {"gateway": 100, "team": 110, "user": 120, "key": 130}
"""Caps in per cent of the decisive one."""
WIDE = 100_000_000
PATIENCE_S = 30.0


def run(cap_nano: str) -> str:
    from django.contrib.auth.models import Group

    from providers.models import ConfigVersion, Provider
    from usage.budgets.actions import Limits, set_budget
    from usage.limits.actions import set_rate_limit
    from usage.models import ApiKey, Period

    Provider.objects.update(max_connections=1000, connect_timeout_s=PATIENCE_S)
    ConfigVersion.bump()
    key = ApiKey.objects.select_related("user").get()
    team = Group.objects.create(name="rehearsal")
    key.user.groups.add(team)
    for measure in ("requests", "tokens"):
        set_rate_limit("user", key.user, measure, "hour", WIDE)
        set_rate_limit("key", key, measure, "minute", WIDE, burst=WIDE)
    subjects = {"gateway": None, "team": team, "user": key.user, "key": key}
    for scope, subject in subjects.items():
        set_budget(scope, subject, Period.TOTAL, Limits(int(cap_nano) * LOOSER[scope] // 100))
    return ""


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "aigateway.settings")
    django.setup()
    run(*sys.argv[1:])


if __name__ == "__main__":
    main()
