"""Limits on rates, and requests that must not be made twice."""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Q


class RateLimit(models.Model):
    """So many requests or tokens per window for one scope. No row means no limit.

    ``burst`` makes it a token bucket: that much at once, refilled evenly; empty: a sliding window.
    """

    class Scope(models.TextChoices):
        GATEWAY = "gateway", "Whole gateway"
        TIER = "tier", "Each user of a tier"
        USER = "user", "User"
        KEY = "key", "API key"
        PROVIDER = "provider", "Provider"

    class Measure(models.TextChoices):
        REQUESTS = "requests"
        TOKENS = "tokens"

    class Window(models.TextChoices):
        MINUTE = "minute"
        HOUR = "hour"
        DAY = "day"

    scope = models.CharField(max_length=10, choices=Scope.choices)
    tier = models.ForeignKey("usage.Tier", null=True, blank=True, on_delete=models.CASCADE, related_name="rate_limits")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.CASCADE, related_name="rate_limits")
    api_key = models.ForeignKey(
        "usage.ApiKey", null=True, blank=True, on_delete=models.CASCADE, related_name="rate_limits", verbose_name="API key"
    )
    provider = models.ForeignKey("providers.Provider", null=True, blank=True, on_delete=models.CASCADE, related_name="rate_limits")
    measure = models.CharField(max_length=8, choices=Measure.choices, default=Measure.REQUESTS)
    window = models.CharField(max_length=6, choices=Window.choices, default=Window.MINUTE)
    limit = models.BigIntegerField(help_text="At most so many per window; 0 blocks.")
    burst = models.BigIntegerField(null=True, blank=True, help_text="At most so many at once. Empty: a sliding window.")

    class Meta:
        ordering: ClassVar = ["scope", "id"]
        constraints: ClassVar = [
            models.CheckConstraint(condition=Q(limit__gte=0) & (Q(burst=None) | Q(burst__gte=1)), name="rate_limit_figures_valid"),
            models.CheckConstraint(
                condition=Q(scope="gateway", tier=None, user=None, api_key=None, provider=None)
                | Q(scope="tier", tier__isnull=False, user=None, api_key=None, provider=None)
                | Q(scope="user", tier=None, user__isnull=False, api_key=None, provider=None)
                | Q(scope="key", tier=None, user=None, api_key__isnull=False, provider=None)
                | Q(scope="provider", tier=None, user=None, api_key=None, provider__isnull=False),
                name="rate_limit_scope_names_its_subject",
            ),
            *(
                models.UniqueConstraint(
                    fields=[*subject, "measure", "window"], condition=Q(scope=scope), name=f"rate_limit_once_for_{scope}"
                )
                for scope, subject in (
                    ("gateway", ()),
                    ("tier", ("tier",)),
                    ("user", ("user",)),
                    ("key", ("api_key",)),
                    ("provider", ("provider",)),
                )
            ),
        ]

    def __str__(self) -> str:
        return f"{self.limit} {self.measure} per {self.window} ({self.scope})"
