"""What goes over the wire for providers and models. Prices are decimal strings, unknown is null, keys never leave."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from providers.actions import ImportReport
from providers.catalog import CHOICES
from providers.credentials import SECRET_CHARS_MAX
from providers.fields import percent_of, ppm_of
from providers.models import Credential, Deployment, HealthCheck, HealthCheckJob, Provider
from providers.prices import PriceSerializer
from providers.registry import kind_of
from providers.strict import StrictMixin, StrictSerializer
from providers.upstream.types import Capability, HealthStatus

SUPERUSER_FIELDS = frozenset({"base_url", "allow_private", "ca_bundle", "api_key", "credential"})
"""Where keys go and what they are: shown to and set by superusers only."""


class PercentField(serializers.DecimalField):
    """A share in percent over the wire, in millionths in the row."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(max_digits=7, decimal_places=4, min_value=Decimal(0), max_value=Decimal(100), **kwargs)

    def to_representation(self, value: Any) -> str:
        return percent_of(value)

    def to_internal_value(self, sent: Any) -> Any:
        percent = super().to_internal_value(sent)
        super().run_validators(percent)
        return ppm_of(percent)

    def run_validators(self, value: Any) -> None:
        """The bounds are those of the percentage, which ``to_internal_value`` checked."""


class HealthSerializer(serializers.Serializer[Provider]):
    """Result of the last zero-cost probe."""

    status = serializers.ChoiceField(source="health", choices=[(each.value, each.value) for each in HealthStatus])
    detail = serializers.CharField(source="health_detail")
    latency_ms = serializers.FloatField(source="health_latency_ms", allow_null=True)
    checked_at = serializers.DateTimeField(source="health_checked_at", allow_null=True)
    consecutive_failures = serializers.IntegerField()


class ProviderHealthSerializer(HealthSerializer):
    id = serializers.IntegerField()
    slug = serializers.CharField()
    label = serializers.CharField()  # type: ignore[assignment]
    error_rate_24h = serializers.FloatField(allow_null=True, help_text="Share of red probes in the last 24 hours; null without any.")


class CredentialSerializer(serializers.ModelSerializer[Credential]):
    class Meta:
        model = Credential
        fields = ("fingerprint", "last4", "origin", "state", "created_at")
        read_only_fields = fields


class ProviderSerializer(StrictMixin, serializers.ModelSerializer[Provider]):
    kind = serializers.ChoiceField(choices=CHOICES)
    slug = serializers.SlugField(required=False, max_length=50)
    base_url = serializers.CharField(required=False, max_length=300, help_text="Default: the address of the kind. Superusers only.")
    api_key = serializers.CharField(
        write_only=True, required=False, allow_null=True, max_length=SECRET_CHARS_MAX, style={"input_type": "password"},
        help_text="Replaces the stored key; null destroys it. Needed anew when the base URL changes scheme, host or port. Superusers only.",
    )  # fmt: skip
    discount_percent = PercentField(source="discount_ppm", required=False, help_text="Taken off every list price of this provider.")
    credential = serializers.SerializerMethodField(help_text="What may be known of the stored key; null without one. Superusers only.")
    health = HealthSerializer(source="*", read_only=True)
    models_count = serializers.IntegerField(read_only=True, default=0)

    class Meta:
        model = Provider
        fields = (
            "id", "slug", "label", "kind", "base_url", "enabled", "priority", "weight", "allow_private", "ca_bundle", "disconnect_policy",
            "connect_timeout_s", "first_byte_timeout_s", "idle_timeout_s", "total_timeout_s", "max_connections",
            "discount_percent", "api_key", "credential", "health", "models_count", "created_at", "updated_at",
        )  # fmt: skip
        read_only_fields = ("id", "created_at", "updated_at")

    @extend_schema_field(CredentialSerializer(allow_null=True))
    def get_credential(self, provider: Provider) -> Any:
        first = next(iter(provider.credentials.all()), None)
        return CredentialSerializer(first).data if first else None

    def to_representation(self, instance: Provider) -> dict[str, Any]:
        shown: dict[str, Any] = super().to_representation(instance)
        if not self.context["request"].user.is_superuser:
            for name in SUPERUSER_FIELDS:
                shown.pop(name, None)
        return shown

    def applied_to(self, provider: Provider) -> Provider:
        """The validated fields set on ``provider``, unsaved: saving is an action."""
        for name, value in self.validated_data.items():
            if name != "api_key":
                setattr(provider, name, value)
        return provider


class NothingSerializer(StrictSerializer):
    """An empty body."""


