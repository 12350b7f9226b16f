"""What goes over the wire for usage and costs. Amounts are exact decimal strings, unknown is null."""

from __future__ import annotations

from datetime import date, tzinfo
from functools import cache
from typing import Any, Final
from zoneinfo import ZoneInfo, available_timezones

from rest_framework import serializers

from providers import clock
from providers.fields import dollars
from usage.money import BUCKETS
from usage.reports.projections import METHODS, Projection
from usage.reports.questions import DateRange, Dimension, Group, LineFilter, RangeInvalid, Totals, month_around, report_zone

YEARS: Final = range(2000, 2200)
BIGINT_MAX: Final = 2**63 - 1
GROUP_BY_MAX: Final = 2
HOURS_DAYS_MAX: Final = 92
"""Longest range that is shown hour by hour."""


@cache
def known_time_zones() -> frozenset[str]:
    return frozenset(available_timezones())


class RangeQuerySerializer(serializers.Serializer[Any]):
    """Days of one time zone; the current month when neither end is named. Unknown parameters are refused."""

    start = serializers.DateField(required=False, help_text="First day, included.")
    end = serializers.DateField(required=False, help_text="First day no longer included.")
    time_zone = serializers.CharField(
        required=False, max_length=60, help_text="IANA name, as `Europe/Berlin`: whose days and hours these are. Default: the gateway's."
    )

    def to_internal_value(self, data: Any) -> Any:
        unknown = sorted(set(data) - set(self.fields))
        if unknown:
            raise serializers.ValidationError({name: ["Unknown parameter."] for name in unknown})
        return super().to_internal_value(data)

    def validate_time_zone(self, name: str) -> tzinfo:
        if name not in known_time_zones():
            raise serializers.ValidationError("Use the name of a time zone of the IANA database, as Europe/Berlin or UTC.")
        return ZoneInfo(name)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        start, end, zone = attrs.get("start"), attrs.get("end"), attrs.get("time_zone", report_zone())
        if (start is None) != (end is None):
            raise serializers.ValidationError({"end" if end is None else "start": ["Send start and end together, or neither."]})
        attrs["period"] = month_around(clock.database_now(), zone) if start is None or end is None else _range(start, end, zone)
        return attrs


def _range(start: date, end: date, zone: tzinfo) -> DateRange:
    for name, day in (("start", start), ("end", end)):
        if day.year not in YEARS:
            raise serializers.ValidationError({name: [f"The year must be between {YEARS[0]} and {YEARS[-1]}."]})
    try:
        return DateRange(start, end, zone)
    except RangeInvalid as error:
        raise serializers.ValidationError({"end": [str(error).capitalize() + "."]}) from None


class LineQuerySerializer(RangeQuerySerializer):
    provider = serializers.CharField(required=False, max_length=50, help_text="Slug of a provider.")
    model = serializers.CharField(required=False, max_length=150)
    user = serializers.IntegerField(required=False, min_value=1, max_value=BIGINT_MAX, help_text="Id of a user.")
    key = serializers.CharField(required=False, max_length=12, help_text="Id (the public part) of an API key.")
    context = serializers.CharField(required=False, max_length=50)  # type: ignore[assignment]
    team = serializers.IntegerField(required=False, min_value=0, max_value=BIGINT_MAX, help_text="Id of a group; 0: lines of no team.")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        attrs = super().validate(attrs)
        wanted = (attrs.get(name) for name in ("provider", "model", "user", "key", "context", "team"))
        attrs["only"] = LineFilter(*wanted)
        return attrs


class UsageQuerySerializer(LineQuerySerializer):
    group_by = serializers.CharField(
        default="provider,model", help_text=f"One or two of {', '.join(Dimension)}, separated by a comma or sent twice."
    )  # fmt: skip
    page = serializers.IntegerField(required=False, min_value=1)
    page_size = serializers.IntegerField(required=False, min_value=1, max_value=500)

    def validate_group_by(self, text: str) -> list[Dimension]:
        names = [name.strip() for name in text.split(",")]
        if not set(names) <= set(Dimension) or len(set(names)) != len(names) or len(names) > GROUP_BY_MAX:
            raise serializers.ValidationError(f"Use one or two different ones of {', '.join(Dimension)}.")
        return [Dimension(name) for name in names]

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        attrs = super().validate(attrs)
        period: DateRange = attrs["period"]
        if Dimension.HOUR in attrs["group_by"] and len(period.days) > HOURS_DAYS_MAX:
            raise serializers.ValidationError({"group_by": [f"Hours can be shown for at most {HOURS_DAYS_MAX} days at once."]})
        return attrs


class PeriodSerializer(serializers.Serializer[Any]):
    start = serializers.DateField()
    end = serializers.DateField(help_text="First day no longer included.")
    time_zone = serializers.CharField()


