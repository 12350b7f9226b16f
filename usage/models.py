"""Who may spend and who spent what. Amounts are integer nano-dollars."""

from __future__ import annotations

import uuid
from dataclasses import fields
from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone

from providers.fields import NanoDollarField
from providers.upstream.types import TokenUsage


class ApiKey(models.Model):
    """A gateway key. Only its SHA-256 is stored; the key itself is shown once, when it is made."""

    id = models.CharField(primary_key=True, max_length=12, editable=False, help_text="Public part, used to find the key.")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="api_keys")
    name = models.CharField(max_length=100)
    secret_sha256 = models.BinaryField(max_length=32, editable=False)
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


class Budget(models.Model):
    """A cap on money per period for the whole gateway, a user or a key. Cap 0 blocks paid use; no row means no limit."""

    class Scope(models.TextChoices):
        GATEWAY = "gateway", "Whole gateway"
        USER = "user", "User"
        KEY = "key", "API key"

    class Period(models.TextChoices):
        DAY = "day", "Day"
        MONTH = "month", "Month"
        TOTAL = "total", "Total"

    scope = models.CharField(max_length=10, choices=Scope.choices)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.CASCADE, related_name="budgets")
    api_key = models.ForeignKey(ApiKey, null=True, blank=True, on_delete=models.CASCADE, related_name="budgets", verbose_name="API key")
    period = models.CharField(max_length=10, choices=Period.choices, default=Period.MONTH)
    cap_nano = NanoDollarField("cap ($)")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering: ClassVar = ["scope", "id"]
        constraints: ClassVar = [
            models.CheckConstraint(condition=Q(cap_nano__gte=0), name="budget_cap_not_negative"),
            models.CheckConstraint(
                condition=Q(scope="gateway", user=None, api_key=None)
                | Q(scope="user", user__isnull=False, api_key=None)
                | Q(scope="key", user=None, api_key__isnull=False),
                name="budget_scope_names_its_subject",
            ),
            models.UniqueConstraint(fields=["period"], condition=Q(scope="gateway"), name="budget_once_for_gateway"),
            models.UniqueConstraint(fields=["user", "period"], condition=Q(scope="user"), name="budget_once_per_user"),
            models.UniqueConstraint(fields=["api_key", "period"], condition=Q(scope="key"), name="budget_once_per_key"),
        ]

    def __str__(self) -> str:
        subject = self.user or self.api_key or "gateway"
        return f"{subject} per {self.period}"


class BudgetPeriod(models.Model):
    """One period of one budget: what is posted, what is held. A new period is a new row; nothing is ever reset."""

    budget = models.ForeignKey(Budget, on_delete=models.CASCADE, related_name="periods")
    key = models.CharField(max_length=10, help_text="2026-11-21, 2026-11 or total.")
    posted_nano = NanoDollarField(default=0)
    held_nano = NanoDollarField(default=0)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["budget", "key"], name="budget_period_once"),
            models.CheckConstraint(condition=Q(held_nano__gte=0), name="budget_period_held_not_negative"),
        ]

    def __str__(self) -> str:
        return f"{self.budget_id} {self.key}"


