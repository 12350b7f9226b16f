"""Bills of providers, and what differs from the ledger."""

from __future__ import annotations

from typing import ClassVar

from django.db import models

from providers.fields import NanoDollarField


class Statement(models.Model):
    """A provider's usage or invoice file and what comparing it with the ledger found. ``summary`` adds up by kind of finding."""

    provider_slug = models.CharField(max_length=50)
    layout = models.CharField(max_length=20, help_text="openai, anthropic or generic.")
    columns = models.JSONField(default=dict, help_text="Generic layout: which of our fields each column is.")
    time_zone = models.CharField(max_length=60, default="UTC", help_text="The provider's days.")
    file_name = models.CharField(max_length=200)
    file_sha256 = models.CharField(max_length=64)
    starts_on = models.DateField(null=True)
    ends_on = models.DateField(null=True, help_text="Included.")
    summary = models.JSONField(default=dict)
    uploaded_by_id = models.BigIntegerField(null=True)
    uploaded_at = models.DateTimeField()

    class Meta:
        ordering: ClassVar = ["-uploaded_at"]

    def __str__(self) -> str:
        return f"{self.provider_slug}: {self.file_name}"


class StatementLine(models.Model):
    """One line of a statement, or of the ledger where the statement has none, and how the two compare.

    ``variance_nano`` is what the provider billed above the ledger; it is split by cause.
    """

    class Finding(models.TextChoices):
        MATCHED = "matched"
        PRICE = "price"
        TOKENS = "tokens"
        MISSING = "missing", "Missing in the ledger"
        EXTRA = "extra", "Not on the statement"
        ZONE = "zone", "Other day"

    statement = models.ForeignKey(Statement, on_delete=models.CASCADE, related_name="lines")
    number = models.PositiveIntegerField(null=True, help_text="Line of the file; empty: only in the ledger.")
    finding = models.CharField(max_length=8, choices=Finding.choices)
    matched_by = models.CharField(max_length=10, blank=True, help_text="request or group.")
    upstream_id = models.CharField(max_length=200, blank=True)
    day = models.DateField(null=True)
    model_name = models.CharField(max_length=150, blank=True)
    billed_nano = NanoDollarField(null=True)
    ledger_nano = NanoDollarField(null=True)
    variance_nano = NanoDollarField(default=0)
    price_variance_nano = NanoDollarField(default=0)
    tokens_variance_nano = NanoDollarField(default=0)
    billed_tokens = models.JSONField(default=dict)
    ledger_tokens = models.JSONField(default=dict)

    class Meta:
        ordering: ClassVar = ["statement", "id"]
        indexes: ClassVar = [models.Index(fields=["statement", "finding"])]

    def __str__(self) -> str:
        return f"{self.statement_id} {self.number}: {self.finding}"
