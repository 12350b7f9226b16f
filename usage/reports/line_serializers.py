"""What goes over the wire for pages of ledger lines."""

from __future__ import annotations

from typing import Any, Final

from rest_framework import serializers

from usage.reports.serializers import LineQuerySerializer, PeriodSerializer, TokensSerializer

PAGE_SIZE: Final = 100
PAGE_SIZE_MAX: Final = 500


class LinesQuerySerializer(LineQuerySerializer):
    page_size = serializers.IntegerField(default=PAGE_SIZE, min_value=1, max_value=PAGE_SIZE_MAX)
    cursor = serializers.CharField(required=False, max_length=300, help_text="`next_cursor` of the page before; none: the first page.")


class LineSerializer(TokensSerializer):
    id = serializers.IntegerField()
    posted_at = serializers.DateTimeField()
    dispatched_at = serializers.DateTimeField()
    request_id = serializers.CharField()
    attempt_no = serializers.IntegerField()
    upstream_id = serializers.CharField(help_text="The provider's own id of the call, where it gave one.")
    kind = serializers.CharField(help_text="usage, correction or adjustment.")
    basis = serializers.CharField(help_text="measured, estimated or unpriced.")
    provider = serializers.CharField()
    model = serializers.CharField()
    user = serializers.CharField()
    key = serializers.CharField(help_text="Empty for a session.")
    team = serializers.CharField(allow_null=True)
    context = serializers.CharField()  # type: ignore[assignment]
    cost_usd = serializers.CharField()
    reported_cost_usd = serializers.CharField(allow_null=True, help_text="What the provider said it costs.")
    provider_tool_calls = serializers.IntegerField(
        allow_null=True, help_text="Calls of tools the provider ran itself and bills by the call; null: it told none."
    )
    error_code = serializers.CharField()
    note = serializers.CharField()


class LinePageSerializer(serializers.Serializer[Any]):
    period = PeriodSerializer()
    currency = serializers.CharField()
    next_cursor = serializers.CharField(allow_null=True, help_text="Null on the last page.")
    next = serializers.CharField(allow_null=True, help_text="Address of the next page.")
    results = LineSerializer(many=True)
