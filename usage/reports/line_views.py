"""The ledger lines themselves, page by page, for finance."""

from __future__ import annotations

import base64
import binascii
from datetime import datetime
from typing import Any

import msgspec
from django.db.models import Max, Q
from drf_spectacular.utils import extend_schema
from rest_framework.exceptions import ValidationError
from rest_framework.generics import GenericAPIView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils.urls import replace_query_param

from providers.fields import dollars
from usage.keys import Scope
from usage.models import LedgerEntry
from usage.money import COUNTS
from usage.reports.answers import opening
from usage.reports.line_serializers import LinePageSerializer, LinesQuerySerializer
from usage.reports.questions import lines_in
from usage.rest import NO_SUCH_TEAM, SeesReports, checked_query, team_for


class LinesView(GenericAPIView[LedgerEntry]):
    """Ledger lines, latest dispatch first. The cursor holds where a page ended and what had been posted when the first was read."""

    scope = Scope.FINANCE_READ
    queryset = LedgerEntry.objects.none()
    serializer_class = LinePageSerializer
    permission_classes = (SeesReports,)
    filter_backends = ()
    pagination_class = None

    @extend_schema(
        operation_id="admin_usage_lines",
        summary="Ledger lines page by page",
        parameters=[LinesQuerySerializer],
        responses={200: LinePageSerializer, **NO_SUCH_TEAM},
    )
    def get(self, request: Request) -> Response:
        wanted = checked_query(LinesQuerySerializer, request)
        size: int = wanted["page_size"]
        lines = lines_in(wanted["period"], wanted["only"].of_team(team_for(request, wanted["only"].team_id)))
        if "cursor" in wanted:
            cursor = _Cursor.read(wanted["cursor"])
            before = Q(dispatched_at__lt=cursor.at) | Q(dispatched_at=cursor.at, pk__lt=cursor.line)
            lines = lines.filter(before, dispatched_at__lte=cursor.at, pk__lte=cursor.posted_up_to)
            posted_up_to = cursor.posted_up_to
        else:
            posted_up_to = LedgerEntry.objects.aggregate(last=Max("pk"))["last"] or 0
            lines = lines.filter(pk__lte=posted_up_to)
        page = [*lines.order_by("-dispatched_at", "-pk")[: size + 1]]
        shown, more = page[:size], len(page) > size
        following = _Cursor(posted_up_to, shown[-1].dispatched_at, shown[-1].pk).text() if more else None
        address = replace_query_param(request.build_absolute_uri(), "cursor", following) if following else None
        answer = {"next_cursor": following, "next": address, "results": [_shown_line(line) for line in shown]}
        return Response({**opening(wanted["period"]), **answer})


class _Cursor(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    posted_up_to: int
    at: datetime
    line: int

    def text(self) -> str:
        return base64.urlsafe_b64encode(msgspec.json.encode(self)).decode().rstrip("=")

    @classmethod
    def read(cls, text: str) -> _Cursor:
        """Raises ``ValidationError`` for anything this API did not give out."""
        try:
            cursor = msgspec.json.decode(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)), type=cls)
        except (binascii.Error, msgspec.DecodeError, ValueError):
            cursor = None
        if cursor is None or cursor.at.tzinfo is None or not all(0 < number < 2**63 for number in (cursor.line, cursor.posted_up_to)):
            raise ValidationError({"cursor": ["Use the cursor of the page before as it is, or none for the first page."]})
        return cursor


def _shown_line(line: LedgerEntry) -> dict[str, Any]:
    return {
        "id": line.pk,
        "posted_at": line.posted_at,
        "dispatched_at": line.dispatched_at,
        "request_id": line.request_id,
        "attempt_no": line.attempt_no,
        "upstream_id": line.upstream_id,
        "kind": line.kind,
        "basis": line.basis,
        "provider": line.provider_slug,
        "model": line.model_name,
        "user": str(line.user_id),
        "key": line.api_key_id,
        "team": None if line.team_id is None else str(line.team_id),
        "context": line.context,
        "cost_usd": dollars(line.cost_nano),
        "reported_cost_usd": dollars(line.reported_cost_nano),
        **{name: getattr(line, name) for name in COUNTS},
        "error_code": line.error_code,
        "note": line.note,
    }
