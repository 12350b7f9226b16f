"""Celery entries: each wakes work that is idempotent and could as well run by hand."""

from __future__ import annotations

from datetime import timedelta

from celery import shared_task

from providers import clock
from usage.exports.tasks import close_month, ensure_monthly_export, make_export, make_waiting_exports, prune_exports
from usage.ledger.prune import prune, prune_answers
from usage.ledger.seals import seal_due
from usage.ledger.sweeper import sweep
from usage.reports import roll_up

__all__ = ["close_month", "ensure_monthly_export", "make_export", "make_waiting_exports", "prune_exports"]


@shared_task(name="usage.roll_up")
def add_lines_to_totals() -> None:
    roll_up(clock.database_now())


@shared_task(name="usage.sweep")
def sweep_orphans() -> None:
    sweep(clock.database_now())


@shared_task(name="usage.seal")
def seal_finished_days() -> None:
    seal_due(clock.database_now())


@shared_task(name="usage.prune")
def prune_bookkeeping() -> None:
    prune(clock.database_now() - timedelta(days=1))
    prune_answers(clock.database_now())
