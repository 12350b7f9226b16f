"""What goes over the wire for exports and months."""

from __future__ import annotations

from datetime import date
from typing import Any

from django.conf import settings
from django.urls import reverse
from rest_framework import serializers

from providers.fields import dollars
from usage.exports import focus
from usage.exports.closing import MonthState
from usage.exports.downloads import FORMATS
from usage.exports.months import MonthInvalid, span_of
from usage.models import Export
from usage.reports import LineQuerySerializer

FILTERS = ("provider", "model", "user", "key", "context")


class ExportRequestSerializer(LineQuerySerializer):
    """A month's file, or the lines of a range of days with filters. Unknown fields are refused."""

    format = serializers.ChoiceField(choices=[*Export.Format.values, "focus"], help_text="`focus` is the newest FOCUS profile.")
    month = serializers.CharField(required=False, help_text="A billing month such as `2026-11`: its file, with what came late.")
    bom = serializers.BooleanField(default=False, help_text="`csv` begins with a byte order mark, by which Excel knows UTF-8.")

    def validate_month(self, text: str) -> str:
        try:
            return span_of(text).month
        except MonthInvalid as error:
            raise serializers.ValidationError(str(error)) from error

    def validate_format(self, name: str) -> str:
        return focus.NEWEST if name == "focus" else name

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if "month" in attrs and (named := sorted({"start", "end", *FILTERS} & attrs.keys())):
            raise serializers.ValidationError({name: ["A month's file is whole; leave this away."] for name in named})
        return super().validate(attrs)

    def query(self) -> dict[str, Any]:
        """The checked parameters as an export keeps them."""
        wanted = self.validated_data
        query: dict[str, Any] = {"bom": True} if wanted["bom"] else {}
        if "month" in wanted:
            return {**query, "month": wanted["month"]}
        period = wanted["period"]
        chosen = {name: wanted[name] for name in FILTERS if name in wanted}
        return {**query, **chosen, "start": _day_text(period.start), "end": _day_text(period.end)}


def _day_text(day: date) -> str:
    return day.isoformat()


class MonthFileQuerySerializer(serializers.Serializer[Any]):
    format = serializers.ChoiceField(choices=[*FORMATS], default="csv")
    bom = serializers.BooleanField(default=False)


class ExportSerializer(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    format = serializers.CharField()
    query = serializers.DictField()
    status = serializers.ChoiceField(choices=Export.Status.choices)
    lines_done = serializers.IntegerField()
    lines_total = serializers.IntegerField(allow_null=True)
    cost_usd = serializers.CharField(allow_null=True, help_text="Control total; null until it is done.")
    bytes = serializers.IntegerField(allow_null=True)
    sha256 = serializers.CharField()
    error = serializers.CharField()
    created_by = serializers.IntegerField(allow_null=True, help_text="Id of the user; null for the monthly one.")
    created_at = serializers.DateTimeField()
    started_at = serializers.DateTimeField(allow_null=True)
    finished_at = serializers.DateTimeField(allow_null=True)
    file = serializers.CharField(allow_null=True, help_text="Where to download it; null until it is done.")
    manifest = serializers.CharField(allow_null=True)


class MonthSerializer(serializers.Serializer[Any]):
    month = serializers.CharField()
    starts_at = serializers.DateTimeField()
    ends_at = serializers.DateTimeField()
    status = serializers.ChoiceField(choices=[("open", "open"), ("closed", "closed")])
    can_close = serializers.BooleanField(help_text="It is over and its turn. Open calls may still refuse it.")
    lines = serializers.IntegerField()
    late_lines = serializers.IntegerField(help_text="Lines of earlier, closed months, posted after their closing.")
    cost_usd = serializers.CharField()
    sha256 = serializers.CharField(allow_null=True, help_text="Of the month's CSV, for ever.")
    cutoff_at = serializers.DateTimeField(allow_null=True)
    closed_at = serializers.DateTimeField(allow_null=True)
    closed_by = serializers.IntegerField(allow_null=True)


class MonthsSerializer(serializers.Serializer[Any]):
    time_zone = serializers.CharField()
    currency = serializers.CharField()
    cost_usd = serializers.CharField(help_text="Of all months: the cost of the whole ledger.")
    months = MonthSerializer(many=True)


def shown_export(export: Export) -> dict[str, Any]:
    done = export.status == Export.Status.DONE
    return {
        "id": str(export.pk),
        "format": export.format,
        "query": export.query,
        "status": export.status,
        "lines_done": export.lines_done,
        "lines_total": export.lines_total,
        "cost_usd": dollars(export.cost_nano),
        "bytes": export.bytes,
        "sha256": export.sha256,
        "error": export.error,
        "created_by": export.created_by_id,
        "created_at": export.created_at,
        "started_at": export.started_at,
        "finished_at": export.finished_at,
        "file": reverse("admin-export-file", args=[export.pk]) if done else None,
        "manifest": reverse("admin-export-manifest", args=[export.pk]) if done else None,
    }


def shown_month(state: MonthState) -> dict[str, Any]:
    closed = state.closed
    return {
        "month": state.span.month,
        "starts_at": state.span.starts_at,
        "ends_at": state.span.ends_at,
        "status": "open" if closed is None else "closed",
        "can_close": state.can_close,
        "lines": state.lines,
        "late_lines": state.late_lines,
        "cost_usd": dollars(state.cost_nano),
        "sha256": closed and closed.sha256,
        "cutoff_at": closed and closed.cutoff_at,
        "closed_at": closed and closed.closed_at,
        "closed_by": closed and closed.closed_by_id,
    }


def shown_months(states: list[MonthState]) -> dict[str, Any]:
    return {
        "time_zone": settings.TIME_ZONE,
        "currency": "USD",
        "cost_usd": dollars(sum(state.cost_nano for state in states)),
        "months": [shown_month(state) for state in states],
    }


class CostsQuerySerializer(LineQuerySerializer):
    format = serializers.ChoiceField(
        choices=[("json", "json"), *((name, name) for name in FORMATS)], default="json", help_text="All but `json` stream the ledger lines."
    )
    bom = serializers.BooleanField(default=False, help_text="`csv` begins with a byte order mark, by which Excel knows UTF-8.")
