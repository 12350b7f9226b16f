from django.apps import AppConfig


class AIGatewayConfig(AppConfig):
    name = "aigateway"
    default_auto_field = "django.db.models.BigAutoField"
