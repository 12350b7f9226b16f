"""``manage.py conform PROVIDER``: tries what a provider's model can do and stores what it found."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError, CommandParser

from aigateway.trials.conformance import NothingToCheck, conform
from providers.models import Provider


class Command(BaseCommand):
    help = "Checks connectivity, key, chat, stream, usage, tools, vision, JSON and cancelling with small real calls."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("provider", help="The provider's slug, as in slug/model.")
        parser.add_argument("--model", default="", help="The model to call. Without it: the cheapest one.")
        parser.add_argument("--user", default="", help="Whose budgets pay. Without it: the first superuser.")

    def handle(self, *_: Any, **options: Any) -> None:
        provider = Provider.objects.filter(slug=options["provider"], deleted_at=None).first()
        if provider is None:
            known = ", ".join(Provider.objects.filter(deleted_at=None).values_list("slug", flat=True)) or "none yet"
            raise CommandError(f"There is no provider '{options['provider']}'. Providers: {known}.")
        try:
            report = conform(provider.pk, _payer(options["user"]), options["model"])
        except NothingToCheck as reason:
            raise CommandError(str(reason)) from None
        self.stdout.write(f"{report.model}")
        for result in report.results:
            latency = "" if result.latency_ms is None else f"{result.latency_ms:.0f} ms"
            self.stdout.write(f"  {result.result:<8}{result.name:<17}{latency:>9}  {result.message}")
        if not report.passed:
            raise CommandError("Some checks failed.", returncode=1)


def _payer(username: str) -> User:
    users = User.objects.filter(is_active=True)
    user = users.filter(username=username).first() if username else users.filter(is_superuser=True).order_by("pk").first()
    if user is None:
        raise CommandError(f"There is no user '{username}'." if username else "There is no superuser; name a user with --user.")
    return user
