"""Attempts and the ledger. Amounts are integer nano-dollars."""

from __future__ import annotations

import uuid
from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.utils import timezone

from providers.fields import NanoDollarField
from providers.upstream.types import TokenUsage
from usage.money import COUNTS


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
    team_id = models.BigIntegerField(null=True)
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
    hold_tokens = models.BigIntegerField(default=0)
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
        UNPRICED = "unpriced"

    id = models.BigAutoField(primary_key=True)
    attempt_id = models.UUIDField()
    kind = models.CharField(max_length=10, choices=Kind.choices)
    basis = models.CharField(max_length=10, choices=Basis.choices)
    cost_nano = NanoDollarField("cost ($)")
    reported_cost_nano = NanoDollarField("cost the provider told ($)", null=True)
    posted_at = models.DateTimeField()
    dispatched_at = models.DateTimeField()
    request_id = models.CharField(max_length=64)
    attempt_no = models.PositiveSmallIntegerField()
    upstream_id = models.CharField(max_length=200, blank=True, help_text="The provider's own id of the call.")
    user_id = models.BigIntegerField()
    api_key_id = models.CharField(max_length=12, blank=True)
    team_id = models.BigIntegerField(null=True)
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
    image_input_tokens = models.BigIntegerField(null=True)
    provider_tool_calls = models.BigIntegerField(
        null=True, help_text="Calls of tools the provider ran itself, which it bills by the call; empty: it told none."
    )
    quota_tokens = models.BigIntegerField(
        default=0, help_text="What quotas count: the sum of the buckets, or the hold where they are unknown."
    )
    price_id = models.BigIntegerField()
    price_card = models.JSONField()
    error_code = models.CharField(max_length=60, blank=True)
    note = models.CharField(max_length=200, blank=True)
    actor_id = models.BigIntegerField(null=True, help_text="Who made an adjustment.")

    class Meta:
        verbose_name = "ledger entry"
        verbose_name_plural = "ledger entries"
        ordering: ClassVar = ["-id"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["attempt_id", "kind"], condition=~Q(kind="adjustment"), name="ledger_entry_once_per_attempt_and_kind"
            )
        ]
        indexes: ClassVar = [
            models.Index(fields=["dispatched_at"]),
            models.Index(fields=["user_id", "dispatched_at"]),
            models.Index(fields=["provider_id", "dispatched_at"]),
            models.Index(fields=["posted_at"]),
            models.Index(fields=["request_id"]),
        ]

    def __str__(self) -> str:
        return f"{self.request_id} #{self.attempt_no} {self.kind}"

    @property
    def usage(self) -> TokenUsage:
        return TokenUsage(**{name: getattr(self, name) for name in (*COUNTS, "reported_cost_nano")})


class LedgerDay(models.Model):
    """The seal of one UTC day of posting. ``sha256`` covers the seal before it and every line of the day, in order of id."""

    day = models.DateField(primary_key=True)
    lines = models.BigIntegerField()
    cost_nano = NanoDollarField()
    last_id = models.BigIntegerField(help_text="Id of the day's last line; 0 where there is none.")
    previous_sha256 = models.CharField(max_length=64)
    sha256 = models.CharField(max_length=64)
    sealed_at = models.DateTimeField()

    class Meta:
        ordering: ClassVar = ["-day"]

    def __str__(self) -> str:
        return f"{self.day}: {self.sha256[:12]}"
