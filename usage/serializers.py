"""What goes over the wire for usage and costs. Amounts are exact decimal strings, unknown is null."""

from __future__ import annotations

from datetime import date
from typing import Any

from django.utils import timezone
from rest_framework import serializers

from providers.fields import dollars
from usage.export_downloads import FORMATS
from usage.reports import DateRange, Dimension, Group, LineFilter, RangeInvalid, Totals, month_around

YEARS = range(2000, 2200)
BIGINT_MAX = 2**63 - 1
GROUP_BY_MAX = 2


class RangeQuerySerializer(serializers.Serializer[Any]):
    """A date range in the gateway's time zone; the current month when neither end is named. Unknown parameters are refused."""

    start = serializers.DateField(required=False, help_text="First day, included.")
    end = serializers.DateField(required=False, help_text="First day no longer included.")

    def to_internal_value(self, data: Any) -> Any:
        unknown = sorted(set(data) - set(self.fields))
        if unknown:
            raise serializers.ValidationError({name: ["Unknown parameter."] for name in unknown})
        return super().to_internal_value(data)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        start, end = attrs.get("start"), attrs.get("end")
        if (start is None) != (end is None):
            raise serializers.ValidationError({"end" if end is None else "start": ["Send start and end together, or neither."]})
        attrs["period"] = month_around(timezone.now()) if start is None or end is None else _range(start, end)
        return attrs


def _range(start: date, end: date) -> DateRange:
    for name, day in (("start", start), ("end", end)):
        if day.year not in YEARS:
            raise serializers.ValidationError({name: [f"The year must be between {YEARS[0]} and {YEARS[-1]}."]})
    try:
        return DateRange(start, end)
    except RangeInvalid as error:
        raise serializers.ValidationError({"end": [str(error).capitalize() + "."]}) from None


class LineQuerySerializer(RangeQuerySerializer):
    provider = serializers.CharField(required=False, max_length=50, help_text="Slug of a provider.")
    model = serializers.CharField(required=False, max_length=150)
    user = serializers.IntegerField(required=False, min_value=1, max_value=BIGINT_MAX, help_text="Id of a user.")
    key = serializers.CharField(required=False, max_length=12, help_text="Id (the public part) of an API key.")
    context = serializers.CharField(required=False, max_length=50)  # type: ignore[assignment]

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        attrs = super().validate(attrs)
        wanted = (attrs.get(name) for name in ("provider", "model", "user", "key", "context"))
        attrs["only"] = LineFilter(*wanted)
        return attrs


class UsageQuerySerializer(LineQuerySerializer):
    group_by = serializers.CharField(
        default="provider,model", help_text=f"One or two of {', '.join(Dimension)}, separated by a comma."
    )  # fmt: skip
    page = serializers.IntegerField(required=False, min_value=1)
    page_size = serializers.IntegerField(required=False, min_value=1, max_value=500)

    def validate_group_by(self, text: str) -> list[Dimension]:
        names = [name.strip() for name in text.split(",")]
        if not set(names) <= set(Dimension) or len(set(names)) != len(names) or len(names) > GROUP_BY_MAX:
            raise serializers.ValidationError(f"Use one or two different ones of {', '.join(Dimension)}.")
        return [Dimension(name) for name in names]


class CostsQuerySerializer(LineQuerySerializer):
    format = serializers.ChoiceField(
        choices=[("json", "json"), *((name, name) for name in FORMATS)], default="json", help_text="All but `json` stream the ledger lines."
    )
    bom = serializers.BooleanField(default=False, help_text="`csv` begins with a byte order mark, by which Excel knows UTF-8.")


class PeriodSerializer(serializers.Serializer[Any]):
    start = serializers.DateField()
    end = serializers.DateField(help_text="First day no longer included.")
    time_zone = serializers.CharField()


