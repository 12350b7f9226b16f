"""What goes over the wire for savings."""

from __future__ import annotations

from typing import Any, Final

from rest_framework import serializers

from usage.reports.questions import DateRange
from usage.reports.savings_lines import Choice, choice_of
from usage.reports.serializers import LineQuerySerializer, PeriodSerializer

SAVINGS_DAYS_MAX: Final = 92
"""Savings are worked out from the lines themselves, so their range is shorter than that of sums."""


class SavingsQuerySerializer(LineQuerySerializer):
    compare_with = serializers.CharField(
        required=False, max_length=200,
        help_text="A model, `provider/model` or route: what free models did is priced as if it had been asked.",
    )  # fmt: skip

    def validate_compare_with(self, name: str) -> Choice:
        choice = choice_of(name)
        if choice is None or not choice.cards:
            raise serializers.ValidationError("Name a route, a provider/model, or a model that only one provider has, with a price.")
        return choice

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        attrs = super().validate(attrs)
        period: DateRange = attrs["period"]
        if len(period.days) > SAVINGS_DAYS_MAX:
            raise serializers.ValidationError({"end": [f"Savings can be worked out for at most {SAVINGS_DAYS_MAX} days at once."]})
        return attrs


class CacheSavingsSerializer(serializers.Serializer[Any]):
    saved_usd = serializers.CharField(help_text="`reads_saved_usd` less `writes_cost_usd`.")
    reads_saved_usd = serializers.CharField()
    writes_cost_usd = serializers.CharField(help_text="What writing to the cache cost above the input rate.")
    read_tokens = serializers.IntegerField()
    write_tokens = serializers.IntegerField()
    how = serializers.CharField(help_text="How it was computed.")


class DiscountSavingsSerializer(serializers.Serializer[Any]):
    saved_usd = serializers.CharField()
    listed_usd = serializers.CharField()
    billed_usd = serializers.CharField()
    lines = serializers.IntegerField(help_text="Lines whose price card has a discount.")
    how = serializers.CharField()


class RoutingSavingsSerializer(serializers.Serializer[Any]):
    saved_usd = serializers.CharField(help_text="Negative where routing went to a dearer model.")
    asked_usd = serializers.CharField()
    billed_usd = serializers.CharField()
    lines = serializers.IntegerField(help_text="Lines that another model served than the one asked for.")
    not_counted_lines = serializers.IntegerField(help_text="Of those, the ones where the price of the model asked for is unknown.")
    how = serializers.CharField()


class FreeUseSerializer(serializers.Serializer[Any]):
    provider = serializers.CharField()
    model = serializers.CharField()
    lines = serializers.IntegerField()
    input_tokens = serializers.IntegerField(help_text="All input buckets together.")
    output_tokens = serializers.IntegerField(help_text="All output buckets together.")
    compared_lines = serializers.IntegerField(help_text="Lines that `compare_with` had a price for.")
    compared_usd = serializers.CharField(allow_null=True, help_text="What those would have cost there; null: nothing to compare with.")


class ZeroCostSerializer(serializers.Serializer[Any]):
    models = FreeUseSerializer(many=True)
    how = serializers.CharField()


class SavingsSerializer(serializers.Serializer[Any]):
    period = PeriodSerializer()
    currency = serializers.CharField()
    counted_lines = serializers.IntegerField(help_text="Measured lines the figures are made of.")
    left_out_lines = serializers.IntegerField(help_text="Estimates, corrections, adjustments, and lines without a readable card.")
    cache = CacheSavingsSerializer()
    discounts = DiscountSavingsSerializer()
    routing = RoutingSavingsSerializer()
    zero_cost = ZeroCostSerializer()
