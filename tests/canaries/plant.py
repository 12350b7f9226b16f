"""Run as a program before the gateway starts: rows as an administrator would make them. Canaries come on standard input."""

from __future__ import annotations

import json
import os
import sys

import django


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "aigateway.settings")
    django.setup()
    from django.contrib.auth import get_user_model
    from django.core.management import call_command

    from providers import actions, presets
    from providers.audit import Actor
    from providers.models import ManagedPreset, Provider, RoutingConfiguration
    from providers.upstream.types import Secret
    from tests.aigateway.conftest import price_model

    planted = json.load(sys.stdin)
    call_command("migrate", verbosity=0, interactive=False)
    root = get_user_model().objects.create_superuser("root", "root@example.org", planted["administrator's password"])
    RoutingConfiguration.objects.update_or_create(pk=1, defaults={"breaker_failures": 1000, "retries_per_target": 0})
    for slug in ("canary", "product"):
        provider = Provider(slug=slug, label=slug, kind="openai_compatible", base_url=planted["base_url"], allow_private=True)
        actions.create_provider(provider, Actor.of(root), Secret(planted["provider key"]))
        price_model(provider, f"{slug}-model", 1_000, 1_000)
        if slug == "product":
            preset = ManagedPreset(
                provider=provider, upstream_kind="openai_compatible", system_prompt=planted["system prompt of a product"]
            )
            presets.save_preset(preset, Actor.of(root))


if __name__ == "__main__":
    main()
