from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from celery import current_app
from django.conf import settings

from aigateway.celery import app


def _broker() -> str:
    return current_app.conf.broker_url


def test_tasks_are_sent_to_our_broker_from_every_thread() -> None:
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(_broker).result() == _broker() == settings.CELERY_BROKER_URL


def test_a_message_is_not_given_out_twice_while_its_task_may_still_run() -> None:
    options = app.conf.broker_transport_options
    if settings.REDIS_URL:
        assert options["visibility_timeout"] > 2 * app.conf.task_time_limit
    else:
        assert "visibility_timeout" not in options
