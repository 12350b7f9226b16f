"""Celery entries: each wakes work that is idempotent and could as well run by hand."""

from __future__ import annotations

from datetime import timedelta

from celery import shared_task
from django.utils import timezone

from usage.prune import prune
from usage.rollups import roll_up
from usage.sweeper import sweep


@shared_task(name="usage.roll_up")
def add_lines_to_totals() -> None:
    roll_up(timezone.now())


@shared_task(name="usage.sweep")
def sweep_orphans() -> None:
    sweep(timezone.now())


@shared_task(name="usage.prune")
def prune_bookkeeping() -> None:
    prune(timezone.now() - timedelta(days=1))
