"""The read-only admin page of the sums that reports read."""

from __future__ import annotations

from django.contrib import admin
from django.db.models import Q

from providers.fields import dollars
from usage.admin_bases import RecordAdmin, TeamAdmin
from usage.models import UsageTotal


@admin.register(UsageTotal)
class UsageTotalAdmin(RecordAdmin, TeamAdmin):
    """Owners of teams see the sums of their teams."""

    list_display = ("slot", "provider_slug", "model_name", "user_id", "context", "requests", "attempts", "estimated_lines", "input_tokens",
                    "output_tokens", "cost")  # fmt: skip
    list_filter = ("provider_slug", "context")
    search_fields = ("model_name", "api_key_id")
    date_hierarchy = "slot"

    def within(self, teams_owned: frozenset[int]) -> Q:
        return Q(team_id__in=teams_owned)

    @admin.display(description="Cost ($)", ordering="cost_nano")
    def cost(self, total: UsageTotal) -> str | None:
        return dollars(total.cost_nano)
