"""Where to talk, how to talk, what it costs and who is healthy."""

from __future__ import annotations

import uuid
from dataclasses import fields
from typing import Any, ClassVar

import msgspec
from django.conf import settings
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import F, Q
from django.utils import timezone

from providers.fields import NanoDollarField, SealedField
from providers.rates import PRICE_FIGURES
from providers.upstream.types import ContextTier, DisconnectPolicy, HealthStatus, Policy, PriceCard, PriceWindow, Rates


def _choices(enum: Any) -> list[tuple[str, str]]:
    return [(member.value, member.value.replace("_", " ").capitalize()) for member in enum]


class Provider(models.Model):
    """One account at one service. Deletion is soft: the ledger refers to it for ever."""

    slug = models.SlugField(max_length=50, help_text="Stable public name, as in <code>slug/model</code>.")
    label = models.CharField("name", max_length=100)
    kind = models.SlugField(max_length=40, help_text="Row of the provider catalogue: wire format, address, key style.")
    base_url = models.CharField(
        "base URL", max_length=300, help_text="Includes the API version, for example <code>https://api.openai.com/v1</code>."
    )
    enabled = models.BooleanField(default=True)
    priority = models.PositiveIntegerField(default=100, help_text="Lower is tried first.")
    weight = models.PositiveIntegerField(default=1, validators=[MinValueValidator(1)])
    allow_private = models.BooleanField(
        "private address", default=False, help_text="The base URL may point to a private or loopback address. Superusers only."
    )
    ca_bundle = models.TextField(
        "CA certificates", blank=True,
        help_text="PEM text of the authority that signed the server's certificate, for servers of your own. Empty: the public authorities.",
    )  # fmt: skip
    disconnect_policy = models.CharField(
        max_length=10, choices=_choices(DisconnectPolicy), default=DisconnectPolicy.CLOSE.value,
        help_text="When the client leaves: close stops the generation, drain reads on to the exact usage.",
    )  # fmt: skip
    connect_timeout_s = models.FloatField("connect timeout (s)", default=2.0, validators=[MinValueValidator(0.1)])
    first_byte_timeout_s = models.FloatField("first byte timeout (s)", default=30.0, validators=[MinValueValidator(0.1)])
    idle_timeout_s = models.FloatField("idle timeout (s)", default=60.0, validators=[MinValueValidator(0.1)])
    total_timeout_s = models.FloatField("total timeout (s)", default=600.0, validators=[MinValueValidator(0.1)])
    max_connections = models.PositiveIntegerField(default=200, validators=[MinValueValidator(1)])
    discount_ppm = models.PositiveIntegerField(
        "discount (millionths)", default=0, validators=[MaxValueValidator(1_000_000)],
        help_text="What your contract takes off every list price: 50000 is 5 %.",
    )  # fmt: skip
    health = models.CharField(max_length=10, choices=_choices(HealthStatus), default=HealthStatus.UNKNOWN.value, editable=False)
    health_detail = models.CharField(max_length=200, blank=True, editable=False)
    health_latency_ms = models.FloatField(null=True, editable=False)
    health_checked_at = models.DateTimeField(null=True, editable=False)
    consecutive_failures = models.PositiveIntegerField(default=0, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)
    deleted_at = models.DateTimeField(null=True, editable=False)

    class Meta:
        ordering: ClassVar = ["priority", "slug"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["slug"], condition=Q(deleted_at=None), name="provider_slug_once",
                violation_error_message="A provider with this slug exists already.",
            ),
        ]  # fmt: skip

    def __str__(self) -> str:
        return self.label


class ManagedPreset(models.Model):
    """Makes a provider a product of one's own: a fixed prompt and sampling on another service, behind a subscription."""

    provider = models.OneToOneField(Provider, on_delete=models.CASCADE, related_name="preset")
    upstream_kind = models.SlugField(max_length=40, help_text="The kind of service behind it: its wire format and key style.")
    required_tier = models.SlugField(
        max_length=40, blank=True, help_text="Only users with this entitlement may use it. Empty: everybody may."
    )
    system_prompt = models.TextField(blank=True, help_text="Goes before the user's own messages.")
    temperature = models.FloatField(null=True, blank=True, validators=[MinValueValidator(0.0), MaxValueValidator(2.0)])

    def __str__(self) -> str:
        return f"preset of {self.provider}"


