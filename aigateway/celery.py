"""The Celery application. Tasks live in the apps' ``tasks`` modules; the schedule is seeded by ``bootstrap``."""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "aigateway.settings")

app = Celery("aigateway")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
app.set_default()  # Celery's current application is per thread; views run in threads of their own