class TokensSerializer(serializers.Serializer[Any]):
    """The disjoint buckets of tokens; null is unknown."""

    input_tokens = serializers.IntegerField(allow_null=True, help_text="Without cached tokens.")
    cache_read_tokens = serializers.IntegerField(allow_null=True)
    cache_write_tokens = serializers.IntegerField(allow_null=True)
    cache_write_1h_tokens = serializers.IntegerField(allow_null=True)
    output_tokens = serializers.IntegerField(allow_null=True, help_text="Without reasoning tokens.")
    reasoning_tokens = serializers.IntegerField(allow_null=True)
    audio_input_tokens = serializers.IntegerField(allow_null=True)
    audio_output_tokens = serializers.IntegerField(allow_null=True)
    image_input_tokens = serializers.IntegerField(allow_null=True)


class TotalsSerializer(TokensSerializer):
    requests = serializers.IntegerField(
        help_text="A request counts where its first line is; retries and failover do not count again."
    )  # fmt: skip
    attempts = serializers.IntegerField(help_text="Billed calls to providers.")
    lines = serializers.IntegerField(help_text="Ledger lines, corrections and adjustments included.")
    estimated_lines = serializers.IntegerField(help_text="Calls whose figures are still the gateway's own estimate.")
    cost_usd = serializers.CharField(help_text="Exact decimal with nine places.")


class GroupSerializer(TotalsSerializer):
    """Sums of one group; the fields it is grouped by are present, the others are not."""

    provider = serializers.CharField(required=False)
    model = serializers.CharField(required=False)
    user = serializers.CharField(required=False, help_text="Id of the user.")
    user_name = serializers.CharField(required=False, allow_null=True, help_text="Null when the user was deleted.")
    key = serializers.CharField(required=False, help_text="Id of the API key, empty for a session.")
    key_name = serializers.CharField(required=False, allow_null=True)
    team = serializers.CharField(required=False, allow_null=True, help_text="Id of the group; null: no team.")
    team_name = serializers.CharField(required=False, allow_null=True, help_text="Null when the group was deleted.")
    context = serializers.CharField(required=False)  # type: ignore[assignment]
    day = serializers.DateField(required=False)
    hour = serializers.DateTimeField(required=False, help_text="Clock hour with its offset: 2026-10-25T02:00+01:00.")


class BreakdownSerializer(serializers.Serializer[Any]):
    """The dearest groups first; `others_*` is the rest, so that the parts add up to the whole."""

    rows = GroupSerializer(many=True)
    others_count = serializers.IntegerField()
    others_cost_usd = serializers.CharField()


class ProjectionSerializer(serializers.Serializer[Any]):
    method = serializers.ChoiceField(choices=[(method, method) for method in METHODS])
    explanation = serializers.CharField(help_text="The method in words.")
    based_on_days = serializers.IntegerField(help_text="Full days whose cost was looked at.")
    elapsed_s = serializers.IntegerField()
    period_s = serializers.IntegerField()
    cost_usd = serializers.CharField(allow_null=True, help_text="Cost of the whole period; null when there is too little to go by.")


class UsageReportSerializer(serializers.Serializer[Any]):
    period = PeriodSerializer()
    currency = serializers.CharField()
    group_by = serializers.ListField(child=serializers.CharField())
    totals = TotalsSerializer()
    count = serializers.IntegerField()
    next = serializers.URLField(allow_null=True)
    previous = serializers.URLField(allow_null=True)
    results = GroupSerializer(many=True)


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
        **{bucket: getattr(totals, bucket) for bucket in BUCKETS},
    }


def shown_group(group: Group) -> dict[str, Any]:
    return {**group.values, **shown_totals(group.totals)}


EXPLANATIONS: Final = {
    "run_rate": "The cost so far, stretched evenly over the whole period.",
    "weekday_average": "The cost so far, and for each day to come the average of its weekday in up to 8 past weeks.",
    "weekday_trend": "The weekday averages, scaled along the straight line through the totals of up to 8 past weeks.",
}


def shown_projection(projected: Projection) -> dict[str, Any]:
    return {
        "method": projected.method,
        "explanation": EXPLANATIONS[projected.method],
        "based_on_days": projected.based_on_days,
        "elapsed_s": projected.elapsed_s,
        "period_s": projected.range_s,
        "cost_usd": dollars(projected.cost_nano),
    }


class CostReportSerializer(serializers.Serializer[Any]):
    period = PeriodSerializer()
    currency = serializers.CharField()
    totals = TotalsSerializer()
    by_provider = BreakdownSerializer()
    by_user = BreakdownSerializer()
    by_model = BreakdownSerializer()
    by_day = GroupSerializer(many=True)
    projection = ProjectionSerializer(help_text="The run rate.")
    projections = ProjectionSerializer(many=True, help_text="Every method, the run rate first.")