class Credential(models.Model):
    """A provider key, sealed at rest. What may be shown of it is ``fingerprint`` and ``last4``."""

    class State(models.TextChoices):
        ACTIVE = "active"
        DRAINING = "draining"
        DISABLED = "disabled"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    provider = models.ForeignKey(Provider, on_delete=models.CASCADE, related_name="credentials")
    label = models.CharField(max_length=100, blank=True)
    sealed_secret = SealedField()
    fingerprint = models.CharField(max_length=16, editable=False)
    last4 = models.CharField("last four", max_length=4, editable=False)
    state = models.CharField(max_length=10, choices=State.choices, default=State.ACTIVE)
    position = models.PositiveIntegerField(default=0, help_text="Lower is used first; the others are backups.")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering: ClassVar = ["position", "created_at"]

    def __str__(self) -> str:
        return f"…{self.last4} ({self.fingerprint})"


class Deployment(models.Model):
    """One upstream model on one provider, shown to people as "model"."""

    provider = models.ForeignKey(Provider, on_delete=models.CASCADE, related_name="deployments")
    name = models.CharField(max_length=150, help_text="The name clients ask for.")
    upstream_model = models.CharField(max_length=200, help_text="The name the provider is asked for.")
    display_name = models.CharField(max_length=200, blank=True)
    description = models.TextField(blank=True)
    enabled = models.BooleanField(default=True)
    recommended = models.BooleanField(default=False)
    capabilities = models.JSONField(default=list)
    verified_capabilities = models.JSONField(default=list, editable=False, help_text="Shown by a conformance run.")
    refuted_capabilities = models.JSONField(default=list, editable=False, help_text="Claimed, and found wanting by a conformance run.")
    max_output_tokens = models.PositiveIntegerField(default=4096, validators=[MinValueValidator(1)])
    context_window_tokens = models.PositiveIntegerField(null=True, blank=True)
    unpriced_ceiling_nano = NanoDollarField(
        "ceiling while unpriced ($)", null=True, blank=True,
        help_text="Allows paid use without a price: every call is booked at this much and flagged. Empty: refused until priced.",
    )  # fmt: skip
    imported_at = models.DateTimeField(null=True, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        verbose_name = "model"
        ordering: ClassVar = ["provider", "name"]
        constraints: ClassVar = [models.UniqueConstraint(fields=["provider", "name"], name="deployment_name_once_per_provider")]

    def __str__(self) -> str:
        return f"{self.provider.slug}/{self.name}"


class ConformanceResult(models.Model):
    """What one check of the latest conformance run of a model found."""

    class Result(models.TextChoices):
        OK = "ok", "OK"
        FAILED = "failed"
        SKIPPED = "skipped"

    deployment = models.ForeignKey(Deployment, on_delete=models.CASCADE, related_name="conformance", verbose_name="model")
    check_name = models.CharField(max_length=30)
    result = models.CharField(max_length=10, choices=Result.choices)
    message = models.CharField(max_length=300)
    error_code = models.CharField(max_length=60, blank=True)
    latency_ms = models.FloatField(null=True)
    checked_at = models.DateTimeField()

    class Meta:
        ordering: ClassVar = ["deployment", "id"]
        constraints: ClassVar = [models.UniqueConstraint(fields=["deployment", "check_name"], name="conformance_once_per_check")]

    def __str__(self) -> str:
        return f"{self.deployment_id} {self.check_name}: {self.result}"


class Price(models.Model):
    """A dated price card. Rows are never edited: a new price is a new row, so recorded history is never re-priced."""

    deployment = models.ForeignKey(Deployment, on_delete=models.CASCADE, related_name="prices", verbose_name="model")
    valid_from = models.DateTimeField(default=timezone.now)
    input_nano_per_mtok = NanoDollarField("input ($ per million tokens)")
    output_nano_per_mtok = NanoDollarField("output ($ per million tokens)")
    cache_read_nano_per_mtok = NanoDollarField("cache read ($ per million tokens)", null=True, blank=True)
    cache_write_nano_per_mtok = NanoDollarField("cache write ($ per million tokens)", null=True, blank=True)
    cache_write_1h_nano_per_mtok = NanoDollarField("cache write 1 h ($ per million tokens)", null=True, blank=True)
    reasoning_nano_per_mtok = NanoDollarField("reasoning ($ per million tokens)", null=True, blank=True)
    audio_input_nano_per_mtok = NanoDollarField("audio input ($ per million tokens)", null=True, blank=True)
    audio_output_nano_per_mtok = NanoDollarField("audio output ($ per million tokens)", null=True, blank=True)
    image_input_nano_per_mtok = NanoDollarField("image input ($ per million tokens)", null=True, blank=True)
    request_nano = NanoDollarField("per request ($)", default=0)
    tool_call_nano = NanoDollarField(
        "per call of the provider's own tools ($)", null=True, blank=True,
        help_text="Web search and the like, the dearest of them. Empty: requests for such tools are refused. Zero: they are free.",
    )  # fmt: skip
    context_tiers = models.JSONField(
        default=list, blank=True,
        help_text="Prices above an input size, for the whole call: objects with above_input_tokens and the rates.",
    )  # fmt: skip
    windows = models.JSONField(
        default=list, blank=True,
        help_text="Other prices by time of day: objects with start, end (HH:MM), zone and the rates.",
    )  # fmt: skip
    native_currency = models.CharField(max_length=3, default="USD", help_text="What the provider bills in.")
    usd_rate = models.DecimalField(
        "rate (USD per unit)", max_digits=18, decimal_places=9, default=1, help_text="Used once, when the price was entered."
    )  # fmt: skip
    usd_rate_on = models.DateField("rate of", null=True, blank=True)
    native_figures = models.JSONField(
        default=dict, blank=True, editable=False, help_text="The amounts as typed, where they are not dollars."
    )
    source = models.CharField(max_length=200, help_text="Where the price was read: a page, an invoice, a price package.")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering: ClassVar = ["deployment", "-valid_from", "-id"]
        constraints: ClassVar = [
            models.CheckConstraint(condition=Q(**{f"{name}__gte": 0 for name in PRICE_FIGURES}), name="price_not_negative"),
        ]

    def __str__(self) -> str:
        return f"{self.deployment} from {self.valid_from:%Y-%m-%d}"

    def card(self, discount_ppm: int = 0) -> PriceCard:
        """This row as calls are priced by it, its windows not resolved yet."""
        return PriceCard(
            id=self.pk,
            **{rate.name: getattr(self, rate.name) for rate in fields(Rates)},
            request_nano=self.request_nano,
            tool_call_nano=self.tool_call_nano,
            context_tiers=tuple(msgspec.convert(self.context_tiers, list[ContextTier])),
            windows=tuple(msgspec.convert(self.windows, list[PriceWindow])),
            discount_ppm=discount_ppm,
        )


class PriceProposal(models.Model):
    """A price an import found that differs from the one in force. A person approves it; until then nothing changes."""

    class Status(models.TextChoices):
        OPEN = "open"
        APPROVED = "approved"
        REJECTED = "rejected"

    deployment = models.ForeignKey(Deployment, on_delete=models.CASCADE, related_name="price_proposals", verbose_name="model")
    current = models.ForeignKey(Price, null=True, on_delete=models.SET_NULL, related_name="+")
    figures = models.JSONField(help_text="Fields of a price row.")
    status = models.CharField(max_length=10, choices=Status.choices, default=Status.OPEN)
    found_at = models.DateTimeField()
    decided_at = models.DateTimeField(null=True, editable=False)
    decided_by_id = models.BigIntegerField(null=True, editable=False)

    class Meta:
        ordering: ClassVar = ["status", "-found_at"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["deployment"], condition=Q(status="open"), name="price_proposal_one_open_per_model")
        ]

    def __str__(self) -> str:
        return f"{self.deployment}: {self.status}"


