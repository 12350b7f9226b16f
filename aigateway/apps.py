from django.apps import AppConfig


class AIGatewayConfig(AppConfig):
    name = "aigateway"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from aigateway import checks  # noqa: F401 - registers them
