"""Read-only admin pages of attempts, ledger lines and the seals of days."""

from __future__ import annotations

from django.contrib import admin
from django.db.models import Q

from providers.fields import dollars, short_dollars
from usage.admin_bases import RecordAdmin, TeamAdmin
from usage.models import Attempt, LedgerDay, LedgerEntry


@admin.register(Attempt)
class AttemptAdmin(RecordAdmin):
    list_display = ("dispatched_at", "request_id", "attempt_no", "status", "provider_slug", "model_name", "user_id", "context", "hold",
                    "latency_ms", "error_code")  # fmt: skip
    list_filter = ("status", "provider_slug", "stream", "error_code")
    search_fields = ("request_id", "model_name", "api_key_id")
    date_hierarchy = "dispatched_at"

    @admin.display(description="Hold ($)", ordering="hold_nano")
    def hold(self, attempt: Attempt) -> str:
        return short_dollars(attempt.hold_nano)


class LedgerEntryAdmin(RecordAdmin, TeamAdmin):
    """Owners of teams see the lines of their teams."""

    list_display = ("posted_at", "target", "cost", "basis", "tokens_in", "tokens_out", "user_id", "context", "kind", "error_code",
                    "request_id", "attempt_no")  # fmt: skip
    list_filter = ("kind", "basis", "provider_slug", "context")
    search_fields = ("request_id", "upstream_id", "model_name", "api_key_id")
    date_hierarchy = "posted_at"

    def within(self, teams_owned: frozenset[int]) -> Q:
        return Q(team_id__in=teams_owned)

    @admin.display(description="Model", ordering="model_name")
    def target(self, entry: LedgerEntry) -> str:
        return f"{entry.provider_slug}/{entry.model_name}"

    @admin.display(description="Tokens in")
    def tokens_in(self, entry: LedgerEntry) -> int | None:
        return entry.usage.total_input_tokens

    @admin.display(description="Tokens out")
    def tokens_out(self, entry: LedgerEntry) -> int | None:
        return entry.usage.total_output_tokens

    @admin.display(description="Cost ($)", ordering="cost_nano")
    def cost(self, entry: LedgerEntry) -> str | None:
        return dollars(entry.cost_nano)


@admin.register(LedgerDay)
class LedgerDayAdmin(RecordAdmin):
    list_display = ("day", "lines", "cost", "sha256", "sealed_at")
    date_hierarchy = "day"

    @admin.display(description="Cost ($)", ordering="cost_nano")
    def cost(self, seal: LedgerDay) -> str | None:
        return dollars(seal.cost_nano)
