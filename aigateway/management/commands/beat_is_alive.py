"""``manage.py beat_is_alive``: health check of the beat container."""

from __future__ import annotations

import sys
from datetime import timedelta

from django.core.management.base import BaseCommand
from django.utils import timezone
from django_celery_beat.models import PeriodicTask

SILENCE_MAX = timedelta(minutes=10)
"""Beat saves the time of its runs every three minutes."""


class Command(BaseCommand):
    help = "Exit code 0 when beat has sent a task in the last ten minutes, else 1."

    def handle(self, *args: object, **options: object) -> None:
        sys.exit(0 if PeriodicTask.objects.filter(last_run_at__gt=timezone.now() - SILENCE_MAX).exists() else 1)
