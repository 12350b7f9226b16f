"""What caches, discounts and routing saved, for finance."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Final

from drf_spectacular.utils import extend_schema
from rest_framework.generics import GenericAPIView
from rest_framework.request import Request
from rest_framework.response import Response

from providers.fields import dollars
from usage.keys import Scope
from usage.models import LedgerEntry
from usage.reports.answers import opening
from usage.reports.savings import FreeUse, Savings, savings
from usage.reports.savings_serializers import SavingsQuerySerializer, SavingsSerializer
from usage.reports.sums import Asked, snapshot
from usage.rest import NO_SUCH_TEAM, SeesReports, checked_query, team_for

HOW: Final = {
    "cache": "Cached tokens at the input rate of the card on each line, less what was paid for them; writing them is set against it.",
    "discounts": "Tokens, requests and calls of tools of each line at the list price of its card, less what was billed.",
    "routing": "What the model asked for would have cost at its price of that time and today's discount, for the same tokens and"
    " calls of tools, less what was billed; negative: failover was dearer. A route is taken at its first model. Not counted where no"
    " such price is known.",
    "zero_cost": "Tokens of lines whose card has no price above zero. With compare_with: the same at that model's price of the time.",
}


class SavingsView(GenericAPIView[LedgerEntry]):
    scope = Scope.FINANCE_READ
    queryset = LedgerEntry.objects.none()
    serializer_class = SavingsSerializer
    permission_classes = (SeesReports,)
    filter_backends = ()
    pagination_class = None

    @extend_schema(
        operation_id="admin_savings",
        summary="What caches, discounts, routing and free models saved",
        parameters=[SavingsQuerySerializer],
        responses={200: SavingsSerializer, **NO_SUCH_TEAM},
    )
    def get(self, request: Request) -> Response:
        wanted = checked_query(SavingsQuerySerializer, request)
        asked = Asked(wanted["period"], wanted["only"].of_team(team_for(request, wanted["only"].team_id)))
        with snapshot():
            return Response({**opening(asked.period), **_shown_savings(savings(asked, wanted.get("compare_with")))})


def _shown_savings(saved: Savings) -> dict[str, Any]:
    cache, discounts, routing = saved.cache, saved.discounts, saved.routing
    return {
        "counted_lines": saved.counted_lines,
        "left_out_lines": saved.left_out_lines,
        "cache": {
            "saved_usd": dollars(cache.reads_nano - cache.writes_nano),
            "reads_saved_usd": dollars(cache.reads_nano),
            "writes_cost_usd": dollars(cache.writes_nano),
            "read_tokens": cache.read_tokens,
            "write_tokens": cache.write_tokens,
            "how": HOW["cache"],
        },
        "discounts": {
            "saved_usd": dollars(discounts.listed_nano - discounts.billed_nano),
            "listed_usd": dollars(discounts.listed_nano),
            "billed_usd": dollars(discounts.billed_nano),
            "lines": discounts.lines,
            "how": HOW["discounts"],
        },
        "routing": {
            "saved_usd": dollars(routing.asked_nano - routing.billed_nano),
            "asked_usd": dollars(routing.asked_nano),
            "billed_usd": dollars(routing.billed_nano),
            "lines": routing.lines,
            "not_counted_lines": routing.unknown_lines,
            "how": HOW["routing"],
        },
        "zero_cost": {"models": [_shown_free(use) for use in saved.free], "how": HOW["zero_cost"]},
    }


def _shown_free(use: FreeUse) -> dict[str, Any]:
    shown = asdict(use)
    reference_nano = shown.pop("reference_nano")
    return {**shown, "compared_usd": None if reference_nano is None else dollars(reference_nano)}