class TotalsSerializer(serializers.Serializer[Any]):
    requests = serializers.IntegerField(help_text="Distinct requests; retries and failover do not count again.")
    attempts = serializers.IntegerField(help_text="Billed calls to providers.")
    lines = serializers.IntegerField(help_text="Ledger lines, corrections included.")
    estimated_lines = serializers.IntegerField(help_text="Lines whose tokens the gateway estimated.")
    cost_usd = serializers.CharField(help_text="Exact decimal with nine places.")
    input_tokens = serializers.IntegerField(allow_null=True, help_text="Without cached tokens.")
    cache_read_tokens = serializers.IntegerField(allow_null=True)
    cache_write_tokens = serializers.IntegerField(allow_null=True)
    cache_write_1h_tokens = serializers.IntegerField(allow_null=True)
    output_tokens = serializers.IntegerField(allow_null=True, help_text="Without reasoning tokens.")
    reasoning_tokens = serializers.IntegerField(allow_null=True)
    audio_input_tokens = serializers.IntegerField(allow_null=True)
    audio_output_tokens = serializers.IntegerField(allow_null=True)


class GroupSerializer(TotalsSerializer):
    """Sums of one group; the fields it is grouped by are present, the others are not."""

    provider = serializers.CharField(required=False)
    model = serializers.CharField(required=False)
    user = serializers.CharField(required=False, help_text="Id of the user.")
    user_name = serializers.CharField(required=False, allow_null=True, help_text="Null when the user was deleted.")
    key = serializers.CharField(required=False, help_text="Id of the API key, empty for a session.")
    key_name = serializers.CharField(required=False, allow_null=True)
    context = serializers.CharField(required=False)  # type: ignore[assignment]
    day = serializers.DateField(required=False)


class BreakdownSerializer(serializers.Serializer[Any]):
    """The dearest groups first; `others_*` is the rest, so that the parts add up to the whole."""

    rows = GroupSerializer(many=True)
    others_count = serializers.IntegerField()
    others_cost_usd = serializers.CharField()


class ProjectionSerializer(serializers.Serializer[Any]):
    method = serializers.ChoiceField(choices=[("run_rate", "run_rate")], help_text="The cost so far, stretched evenly over the period.")
    elapsed_s = serializers.IntegerField()
    period_s = serializers.IntegerField()
    cost_usd = serializers.CharField(allow_null=True, help_text="Cost of the whole period; null before it begins.")


class UsageReportSerializer(serializers.Serializer[Any]):
    period = PeriodSerializer()
    currency = serializers.CharField()
    group_by = serializers.ListField(child=serializers.CharField())
    totals = TotalsSerializer()
    count = serializers.IntegerField()
    next = serializers.URLField(allow_null=True)
    previous = serializers.URLField(allow_null=True)
    results = GroupSerializer(many=True)


class CostReportSerializer(serializers.Serializer[Any]):
    period = PeriodSerializer()
    currency = serializers.CharField()
    totals = TotalsSerializer()
    by_provider = BreakdownSerializer()
    by_user = BreakdownSerializer()
    by_model = BreakdownSerializer()
    by_day = GroupSerializer(many=True)
    projection = ProjectionSerializer()


class OwnUsageSerializer(serializers.Serializer[Any]):
    period = PeriodSerializer()
    currency = serializers.CharField()
    totals = TotalsSerializer()
    cache_hit_rate = serializers.FloatField(allow_null=True, help_text="Null while no answer of yours could come from the cache.")
    by_provider = BreakdownSerializer()
    by_day = GroupSerializer(many=True)


def shown_totals(totals: Totals) -> dict[str, Any]:
    return {
        "requests": totals.requests,
        "attempts": totals.attempts,
        "lines": totals.lines,
        "estimated_lines": totals.estimated_lines,
        "cost_usd": dollars(totals.cost_nano),
        "input_tokens": totals.input_tokens,
        "cache_read_tokens": totals.cache_read_tokens,
        "cache_write_tokens": totals.cache_write_tokens,
        "cache_write_1h_tokens": totals.cache_write_1h_tokens,
        "output_tokens": totals.output_tokens,
        "reasoning_tokens": totals.reasoning_tokens,
        "audio_input_tokens": totals.audio_input_tokens,
        "audio_output_tokens": totals.audio_output_tokens,
    }


def shown_group(group: Group) -> dict[str, Any]:
    return {**group.values, **shown_totals(group.totals)}
