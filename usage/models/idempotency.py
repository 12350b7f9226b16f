"""Answers kept for requests that are sent again."""

from __future__ import annotations

from typing import ClassVar

from django.db import models

from providers.fields import SealedField


class IdempotencyRecord(models.Model):
    """One ``Idempotency-Key`` of one caller, and the answer it got, sealed; kept for 24 hours."""

    caller = models.CharField(max_length=30, help_text="key:ID or user:ID.")
    key = models.CharField(max_length=255)
    request_sha256 = models.BinaryField(max_length=32, help_text="Of method, path and body.")
    process_id = models.UUIDField(null=True)
    request_id = models.CharField(max_length=64)
    status = models.PositiveSmallIntegerField(null=True, help_text="HTTP status of the stored answer; empty: in flight.")
    content_type = models.CharField(max_length=100, blank=True)
    headers = models.JSONField(default=dict)
    sealed_body = SealedField(default=b"")
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField(db_index=True)

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(fields=["caller", "key"], name="idempotency_once_per_caller")]

    def __str__(self) -> str:
        return f"{self.caller} {self.request_id}"
