from django.apps import AppConfig
from django.conf import settings
from django.contrib.admin import apps as admin_apps

from aigateway import env
from providers.upstream import redaction


class AIGatewayConfig(AppConfig):
    name = "aigateway"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from auditlog.registry import auditlog
        from django.contrib.auth.models import User
        from django.contrib.auth.signals import user_logged_in
        from django.db.models.signals import post_save

        from aigateway import celery, checks  # noqa: F401 - makes our Celery application the current one, registers our checks
        from aigateway.access import trail
        from aigateway.signin import user_signed_in, user_was_saved

        trail.register()
        user_logged_in.connect(user_signed_in, dispatch_uid="signin")
        post_save.connect(user_was_saved, sender=User, dispatch_uid="signin")
        auditlog.register(self.get_model("ExternalIdentity"))
        redaction.remember(env.secrets_of(settings))


class AdminConfig(admin_apps.AdminConfig):
    """Django's admin; when every app has registered its pages, ours take the place of the libraries'."""

    def ready(self) -> None:
        super().ready()
        from aigateway.access import pages

        pages.replace()