class Route(models.Model):
    """A name clients ask for, with the targets behind it in the order they are tried."""

    name = models.CharField(max_length=150, unique=True)
    policy = models.CharField(max_length=20, choices=_choices(Policy), blank=True, help_text="Empty: the global policy.")
    enabled = models.BooleanField(default=True)

    class Meta:
        ordering: ClassVar = ["name"]

    def __str__(self) -> str:
        return self.name


class RouteTarget(models.Model):
    """A deployment as a choice of a route."""

    route = models.ForeignKey(Route, on_delete=models.CASCADE, related_name="choices")
    deployment = models.ForeignKey(Deployment, on_delete=models.CASCADE, related_name="+", verbose_name="model")
    priority = models.PositiveIntegerField(default=100, help_text="Lower is tried first.")
    weight = models.PositiveIntegerField(default=1, validators=[MinValueValidator(1)])

    class Meta:
        ordering: ClassVar = ["priority", "id"]
        constraints: ClassVar = [models.UniqueConstraint(fields=["route", "deployment"], name="route_target_once")]

    def __str__(self) -> str:
        return f"{self.route} → {self.deployment}"


class RoutingConfiguration(models.Model):
    """Global routing settings: the single row with id 1."""

    default_policy = models.CharField(max_length=20, choices=_choices(Policy), default=Policy.PREFERENCE.value)
    max_attempts = models.PositiveIntegerField(default=3, validators=[MinValueValidator(1)])
    retries_per_target = models.PositiveIntegerField(default=2)
    retry_base_s = models.FloatField("retry base (s)", default=1.0)
    deadline_s = models.FloatField("deadline of a request (s)", default=600.0, validators=[MinValueValidator(1)])
    breaker_failures = models.PositiveIntegerField(default=5, validators=[MinValueValidator(1)])
    breaker_open_s = models.FloatField("breaker open (s)", default=60.0)

    class Meta:
        verbose_name = verbose_name_plural = "routing configuration"

    def __str__(self) -> str:
        return "Routing configuration"


