"""Periodic and slow work. Each task is one call, may run twice at once, and may be killed at any point."""

from __future__ import annotations

from datetime import timedelta

from celery import shared_task
from django.utils import timezone

from providers import health
from providers.models import ConfigChange, HealthCheck, HealthCheckJob

WAKE_UP_LOST_AFTER = timedelta(seconds=30)
WORKER_DIED_AFTER = timedelta(minutes=10)
CHANGES_KEPT = timedelta(days=1)
HEALTH_HISTORY_KEPT = timedelta(days=30)


@shared_task(name="providers.check_providers")
def check_providers() -> int:
    """Every five minutes: probes every live provider. Returns how many."""
    return len(health.check_all())


@shared_task(name=health.RUN_JOB_TASK)
def run_health_check_job(job_id: str) -> bool:
    """Does a check somebody asked for, once."""
    return health.run_job(job_id)


@shared_task(name="providers.sweep_health_check_jobs")
def sweep_health_check_jobs() -> int:
    """Every minute: does queued jobs whose wake-up was lost, gives up on those whose worker died. Returns how many it did."""
    now = timezone.now()
    HealthCheckJob.objects.filter(state=HealthCheckJob.State.RUNNING, created_at__lt=now - WORKER_DIED_AFTER).update(
        state=HealthCheckJob.State.FAILED, finished_at=now
    )
    lost = HealthCheckJob.objects.filter(state=HealthCheckJob.State.QUEUED, created_at__lt=now - WAKE_UP_LOST_AFTER)
    return sum(health.run_job(str(job_id)) for job_id in lost.values_list("pk", flat=True))


@shared_task(name="providers.sweep_history")
def sweep_history() -> int:
    """Daily: drops probe results and change notices nobody needs any more. Returns how many rows."""
    now = timezone.now()
    probes, _ = HealthCheck.objects.filter(checked_at__lt=now - HEALTH_HISTORY_KEPT).delete()
    changes, _ = ConfigChange.objects.filter(created_at__lt=now - CHANGES_KEPT).delete()
    return probes + changes
