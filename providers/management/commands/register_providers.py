"""``manage.py register_providers``: providers from ``OPENAI_API_KEY`` and friends; runs at every start, acts at the first."""

from __future__ import annotations

import os
from typing import Any

from django.core.management.base import BaseCommand

from providers.environment import register_from_environment


class Command(BaseCommand):
    help = "Registers providers whose keys or base URLs are in the environment, unless a provider of that kind exists or existed."

    def handle(self, *_: Any, **options: Any) -> None:
        for registration in register_from_environment(os.environ):
            stream = self.stdout if registration.registered else self.stderr
            stream.write(f"{registration.kind}: {'registered' if registration.registered else 'refused'}. {registration.message}")
