"""``manage.py bootstrap``: what a first start needs, without starting anything."""

from __future__ import annotations

from django.core.management.base import BaseCommand, CommandError

from aigateway.process import bootstrap


class Command(BaseCommand):
    help = "Create what is missing: administrator, groups, first API key, providers named by the environment, schedule. Safe to repeat."

    def handle(self, *args: object, **options: object) -> None:
        try:
            seeded = bootstrap.seed(simulator_url=None)
        except bootstrap.SeedRefused as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"administrator {seeded.username}")
        for notice in seeded.notices:
            self.stdout.write(notice)
        if seeded.password:
            self.stdout.write(f"password {seeded.password} (shown once)")
        if seeded.api_key:
            self.stdout.write(f"API key {seeded.api_key} (shown once)")
