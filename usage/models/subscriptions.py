"""Who may use providers that require a subscription."""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Q


class Entitlement(models.Model):
    """A user's subscription to a tier. Providers that require the tier refuse everybody without one."""

    class Status(models.TextChoices):
        ACTIVE = "active"
        TRIALING = "trialing", "Trial"
        PAST_DUE = "past_due", "Past due"
        CANCELED = "canceled"

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="entitlements")
    tier = models.SlugField(max_length=40, help_text="As the provider names it under “required tier”.")
    status = models.CharField(max_length=10, choices=Status.choices, default=Status.ACTIVE)
    expires_at = models.DateTimeField(null=True, blank=True, help_text="Empty: until it is canceled.")
    subscription_id = models.CharField(max_length=200, blank=True, help_text="The payment service's id, set by its webhook.")
    last_event_at = models.DateTimeField(null=True, editable=False)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering: ClassVar = ["user", "tier"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["user", "tier"], name="entitlement_once_per_tier"),
            models.UniqueConstraint(fields=["subscription_id"], condition=~Q(subscription_id=""), name="entitlement_once_per_subscription"),
        ]

    def __str__(self) -> str:
        return f"{self.user}: {self.tier} ({self.status})"
