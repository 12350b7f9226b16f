"""What goes over the wire for statements. Amounts are exact decimal strings in dollars."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from providers.fields import dollars
from usage.models import Statement, StatementLine
from usage.rest import NamesField, StrictSerializer
from usage.statements.actions import StatementOrder
from usage.statements.reading import FIELDS, FILE_BYTES_MAX, LAYOUTS


class StatementWriteSerializer(StrictSerializer):
    """The file as a form's ``file``, or its text as ``csv``."""

    provider = serializers.CharField(max_length=50, help_text="Slug of the provider.")
    layout = serializers.ChoiceField(choices=LAYOUTS)
    file = serializers.FileField(required=False, max_length=200)
    csv = serializers.CharField(required=False, trim_whitespace=False, max_length=FILE_BYTES_MAX)
    file_name = serializers.CharField(required=False, max_length=200, default="statement.csv")
    time_zone = serializers.CharField(default="UTC", max_length=60, help_text="Whose days the provider bills by.")
    columns = NamesField(default=dict, help_text=f"Generic layout: our field to its column. Fields: {', '.join(FIELDS)}.")
    models = NamesField(default=dict, help_text="Names of models on the file, where the gateway calls them otherwise: theirs to ours.")
    starts_on = serializers.DateField(required=False, help_text="First day of the statement; default: of its lines.")
    ends_on = serializers.DateField(required=False, help_text="Last day, included.")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if ("file" in attrs) == ("csv" in attrs):
            raise serializers.ValidationError({"file": ["Send the file, or its text as csv; one of them."]})
        if "file" in attrs and attrs["file"].size > FILE_BYTES_MAX:
            raise serializers.ValidationError({"file": [f"The file is larger than {FILE_BYTES_MAX} bytes."]})
        return attrs

    def order(self, user_id: int | None) -> StatementOrder:
        wanted = self.validated_data
        file = wanted.get("file")
        return StatementOrder(
            provider_slug=wanted["provider"],
            content=file.read() if file else wanted["csv"].encode(),
            file_name=file.name if file else wanted["file_name"],
            layout=wanted["layout"],
            time_zone=wanted["time_zone"],
            columns=wanted["columns"],
            models=wanted["models"],
            starts_on=wanted.get("starts_on"),
            ends_on=wanted.get("ends_on"),
            user_id=user_id,
        )


class StatementQuerySerializer(StrictSerializer):
    finding = serializers.ChoiceField(choices=StatementLine.Finding.choices, required=False)
    format = serializers.ChoiceField(choices=["json", "csv"], default="json")
    page = serializers.IntegerField(required=False, min_value=1)
    page_size = serializers.IntegerField(required=False, min_value=1, max_value=500)


class SplitSerializer(serializers.Serializer[Any]):
    price = serializers.CharField()
    tokens = serializers.CharField()
    missing = serializers.CharField()
    extra = serializers.CharField()
    zone = serializers.CharField()


class StatementSerializer(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    provider = serializers.CharField()
    layout = serializers.CharField()
    time_zone = serializers.CharField()
    file_name = serializers.CharField()
    file_sha256 = serializers.CharField()
    starts_on = serializers.DateField()
    ends_on = serializers.DateField()
    uploaded_at = serializers.DateTimeField()
    uploaded_by_id = serializers.IntegerField(allow_null=True)
    file_lines = serializers.IntegerField()
    rounded_lines = serializers.IntegerField(help_text="Amounts finer than a nano-dollar, rounded half to even.")
    lines = serializers.DictField(child=serializers.IntegerField(), help_text="Lines of the report by finding.")
    billed_usd = serializers.CharField(allow_null=True, help_text="Null: the file has no amounts.")
    ledger_usd = serializers.CharField(allow_null=True)
    variance_usd = serializers.CharField(help_text="Billed less booked; the parts of split_usd add up to it.")
    split_usd = SplitSerializer()


class FindingSerializer(serializers.Serializer[Any]):
    line = serializers.IntegerField(allow_null=True, help_text="Line of the file; of a group its first. Null: only in the ledger.")
    finding = serializers.ChoiceField(choices=StatementLine.Finding.choices)
    matched_by = serializers.CharField(help_text="request or group")
    request_id = serializers.CharField(help_text="The provider's.")
    day = serializers.DateField()
    model = serializers.CharField()
    billed_usd = serializers.CharField(allow_null=True)
    ledger_usd = serializers.CharField(allow_null=True)
    variance_usd = serializers.CharField()
    price_variance_usd = serializers.CharField()
    tokens_variance_usd = serializers.CharField()
    billed_tokens = serializers.DictField(child=serializers.IntegerField())
    ledger_tokens = serializers.DictField(child=serializers.IntegerField())


class StatementDetailSerializer(StatementSerializer):
    count = serializers.IntegerField()
    next = serializers.CharField(allow_null=True)
    previous = serializers.CharField(allow_null=True)
    results = FindingSerializer(many=True)


def shown_statement(statement: Statement) -> dict[str, Any]:
    summary = statement.summary
    return {
        "id": statement.pk,
        "provider": statement.provider_slug,
        "layout": statement.layout,
        "time_zone": statement.time_zone,
        "file_name": statement.file_name,
        "file_sha256": statement.file_sha256,
        "starts_on": statement.starts_on,
        "ends_on": statement.ends_on,
        "uploaded_at": statement.uploaded_at,
        "uploaded_by_id": statement.uploaded_by_id,
        "file_lines": summary["file_lines"],
        "rounded_lines": summary["rounded_lines"],
        "lines": summary["lines"],
        "billed_usd": dollars(summary["billed_nano"]),
        "ledger_usd": dollars(summary["ledger_nano"]),
        "variance_usd": dollars(summary["variance_nano"]),
        "split_usd": {cause: dollars(nano) for cause, nano in summary["split_nano"].items()},
    }


def shown_finding(line: StatementLine) -> dict[str, Any]:
    return {
        "line": line.number,
        "finding": line.finding,
        "matched_by": line.matched_by,
        "request_id": line.upstream_id,
        "day": line.day,
        "model": line.model_name,
        "billed_usd": dollars(line.billed_nano),
        "ledger_usd": dollars(line.ledger_nano),
        "variance_usd": dollars(line.variance_nano),
        "price_variance_usd": dollars(line.price_variance_nano),
        "tokens_variance_usd": dollars(line.tokens_variance_nano),
        "billed_tokens": line.billed_tokens,
        "ledger_tokens": line.ledger_tokens,
    }
