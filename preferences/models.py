"""What a caller likes: one preferred model per user and context."""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.db import models

from providers.models import Deployment

DEFAULT_CONTEXT = "default"


class Preference(models.Model):
    """The model a user wants for a context; ``default`` serves every context without one of its own."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="preferences")
    context = models.SlugField(max_length=50, default=DEFAULT_CONTEXT)
    deployment = models.ForeignKey(Deployment, on_delete=models.CASCADE, related_name="+", verbose_name="model")
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering: ClassVar = ["user", "context"]
        constraints: ClassVar = [models.UniqueConstraint(fields=["user", "context"], name="preference_once_per_user_and_context")]

    def __str__(self) -> str:
        return f"{self.user} {self.context}: {self.deployment}"