class GatewayProcess(models.Model):
    """A process that may hold money. Attempts of one whose heartbeat stopped are orphans; one in the future is a lease."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    host = models.CharField(max_length=100)
    pid = models.PositiveIntegerField()
    started_at = models.DateTimeField(default=timezone.now)
    heartbeat_at = models.DateTimeField(default=timezone.now)
    stopped_at = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return f"{self.host}:{self.pid}"


class Attempt(models.Model):
    """One physical call to a provider, written before its first byte leaves.

    ``dispatched`` holds ``hold_nano`` on every period of ``budget_period_ids``; the other states hold nothing. Ids of
    users, keys, providers and models are kept without foreign keys: the record outlives them.
    """

    class Status(models.TextChoices):
        DISPATCHED = "dispatched"
        SETTLED = "settled"
        ESTIMATED = "estimated"
        VOIDED = "voided"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    request_id = models.CharField(max_length=64)
    attempt_no = models.PositiveSmallIntegerField()
    process_id = models.UUIDField()
    status = models.CharField(max_length=10, choices=Status.choices, default=Status.DISPATCHED)
    user_id = models.BigIntegerField()
    api_key_id = models.CharField(max_length=12, blank=True)
    context = models.CharField(max_length=50)
    dialect = models.CharField(max_length=30)
    model_asked = models.CharField(max_length=200)
    provider_id = models.BigIntegerField()
    provider_slug = models.CharField(max_length=50)
    deployment_id = models.BigIntegerField()
    model_name = models.CharField(max_length=150)
    price_id = models.BigIntegerField()
    price_card = models.JSONField(help_text="Copy of the card fixed at dispatch (usage.money.card_json).")
    stream = models.BooleanField()
    hold_nano = NanoDollarField()
    budget_period_ids = models.JSONField(default=list)
    dispatched_at = models.DateTimeField()
    closed_at = models.DateTimeField(null=True)
    error_code = models.CharField(max_length=60, blank=True)
    latency_ms = models.PositiveIntegerField(null=True)
    first_byte_ms = models.PositiveIntegerField(null=True)

    class Meta:
        ordering: ClassVar = ["-dispatched_at"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["request_id", "attempt_no"], name="attempt_once_per_request_and_number"),
            models.CheckConstraint(condition=Q(hold_nano__gte=0), name="attempt_hold_not_negative"),
        ]
        indexes: ClassVar = [
            models.Index(fields=["process_id"], condition=Q(status="dispatched"), name="attempt_open_by_process"),
            models.Index(fields=["user_id", "-dispatched_at"]),
            models.Index(fields=["dispatched_at"]),
        ]

    def __str__(self) -> str:
        return f"{self.request_id} #{self.attempt_no}"


class LedgerEntry(models.Model):
    """One posting. Append-only: the database refuses UPDATE and DELETE.

    Token buckets are disjoint (``providers.upstream.types.TokenUsage``); ``None`` is unknown. ``basis`` says whether the
    provider measured the tokens or the gateway estimated them. The price card is copied, so the line explains itself.
    """

    class Kind(models.TextChoices):
        USAGE = "usage"
        CORRECTION = "correction"
        ADJUSTMENT = "adjustment"

    class Basis(models.TextChoices):
        MEASURED = "measured"
        ESTIMATED = "estimated"

    id = models.BigAutoField(primary_key=True)
    attempt_id = models.UUIDField()
    kind = models.CharField(max_length=10, choices=Kind.choices)
    basis = models.CharField(max_length=10, choices=Basis.choices)
    cost_nano = NanoDollarField("cost ($)")
    posted_at = models.DateTimeField()
    dispatched_at = models.DateTimeField()
    request_id = models.CharField(max_length=64)
    attempt_no = models.PositiveSmallIntegerField()
    upstream_id = models.CharField(max_length=200, blank=True, help_text="The provider's own id of the call.")
    user_id = models.BigIntegerField()
    api_key_id = models.CharField(max_length=12, blank=True)
    context = models.CharField(max_length=50)
    provider_id = models.BigIntegerField()
    provider_slug = models.CharField(max_length=50)
    deployment_id = models.BigIntegerField()
    model_name = models.CharField(max_length=150)
    input_tokens = models.BigIntegerField(null=True)
    cache_read_tokens = models.BigIntegerField(null=True)
    cache_write_tokens = models.BigIntegerField(null=True)
    cache_write_1h_tokens = models.BigIntegerField(null=True)
    output_tokens = models.BigIntegerField(null=True)
    reasoning_tokens = models.BigIntegerField(null=True)
    audio_input_tokens = models.BigIntegerField(null=True)
    audio_output_tokens = models.BigIntegerField(null=True)
    price_id = models.BigIntegerField()
    price_card = models.JSONField()
    error_code = models.CharField(max_length=60, blank=True)
    note = models.CharField(max_length=200, blank=True)

    class Meta:
        verbose_name = "ledger entry"
        verbose_name_plural = "ledger entries"
        ordering: ClassVar = ["-id"]
        constraints: ClassVar = [models.UniqueConstraint(fields=["attempt_id", "kind"], name="ledger_entry_once_per_attempt_and_kind")]
        indexes: ClassVar = [
            models.Index(fields=["dispatched_at"]),
            models.Index(fields=["user_id", "dispatched_at"]),
            models.Index(fields=["provider_id", "dispatched_at"]),
            models.Index(fields=["posted_at"]),
        ]

    def __str__(self) -> str:
        return f"{self.request_id} #{self.attempt_no} {self.kind}"

    @property
    def usage(self) -> TokenUsage:
        return TokenUsage(**{bucket.name: getattr(self, bucket.name) for bucket in fields(TokenUsage)})


class DailyTotal(models.Model):
    """Ledger lines summed by UTC day of dispatch; derived, rebuilt at will, never the source of a decision."""

    day = models.DateField()
    user_id = models.BigIntegerField()
    api_key_id = models.CharField(max_length=12, blank=True)
    context = models.CharField(max_length=50)
    provider_slug = models.CharField(max_length=50)
    model_name = models.CharField(max_length=150)
    requests = models.BigIntegerField()
    attempts = models.BigIntegerField()
    estimated = models.BigIntegerField()
    input_tokens = models.BigIntegerField()
    output_tokens = models.BigIntegerField()
    cost_nano = NanoDollarField()

    class Meta:
        ordering: ClassVar = ["-day"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["day", "user_id", "api_key_id", "context", "provider_slug", "model_name"], name="daily_total_once"
            )
        ]

    def __str__(self) -> str:
        return f"{self.day} {self.provider_slug}/{self.model_name}"


__all__ = ["ApiKey", "Attempt", "Budget", "BudgetPeriod", "DailyTotal", "GatewayProcess", "LedgerEntry"]
