"""Files of the ledger and closed months."""

from __future__ import annotations

import uuid
from typing import ClassVar

from django.db import models

from providers.fields import NanoDollarField


class ClosedMonth(models.Model):
    """A month of ``settings.TIME_ZONE`` whose lines are fixed. Lines posted after ``cutoff_at`` belong to the next open month.

    Rows are only ever added: nothing reopens a month.
    """

    month = models.CharField(primary_key=True, max_length=7, help_text="2026-11")
    starts_at = models.DateTimeField(help_text="When the month began; kept, because the gateway's time zone may change.")
    ends_at = models.DateTimeField()
    cutoff_at = models.DateTimeField()
    lines = models.BigIntegerField()
    late_lines = models.BigIntegerField(help_text="Of them, those of earlier months that were posted after these had been closed.")
    cost_nano = NanoDollarField()
    columns = models.PositiveSmallIntegerField(help_text="How many the CSV had: those that later releases append are not in it.")
    sha256 = models.CharField(max_length=64, help_text="Of the CSV of this month.")
    closed_by_id = models.BigIntegerField(null=True)
    closed_at = models.DateTimeField()

    class Meta:
        ordering: ClassVar = ["-month"]

    def __str__(self) -> str:
        return self.month


class Export(models.Model):
    """A file made in the background. ``query`` holds the checked parameters it was asked with."""

    class Format(models.TextChoices):
        CSV = "csv", "CSV"
        XLSX = "xlsx", "Excel"
        FOCUS_1_2 = "focus-1.2", "FOCUS 1.2"
        FOCUS_1_4 = "focus-1.4", "FOCUS 1.4"

    class Status(models.TextChoices):
        WAITING = "waiting"
        RUNNING = "running"
        DONE = "done"
        FAILED = "failed"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    format = models.CharField(max_length=10, choices=Format.choices)
    query = models.JSONField(default=dict)
    status = models.CharField(max_length=10, choices=Status.choices, default=Status.WAITING)
    lines_total = models.BigIntegerField(null=True)
    lines_done = models.BigIntegerField(default=0)
    cost_nano = NanoDollarField(null=True)
    bytes = models.BigIntegerField(null=True)
    sha256 = models.CharField(max_length=64, blank=True)
    error = models.CharField(max_length=200, blank=True)
    created_by_id = models.BigIntegerField(null=True)
    created_at = models.DateTimeField()
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)

    class Meta:
        ordering: ClassVar = ["-created_at"]

    def __str__(self) -> str:
        return f"{self.format} of {self.created_at:%Y-%m-%d}"
