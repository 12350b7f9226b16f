"""Budgets, quotas and tiers, with what was taken from them. Amounts are integer nano-dollars."""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Q

from providers.fields import NanoDollarField
from usage.models.keys import ApiKey


class Period(models.TextChoices):
    """Units of budgets. All but the hour follow the calendar of ``settings.TIME_ZONE``; weeks begin on Monday (ISO 8601)."""

    HOUR = "hour", "Hour"
    DAY = "day", "Day"
    WEEK = "week", "Week"
    MONTH = "month", "Month"
    TOTAL = "total", "Total"


class Enforcement(models.TextChoices):
    HARD = "hard", "Hard: refuse what does not fit"
    WARN = "warn", "Warn only"


class Tier(models.Model):
    """A named set of limits for users. ``usage.budgets.actions`` turns them into budgets of each member, so all limits work alike."""

    name = models.SlugField(max_length=40, unique=True)
    label = models.CharField(max_length=100, blank=True)

    class Meta:
        ordering: ClassVar = ["name"]

    def __str__(self) -> str:
        return self.label or self.name


class Caps(models.Model):
    """Limits per period on money, tokens and requests; ``None`` is no limit, 0 blocks."""

    period = models.CharField(max_length=10, choices=Period.choices, default=Period.MONTH)
    cap_nano = NanoDollarField("cap ($)", null=True, blank=True)
    cap_tokens = models.BigIntegerField(null=True, blank=True, help_text="Input and output together.")
    cap_requests = models.BigIntegerField(null=True, blank=True, help_text="Retries and failover do not count again.")
    enforcement = models.CharField(max_length=4, choices=Enforcement.choices, default=Enforcement.HARD)
    charge_failed_attempts = models.BooleanField(
        default=True, db_default=True,
        help_text="Off: what a provider bills for an attempt that failed is given back to this budget at once, by an entry on record.",
    )  # fmt: skip

    class Meta:
        abstract = True


_CAPS_VALID = (
    Q(cap_nano=None) | Q(cap_nano__gte=0),
    Q(cap_tokens=None) | Q(cap_tokens__gte=0),
    Q(cap_requests=None) | Q(cap_requests__gte=0),
)


_SOME_CAP = Q(cap_nano__isnull=False) | Q(cap_tokens__isnull=False) | Q(cap_requests__isnull=False)


class TierLimit(Caps):
    """What a tier allows per period."""

    tier = models.ForeignKey(Tier, on_delete=models.CASCADE, related_name="limits")

    class Meta:
        ordering: ClassVar = ["tier", "id"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["tier", "period"], name="tier_limit_once_per_period"),
            models.CheckConstraint(condition=_CAPS_VALID[0] & _CAPS_VALID[1] & _CAPS_VALID[2] & _SOME_CAP, name="tier_limit_caps_valid"),
        ]

    def __str__(self) -> str:
        return f"{self.tier} per {self.period}"


class UserAccount(models.Model):
    """What finance knows of a user beside the login: the tier, and the team whose budget and reports the calls count in.

    ``team`` is one of the user's groups; empty: the first of them by name.
    """

    user = models.OneToOneField(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="account")
    tier = models.ForeignKey(Tier, null=True, blank=True, on_delete=models.PROTECT, related_name="accounts")
    team = models.ForeignKey("auth.Group", null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    updated_at = models.DateTimeField(auto_now=True)

    def __str__(self) -> str:
        return f"account of {self.user}"


class Budget(Caps):
    """Caps per period for one scope. No row means no limit. ``tier`` is set on rows that a tier made."""

    class Scope(models.TextChoices):
        GATEWAY = "gateway", "Whole gateway"
        TEAM = "team", "Team"
        USER = "user", "User"
        KEY = "key", "API key"
        PROVIDER = "provider", "Provider"
        CONTEXT = "context", "Context"

    scope = models.CharField(max_length=10, choices=Scope.choices)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.CASCADE, related_name="budgets")
    api_key = models.ForeignKey(ApiKey, null=True, blank=True, on_delete=models.CASCADE, related_name="budgets", verbose_name="API key")
    team = models.ForeignKey("auth.Group", null=True, blank=True, on_delete=models.CASCADE, related_name="budgets")
    provider = models.ForeignKey("providers.Provider", null=True, blank=True, on_delete=models.CASCADE, related_name="budgets")
    context = models.SlugField(max_length=50, blank=True)
    fallback_route = models.ForeignKey(
        "providers.Route", null=True, blank=True, on_delete=models.SET_NULL, related_name="+",
        help_text="Where requests go that no longer fit: a cheaper or free route. Empty: they are refused.",
    )  # fmt: skip
    tier = models.ForeignKey(Tier, null=True, blank=True, editable=False, on_delete=models.CASCADE, related_name="budgets")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering: ClassVar = ["scope", "id"]
        constraints: ClassVar = [
            models.CheckConstraint(condition=_CAPS_VALID[0] & _CAPS_VALID[1] & _CAPS_VALID[2] & _SOME_CAP, name="budget_caps_valid"),
            models.CheckConstraint(
                condition=Q(scope="gateway", user=None, api_key=None, team=None, provider=None, context="")
                | Q(scope="team", user=None, api_key=None, team__isnull=False, provider=None, context="")
                | Q(scope="user", user__isnull=False, api_key=None, team=None, provider=None, context="")
                | Q(scope="key", user=None, api_key__isnull=False, team=None, provider=None, context="")
                | Q(scope="provider", user=None, api_key=None, team=None, provider__isnull=False, context="")
                | (Q(scope="context", user=None, api_key=None, team=None, provider=None) & ~Q(context="")),
                name="budget_scope_names_its_subject",
            ),
            models.UniqueConstraint(fields=["period"], condition=Q(scope="gateway"), name="budget_once_for_gateway"),
            models.UniqueConstraint(fields=["user", "period"], condition=Q(scope="user"), name="budget_once_per_user"),
            models.UniqueConstraint(fields=["api_key", "period"], condition=Q(scope="key"), name="budget_once_per_key"),
            models.UniqueConstraint(fields=["team", "period"], condition=Q(scope="team"), name="budget_once_per_team"),
            models.UniqueConstraint(fields=["provider", "period"], condition=Q(scope="provider"), name="budget_once_per_provider"),
            models.UniqueConstraint(fields=["context", "period"], condition=Q(scope="context"), name="budget_once_per_context"),
        ]

    def __str__(self) -> str:
        return f"{self.subject} per {self.period}"

    @property
    def subject(self) -> str:
        """Whom it binds, for people."""
        return str(self.user or self.api_key or self.team or self.provider or self.context or "gateway")


