"""API keys, and the role that sees everybody's costs."""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.db import models

FINANCE_GROUP = "finance"
"""Members see everybody's costs. It is a role and no team."""


def default_scopes() -> list[str]:
    """What a key may do that nobody gave more: ``usage.keys.scopes``."""
    return ["inference", "own_usage", "own_preferences"]


class ApiKey(models.Model):
    """A gateway key. Only its SHA-256 is stored; the key itself is shown once, when it is made."""

    id = models.CharField(primary_key=True, max_length=12, editable=False, help_text="Public part, used to find the key.")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="api_keys")
    name = models.CharField(max_length=100)
    secret_sha256 = models.BinaryField(max_length=32, editable=False)
    scopes = models.JSONField(default=default_scopes, blank=True, help_text="What this key may do; its owner must be allowed to as well.")
    allowed_models = models.JSONField(default=list, blank=True, help_text="Model or route names this key may use; empty: all.")
    allowed_contexts = models.JSONField(default=list, blank=True, help_text="Contexts this key may use; empty: all.")
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True, editable=False)
    last_used_at = models.DateTimeField(null=True, editable=False)

    class Meta:
        verbose_name = "API key"
        ordering: ClassVar = ["-created_at"]

    def __str__(self) -> str:
        return f"{self.name} ({self.id})"