class HealthCheck(models.Model):
    """One zero-cost probe of one provider."""

    provider = models.ForeignKey(Provider, on_delete=models.CASCADE, related_name="health_checks")
    checked_at = models.DateTimeField(default=timezone.now)
    status = models.CharField(max_length=10, choices=_choices(HealthStatus))
    latency_ms = models.FloatField(null=True)
    http_status = models.PositiveIntegerField(null=True)
    error_code = models.CharField(max_length=60, blank=True)
    detail = models.CharField(max_length=200, blank=True)

    class Meta:
        ordering: ClassVar = ["-checked_at", "-id"]
        indexes: ClassVar = [models.Index(fields=["provider", "-checked_at"])]

    def __str__(self) -> str:
        return f"{self.provider} {self.status} {self.checked_at:%Y-%m-%d %H:%M:%S}"


class HealthCheckJob(models.Model):
    """A health check somebody asked for: the row is the work, a Celery task only wakes it."""

    class State(models.TextChoices):
        QUEUED = "queued"
        RUNNING = "running"
        DONE = "done"
        FAILED = "failed"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    provider = models.ForeignKey(Provider, null=True, blank=True, on_delete=models.CASCADE, related_name="+")
    requested_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    state = models.CharField(max_length=10, choices=State.choices, default=State.QUEUED)
    created_at = models.DateTimeField(auto_now_add=True)
    finished_at = models.DateTimeField(null=True)
    checked_count = models.PositiveIntegerField(default=0)

    def __str__(self) -> str:
        return f"{self.id} {self.state}"


class ConfigVersion(models.Model):
    """The version of everything the data plane caches: the single row with id 1.

    Bumping it locks the row until commit, so versions appear in commit order and a reader that has seen version n has
    seen every change up to n. Money operations compare it, so no call leaves on stale configuration.
    """

    version = models.BigIntegerField(default=0)

    def __str__(self) -> str:
        return str(self.version)

    @classmethod
    def current(cls) -> int:
        return cls.objects.filter(pk=1).values_list("version", flat=True).first() or 0

    @classmethod
    def bump(cls, subject: str = "registry") -> int:
        """Announces a change inside the caller's transaction and returns the new version.

        ``subject`` is what to drop: ``registry`` (providers, models, prices, routes), ``budgets``, ``user:<id>`` or
        ``key:<id>``.
        """
        if not cls.objects.filter(pk=1).update(version=F("version") + 1):
            ConfigVersion.objects.bulk_create([ConfigVersion(pk=1, version=0)], ignore_conflicts=True)
            cls.objects.filter(pk=1).update(version=F("version") + 1)
        version = cls.current()
        ConfigChange.objects.create(version=version, subject=subject)
        return version


class ConfigChange(models.Model):
    """What moved with a version, so that processes drop only that. Rows older than a day are swept."""

    version = models.BigIntegerField(primary_key=True)
    subject = models.CharField(max_length=100)
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"{self.version} {self.subject}"
