"""Celery entries of what only the composition root can do."""

from __future__ import annotations

from celery import shared_task

from aigateway.alerts import deliver_alerts


@shared_task(name="aigateway.deliver_alerts")
def deliver_budget_alerts() -> None:
    deliver_alerts()