class BudgetPeriod(models.Model):
    """One period of one budget: what is posted, what is held. A new period is a new row; nothing is ever reset."""

    budget = models.ForeignKey(Budget, on_delete=models.CASCADE, related_name="periods")
    key = models.CharField(max_length=20, help_text="2026-11-21T13Z, 2026-11-21, 2026-W47, 2026-11 or total.")
    posted_nano = NanoDollarField(default=0)
    held_nano = NanoDollarField(default=0)
    posted_tokens = models.BigIntegerField(default=0)
    held_tokens = models.BigIntegerField(default=0)
    requests = models.BigIntegerField(default=0)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["budget", "key"], name="budget_period_once"),
            models.CheckConstraint(condition=Q(held_nano__gte=0, held_tokens__gte=0), name="budget_period_held_not_negative"),
        ]

    def __str__(self) -> str:
        return f"{self.budget_id} {self.key}"


class BudgetAdjustment(models.Model):
    """A change of what a budget period counts (a reset, a failed attempt given back): append-only, with a reason.

    The ledger keeps its lines. ``actor_id`` is the person who made it; ``None``: the gateway, by the budget's own rule.

    ``budget_id``, ``key`` and ``subject`` are kept as values: the record outlives the budget.
    """

    budget_id = models.BigIntegerField()
    key = models.CharField(max_length=20)
    subject = models.CharField(max_length=200)
    amount_nano = NanoDollarField(help_text="Added to what is posted; negative gives back.")
    tokens = models.BigIntegerField(default=0)
    requests = models.BigIntegerField(default=0)
    reason = models.CharField(max_length=200)
    actor_id = models.BigIntegerField(null=True)
    created_at = models.DateTimeField()

    class Meta:
        ordering: ClassVar = ["-id"]
        indexes: ClassVar = [models.Index(fields=["budget_id", "key"])]

    def __str__(self) -> str:
        return f"{self.subject} {self.key}"


class BudgetAlert(models.Model):
    """A threshold of one measure that a budget period crossed; once each."""

    class Measure(models.TextChoices):
        MONEY = "money"
        TOKENS = "tokens"
        REQUESTS = "requests"

    period = models.ForeignKey(BudgetPeriod, on_delete=models.CASCADE, related_name="alerts")
    measure = models.CharField(max_length=8, choices=Measure.choices)
    threshold_percent = models.PositiveSmallIntegerField()
    used = models.BigIntegerField()
    cap = models.BigIntegerField()
    crossed_at = models.DateTimeField()
    mailed_at = models.DateTimeField(null=True)
    posted_at = models.DateTimeField(null=True, help_text="When the webhook accepted it.")
    tries = models.PositiveSmallIntegerField(default=0)

    class Meta:
        ordering: ClassVar = ["-id"]
        constraints: ClassVar = [models.UniqueConstraint(fields=["period", "measure", "threshold_percent"], name="budget_alert_once")]

    def __str__(self) -> str:
        return f"{self.period} {self.measure} {self.threshold_percent} %"
