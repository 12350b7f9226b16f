from django.apps import AppConfig


class AIGatewayConfig(AppConfig):
    name = "aigateway"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from aigateway import celery, checks  # noqa: F401 - makes our Celery application the current one, registers our checks
