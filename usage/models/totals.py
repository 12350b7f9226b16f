"""What is derived from the ledger or laid beside it: seals, totals, closed months, exports, providers' statements."""

from __future__ import annotations

from typing import ClassVar

from django.db import models

from providers.fields import NanoDollarField


class UsageSums(models.Model):
    """Ledger lines summed. Derived, rebuilt at will, never the source of a decision. ``usage.reports.totals`` says which lines are in it.

    A token sum is ``None`` when no line knows that bucket.
    """

    slot = models.DateTimeField(help_text="When the quarter of an hour, the day or the month begins.")
    user_id = models.BigIntegerField()
    api_key_id = models.CharField(max_length=12, blank=True)
    team_id = models.BigIntegerField(default=0, help_text="0: none.")
    context = models.CharField(max_length=50)
    provider_slug = models.CharField(max_length=50)
    model_name = models.CharField(max_length=150)
    requests = models.BigIntegerField(help_text="Requests whose first line is among these: each counts once, wherever retries went.")
    attempts = models.BigIntegerField()
    lines = models.BigIntegerField()
    estimated_lines = models.BigIntegerField()
    cost_nano = NanoDollarField()
    input_tokens = models.BigIntegerField(null=True)
    cache_read_tokens = models.BigIntegerField(null=True)
    cache_write_tokens = models.BigIntegerField(null=True)
    cache_write_1h_tokens = models.BigIntegerField(null=True)
    output_tokens = models.BigIntegerField(null=True)
    reasoning_tokens = models.BigIntegerField(null=True)
    audio_input_tokens = models.BigIntegerField(null=True)
    audio_output_tokens = models.BigIntegerField(null=True)
    image_input_tokens = models.BigIntegerField(null=True)

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return f"{self.slot:%Y-%m-%d %H:%M} {self.provider_slug}/{self.model_name}"


_GROUP = ["slot", "user_id", "api_key_id", "team_id", "context", "provider_slug", "model_name"]


class UsageTotal(UsageSums):
    """By quarter of an hour of dispatch, the largest slot that every time zone's hours and days are made of."""

    class Meta:
        ordering: ClassVar = ["-slot"]
        constraints: ClassVar = [models.UniqueConstraint(fields=_GROUP, name="usage_total_once")]
        indexes: ClassVar = [models.Index(fields=["user_id", "slot"], name="usage_total_by_user")]


class UsageDay(UsageSums):
    """By day of dispatch in the zone of ``RollUp.time_zone``."""

    class Meta:
        ordering: ClassVar = ["-slot"]
        constraints: ClassVar = [models.UniqueConstraint(fields=_GROUP, name="usage_day_once")]
        indexes: ClassVar = [models.Index(fields=["user_id", "slot"], name="usage_day_by_user")]


class UsageTeamDay(UsageSums):
    """The same days without users and keys (0 and empty): few rows, however many people there are."""

    class Meta:
        ordering: ClassVar = ["-slot"]
        constraints: ClassVar = [models.UniqueConstraint(fields=_GROUP, name="usage_team_day_once")]


class UsageHalfHour(UsageSums):
    """By half hour, of provider and model only (0 and empty for the rest): few rows, whoever calls and from wherever.

    Hours and days of nearly all time zones are made of half hours; the few with offsets of 45 minutes need quarters besides.
    """

    class Meta:
        ordering: ClassVar = ["-slot"]
        constraints: ClassVar = [models.UniqueConstraint(fields=_GROUP, name="usage_half_hour_once")]


class UsageHalfHourSum(UsageSums):
    """By half hour and nothing else: what a year is read from that is asked for by day only."""

    class Meta:
        ordering: ClassVar = ["-slot"]
        constraints: ClassVar = [models.UniqueConstraint(fields=_GROUP, name="usage_half_hour_sum_once")]


class UsageMonth(UsageSums):
    """By month of the same zone."""

    class Meta:
        ordering: ClassVar = ["-slot"]
        constraints: ClassVar = [models.UniqueConstraint(fields=_GROUP, name="usage_month_once")]
        indexes: ClassVar = [models.Index(fields=["user_id", "slot"], name="usage_month_by_user")]


class UsageByCard(models.Model):
    """Measured usage lines of one UTC day that one card, in one of its tiers, priced alike, by model asked for. For savings."""

    slot = models.DateTimeField(help_text="When the UTC day begins.")
    team_id = models.BigIntegerField(help_text="0: none.")
    context = models.CharField(max_length=50)
    provider_slug = models.CharField(max_length=50)
    model_name = models.CharField(max_length=150)
    deployment_id = models.BigIntegerField()
    model_asked = models.CharField(max_length=200)
    card_md5 = models.CharField(max_length=32)
    above_input_tokens = models.BigIntegerField(help_text="The bound of the tier; -1: the card's own rates.")
    price_card = models.JSONField()
    lines = models.BigIntegerField()
    cost_nano = NanoDollarField()
    input_tokens = models.BigIntegerField()
    cache_read_tokens = models.BigIntegerField()
    cache_write_tokens = models.BigIntegerField()
    cache_write_1h_tokens = models.BigIntegerField()
    output_tokens = models.BigIntegerField()
    reasoning_tokens = models.BigIntegerField()
    audio_input_tokens = models.BigIntegerField()
    audio_output_tokens = models.BigIntegerField()
    image_input_tokens = models.BigIntegerField()
    provider_tool_calls = models.BigIntegerField(db_default=0)

    class Meta:
        ordering: ClassVar = ["-slot"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=[
                    "slot",
                    "team_id",
                    "context",
                    "provider_slug",
                    "model_name",
                    "deployment_id",
                    "model_asked",
                    "card_md5",
                    "above_input_tokens",
                ],
                name="usage_by_card_once",
            )
        ]

    def __str__(self) -> str:
        return f"{self.slot:%Y-%m-%d} {self.provider_slug}/{self.model_name}"


class RollUp(models.Model):
    """How far totals have come, the single row with id 1: they hold exactly the lines up to ``last_entry_id``.

    Half hours hold those up to ``half_hours_entry_id`` and are read only while both ids agree: a worker of a release that does
    not know them moves the first alone. Cards are summed on their own, up to ``cards_entry_id``.
    """

    last_entry_id = models.BigIntegerField(default=0)
    half_hours_entry_id = models.BigIntegerField(null=True)
    cards_entry_id = models.BigIntegerField(null=True)
    time_zone = models.CharField(max_length=60, help_text="Whose days and months are summed.")
    rolled_up_at = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return f"up to line {self.last_entry_id}"
