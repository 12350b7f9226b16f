"""``manage.py run``: the whole gateway on this machine."""

from __future__ import annotations

import sys
from argparse import ArgumentParser

from django.core.management.base import BaseCommand

from aigateway.process.run import run


class Command(BaseCommand):
    help = "Migrate, seed and run the gateway: web, Celery worker and beat, simulator. Ctrl-C ends everything."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--web-only", action="store_true", help="Only web processes; database, worker and beat run elsewhere.")

    def handle(self, *args: object, web_only: bool, **options: object) -> None:
        sys.exit(run(sys.stdout, web_only=web_only))
