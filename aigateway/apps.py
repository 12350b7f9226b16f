from django.apps import AppConfig
from django.contrib.admin import apps as admin_apps


class AIGatewayConfig(AppConfig):
    name = "aigateway"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from aigateway import celery, checks  # noqa: F401 - makes our Celery application the current one, registers our checks
        from aigateway.access import trail

        trail.register()


class AdminConfig(admin_apps.AdminConfig):
    """Django's admin; when every app has registered its pages, ours take the place of the libraries'."""

    def ready(self) -> None:
        super().ready()
        from aigateway.access import pages

        pages.replace()
