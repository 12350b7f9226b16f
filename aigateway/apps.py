from django.apps import AppConfig
from django.conf import settings

from aigateway import env
from providers.upstream import redaction


class AIGatewayConfig(AppConfig):
    name = "aigateway"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from aigateway import celery, checks  # noqa: F401 - makes our Celery application the current one, registers our checks

        redaction.remember(env.secrets_of(settings))
