"""``manage.py simulator``: a fake provider over real HTTP."""

from __future__ import annotations

import argparse
from typing import Any, ClassVar

from django.core.management.base import BaseCommand, CommandParser

from providers.simulator.running import add_arguments, run


class Command(BaseCommand):
    help = "Runs a fake provider that speaks the OpenAI and Anthropic wire formats and keeps its own bill."
    requires_system_checks: ClassVar[list[str]] = []  # type: ignore[misc]

    def add_arguments(self, parser: CommandParser) -> None:
        add_arguments(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        run(argparse.Namespace(**options), self._announce)

    def _announce(self, line: str) -> None:
        self.stdout.write(line, ending="")
        self.stdout.flush()
