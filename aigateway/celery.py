"""The Celery application. Tasks live in the apps' ``tasks`` modules; the schedule is seeded by ``bootstrap``."""

import os
import signal
from types import FrameType

from celery import Celery
from celery.apps import beat
from celery.beat import Service
from kombu.utils.objects import cached_property

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "aigateway.settings")

STOP_CHECK_S = 0.1


class Beat(beat.Beat):
    """Ends between two queries.

    Celery's handler saves the schedule within the signal. In the middle of a query of the same connection that fails, and the
    scheduler takes the failure for a bad entry: it logs it and goes on for ever.
    """

    def install_sync_handler(self, service: Service) -> None:
        def end(_: int, frame: FrameType | None) -> None:
            if frame is not None and frame.f_code is Service.start.__code__:  # asleep, or just about to
                raise SystemExit
            service.stop()
            signal.setitimer(signal.ITIMER_REAL, STOP_CHECK_S)  # the sleep after this tick would not look

        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGALRM):
            signal.signal(number, end)


class Application(Celery):
    @cached_property
    def Beat(self) -> type[Beat]:
        return self.subclass_with_self(Beat)


app = Application("aigateway")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
app.set_default()  # Celery's current application is per thread; views run in threads of their own
