"""What goes over the wire for quotas. Money is an exact decimal string in dollars."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from rest_framework import serializers

from providers.fields import dollars, nano_from_dollars
from usage.budgets.actions import Limits
from usage.budgets.quotas import Measure, QuotaState
from usage.errors import ActionRefused
from usage.limits import RateLimitStateSerializer
from usage.models import Enforcement, Period, Tier
from usage.rest import StrictSerializer

COUNT_MAX = 2**63 - 1


class LimitSerializer(StrictSerializer):
    """Limits of one period; a field that is null or absent is no limit."""

    period = serializers.ChoiceField(choices=Period.choices)
    cost_usd = serializers.DecimalField(
        max_digits=19, decimal_places=9, min_value=Decimal(0), required=False, allow_null=True, help_text="0 blocks paid use."
    )
    tokens = serializers.IntegerField(min_value=0, max_value=COUNT_MAX, required=False, allow_null=True)
    requests = serializers.IntegerField(min_value=0, max_value=COUNT_MAX, required=False, allow_null=True)
    enforcement = serializers.ChoiceField(choices=Enforcement.choices, default=Enforcement.HARD)
    charge_failed_attempts = serializers.BooleanField(
        default=True, help_text="False: what a provider bills for an attempt that failed is given back."
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        cost = attrs.get("cost_usd")
        try:
            nano = None if cost is None else nano_from_dollars(cost)
            attrs["limits"] = Limits(
                nano, attrs.get("tokens"), attrs.get("requests"), attrs["enforcement"], attrs["charge_failed_attempts"]
            )
        except (ActionRefused, ValueError) as error:
            raise serializers.ValidationError({"cost_usd": [str(error)]}) from None
        return attrs


class QuotaWriteSerializer(StrictSerializer):
    """A user's tier and own limits. Periods that are not named have what the tier gives."""

    tier = serializers.SlugRelatedField(slug_field="name", queryset=Tier.objects.all(), allow_null=True, default=None)
    limits = LimitSerializer(many=True, required=False, default=list)

    def validate_limits(self, limits: list[dict[str, Any]]) -> dict[str, Limits]:
        by_period = {each["period"]: each["limits"] for each in limits}
        if len(by_period) != len(limits):
            raise serializers.ValidationError("Each period may be named once.")
        return by_period


class ResetSerializer(StrictSerializer):
    reason = serializers.CharField(min_length=3, max_length=200, help_text="Stays on record with the entry.")
    periods = serializers.ListField(child=serializers.ChoiceField(choices=Period.choices), required=False, default=list)


class MeasureSerializer(serializers.Serializer[Any]):
    limit = serializers.CharField(allow_null=True, help_text="Null: no limit. Money in dollars with nine places, else a whole number.")
    used = serializers.CharField()
    held = serializers.CharField(help_text="Reserved for calls under way.")
    remaining = serializers.CharField(allow_null=True)


class QuotaStateSerializer(serializers.Serializer[Any]):
    scope = serializers.ChoiceField(choices=[("user", "user"), ("key", "key"), ("team", "team")])
    subject = serializers.CharField()
    period = serializers.ChoiceField(choices=Period.choices)
    period_key = serializers.CharField()
    starts_at = serializers.DateTimeField(allow_null=True)
    resets_at = serializers.DateTimeField(allow_null=True, help_text="Null for a total, which never begins anew.")
    enforcement = serializers.ChoiceField(choices=Enforcement.choices)
    charge_failed_attempts = serializers.BooleanField(help_text="False: what an attempt that failed has cost is given back.")
    tier = serializers.CharField(allow_null=True, help_text="The tier that gives this limit; null: set for this subject.")
    cost_usd = MeasureSerializer()
    tokens = MeasureSerializer()
    requests = MeasureSerializer()


class QuotaSerializer(serializers.Serializer[Any]):
    tier = serializers.CharField(allow_null=True)
    limits = QuotaStateSerializer(many=True, help_text="Empty: no limit of your own.")


class AdjustmentSerializer(serializers.Serializer[Any]):
    period_key = serializers.CharField()
    subject = serializers.CharField()
    cost_usd = serializers.CharField(help_text="Negative: given back.")
    tokens = serializers.IntegerField()
    requests = serializers.IntegerField()


class ResetAnswerSerializer(QuotaSerializer):
    adjustments = AdjustmentSerializer(many=True, help_text="The entries made; empty where nothing had been used.")


def shown_state(state: QuotaState) -> dict[str, Any]:
    return {
        "scope": state.scope,
        "subject": state.subject,
        "period": state.period,
        "period_key": state.key,
        "starts_at": state.starts_at,
        "resets_at": state.resets_at,
        "enforcement": state.enforcement,
        "charge_failed_attempts": state.charge_failed_attempts,
        "tier": state.tier,
        "cost_usd": {
            "limit": dollars(state.money.limit),
            "used": dollars(state.money.used),
            "held": dollars(state.money.held),
            "remaining": dollars(state.money.remaining),
        },
        "tokens": _counts(state.tokens),
        "requests": _counts(state.requests),
    }


def _counts(measure: Measure) -> dict[str, str | None]:
    def text(count: int | None) -> str | None:
        return None if count is None else str(count)

    return {"limit": text(measure.limit), "used": text(measure.used), "held": text(measure.held), "remaining": text(measure.remaining)}


class OwnQuotaSerializer(QuotaSerializer):
    rate_limits = RateLimitStateSerializer(many=True, help_text="Empty: no limit on rates.")