class ImportReportSerializer(serializers.Serializer[ImportReport]):
    """What an import did."""

    created = serializers.IntegerField()
    updated = serializers.IntegerField()
    priced = serializers.IntegerField()
    skipped = serializers.IntegerField(help_text="Models that do not chat.")
    proposed = serializers.IntegerField(help_text="Models whose price changed and waits for approval.")
    unpriced = serializers.ListField(child=serializers.CharField(), help_text="Paid use of these is refused until they have a price.")
    address_only = serializers.ListField(
        child=serializers.CharField(),
        help_text="Asked for as `provider/name` only: other providers serve these names, or they mean something else.",
    )
    refused = serializers.ListField(child=serializers.CharField(), help_text="Left out: these can be no names.")


class ImportOrderSerializer(StrictSerializer):
    share_names = serializers.BooleanField(
        required=False, default=False, help_text="Lets the models of this provider answer for names that others serve, for fail-over."
    )


class ToggleSerializer(StrictSerializer):
    enabled = serializers.BooleanField(required=False, help_text="Default: the opposite of what it is.")


class HealthCheckSerializer(serializers.ModelSerializer[HealthCheck]):
    class Meta:
        model = HealthCheck
        fields = ("checked_at", "status", "latency_ms", "http_status", "error_code", "detail")
        read_only_fields = fields


class OverallStatusSerializer(serializers.Serializer[Any]):
    status = serializers.ChoiceField(choices=[(each.value, each.value) for each in HealthStatus])
    counts = serializers.DictField(child=serializers.IntegerField(), help_text="Providers by status.")


class HealthCheckOrderSerializer(StrictSerializer):
    provider = serializers.IntegerField(required=False, min_value=1, help_text="Id of one provider; default: all of them.")


class HealthCheckJobSerializer(serializers.ModelSerializer[HealthCheckJob]):
    job_id = serializers.UUIDField(source="id", read_only=True)

    class Meta:
        model = HealthCheckJob
        fields = ("job_id", "provider", "state", "created_at", "finished_at", "checked_count")
        read_only_fields = fields


class AcceptedJobSerializer(serializers.Serializer[Any]):
    job_id = serializers.UUIDField()
    status_url = serializers.URLField(help_text="Poll it until `state` is done or failed.")


class ModelSerializer(serializers.Serializer[Deployment]):
    """A model as every caller may see it. Statistics cover the last 24 hours and are null without traffic."""

    name = serializers.CharField(help_text="What to ask for.")
    address = serializers.CharField(help_text="`provider/model`: this one and no other.")
    display_name = serializers.CharField()
    description = serializers.CharField()
    provider = serializers.CharField(help_text="Slug of the provider.")
    provider_name = serializers.CharField()
    capabilities = serializers.ListField(child=serializers.ChoiceField(choices=[(each.value, each.value) for each in Capability]))
    context_window_tokens = serializers.IntegerField(allow_null=True)
    max_output_tokens = serializers.IntegerField()
    price = PriceSerializer(allow_null=True, help_text="Null: nobody priced it, paid use is refused.")
    availability = serializers.ChoiceField(choices=[(each.value, each.value) for each in HealthStatus])
    average_latency_ms = serializers.FloatField(allow_null=True)
    success_rate = serializers.FloatField(allow_null=True, help_text="0 to 1.")
    recommended = serializers.BooleanField()

    def to_representation(self, deployment: Deployment) -> dict[str, Any]:
        price = self.context["prices"].get(deployment.pk)
        latency_ms, success_rate = self.context["statistics"].get(deployment.pk, (None, None))
        return {
            "name": str(deployment) if deployment.address_only else deployment.name,
            "address": str(deployment),
            "display_name": deployment.display_name or deployment.name,
            "description": deployment.description,
            "provider": deployment.provider.slug,
            "provider_name": deployment.provider.label,
            "capabilities": sorted(deployment.capabilities),
            "context_window_tokens": deployment.context_window_tokens,
            "max_output_tokens": deployment.max_output_tokens,
            "price": PriceSerializer(price).data if price else None,
            "availability": availability_of(deployment.provider),
            "average_latency_ms": latency_ms,
            "success_rate": success_rate,
            "recommended": deployment.recommended,
        }


def availability_of(provider: Provider) -> str:
    """The provider's health; red when it lacks the key it needs. Reads ``provider.credentials``: prefetch it."""
    if kind_of(provider).needs_credential and not provider.credentials.all():
        return HealthStatus.RED.value
    return provider.health
