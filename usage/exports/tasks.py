"""Celery entries of exports; each is one call, and idempotent."""

from __future__ import annotations

from uuid import UUID

import structlog
from celery import shared_task

from providers import clock
from usage.errors import ActionRefused
from usage.exports import closing, jobs

TIME_LIMIT_S = 1500
"""Below half of the broker's visibility timeout."""

log = structlog.get_logger(__name__)


@shared_task(name=jobs.MAKE_TASK, time_limit=TIME_LIMIT_S)
def make_export(export_id: str) -> None:
    jobs.make_export(UUID(export_id))


@shared_task(name="usage.make_waiting_exports", time_limit=TIME_LIMIT_S)
def make_waiting_exports() -> None:
    jobs.make_waiting(clock.database_now())


@shared_task(name="usage.ensure_monthly_export")
def ensure_monthly_export() -> None:
    jobs.ensure_monthly(clock.database_now())


@shared_task(name="usage.prune_exports")
def prune_exports() -> None:
    jobs.prune_exports(clock.database_now())


@shared_task(name=closing.CLOSE_TASK, time_limit=TIME_LIMIT_S)
def close_month(month: str, actor_id: int | None) -> None:
    """What was refused meanwhile (closed by a second click, a call that opened again) is seen on the page of months."""
    try:
        closing.close_month(month, actor_id, clock.database_now())
    except ActionRefused as error:
        log.warning("a month was not closed", month=month, reason=str(error))
