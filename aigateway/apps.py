from django.apps import AppConfig


class AIGatewayConfig(AppConfig):
    name = "aigateway"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from auditlog.registry import auditlog
        from django.contrib.auth.models import User
        from django.contrib.auth.signals import user_logged_in
        from django.db.models.signals import post_save

        from aigateway import celery, checks  # noqa: F401 - makes our Celery application the current one, registers our checks
        from aigateway.signin import user_signed_in, user_was_saved

        user_logged_in.connect(user_signed_in, dispatch_uid="access")
        post_save.connect(user_was_saved, sender=User, dispatch_uid="access")
        auditlog.register(self.get_model("ExternalIdentity"))
