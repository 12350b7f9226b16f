from __future__ import annotations

from datetime import timedelta

import pytest
from django.core.management import call_command
from django.utils import timezone
from django_celery_beat.models import PeriodicTask

from aigateway.process import bootstrap


@pytest.mark.django_db
@pytest.mark.parametrize(("age", "code"), [(None, 1), (timedelta(minutes=11), 1), (timedelta(minutes=9), 0)])
def test_beat_is_alive_when_it_sent_something_lately(age: timedelta | None, code: int) -> None:
    bootstrap._seed_schedule()
    PeriodicTask.objects.update(last_run_at=timezone.now() - age if age else None)
    with pytest.raises(SystemExit) as ended:
        call_command("beat_is_alive")
    assert ended.value.code == code
