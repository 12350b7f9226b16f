"""Celery entries of what only the composition root can do."""

from __future__ import annotations

from celery import shared_task

from aigateway import signin
from aigateway.alerts import deliver_alerts


@shared_task(name="aigateway.deliver_alerts")
def deliver_budget_alerts() -> None:
    deliver_alerts()


@shared_task(name=signin.RESET_TASK)
def send_password_reset(email: str, origin: str) -> None:
    signin.send_password_reset(email, origin)


@shared_task(name="aigateway.prune_access")
def prune_access() -> None:
    signin.prune()
