"""Admin pages for keys, budgets and the read-only ledger. Every write goes through ``usage.actions``."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.auth.models import User
from django.db.models import BigIntegerField, Case, CharField, OuterRef, QuerySet, Subquery, Value, When
from django.db.models.functions import Coalesce
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from providers import clock
from providers.fields import DollarsOnReadOnlyPages, dollars
from usage import actions, limit_admin
from usage.account_admin import ReasonForm, RecordAdmin
from usage.adjustments import reset_budget
from usage.export_admin import ClosedMonthAdmin, ExportAdmin
from usage.models import ApiKey, Attempt, Budget, BudgetPeriod, Caps, Enforcement, Entitlement, LedgerEntry, Period, UsageTotal
from usage.periods import period_key
from usage.statement_admin import StatementAdmin
from usage.tiers import limits_of
from usage.whatif_admin import WhatIfPage

__all__ = ["ClosedMonthAdmin", "ExportAdmin", "StatementAdmin"]


class NamesField(forms.CharField):
    """A list of names, one a line."""

    widget = forms.Textarea(attrs={"rows": 4})

    def __init__(self, *, label: str, help_text: str) -> None:
        super().__init__(required=False, label=label, help_text=help_text)

    def prepare_value(self, value: Any) -> Any:
        return "\n".join(value) if isinstance(value, list) else value

    def clean(self, value: Any) -> list[str]:
        return [name for line in super().clean(value).splitlines() if (name := line.strip())]

    def has_changed(self, initial: Any, data: Any) -> bool:
        return super().has_changed(self.prepare_value(initial), data)


class ApiKeyForm(forms.ModelForm):  # type: ignore[type-arg]
    allowed_models = NamesField(label="Allowed models", help_text="Model or route names, one a line. Empty: all.")
    allowed_contexts = NamesField(label="Allowed contexts", help_text="One a line. Empty: all.")

    class Meta:
        model = ApiKey
        fields = ("user", "name", "allowed_models", "allowed_contexts", "expires_at")


@admin.register(ApiKey)
class ApiKeyAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """A key is shown once, in the message after it was made. Keys are revoked, never deleted: the ledger names them."""

    form = ApiKeyForm
    list_display = ("name", "id", "user", "state", "limit", "created_at", "expires_at", "last_used_at")
    list_filter = ("revoked_at", "created_at")
    search_fields = ("id", "name", "user__username")
    list_select_related = ("user",)
    autocomplete_fields = ("user",)
    actions = ("revoke_keys",)

    def get_readonly_fields(self, request: HttpRequest, obj: ApiKey | None = None) -> tuple[str, ...]:
        return () if obj is None else ("id", "user", "created_at", "revoked_at", "last_used_at")

    def has_delete_permission(self, request: HttpRequest, obj: ApiKey | None = None) -> bool:
        return False

    def get_queryset(self, request: HttpRequest) -> QuerySet[ApiKey]:
        return super().get_queryset(request).prefetch_related("budgets", "user__budgets")

    @admin.display(description="State")
    def state(self, key: ApiKey) -> str:
        if key.revoked_at is not None:
            return "revoked"
        if key.expires_at is not None and key.expires_at <= timezone.now():
            return "expired"
        return "active"

    @admin.display(description="Limit")
    def limit(self, key: ApiKey) -> str | SafeString:
        budgets = [*key.budgets.all(), *key.user.budgets.all()]
        if not budgets:
            return format_html("<strong>{}</strong>", "NO LIMIT of its own")
        return ", ".join(f"{_caps(budget)} per {budget.period} ({budget.scope})" for budget in budgets)

    def save_model(self, request: HttpRequest, obj: ApiKey, form: forms.ModelForm[ApiKey], change: bool) -> None:
        if change:
            actions.update_api_key(
                obj,
                name=obj.name,
                allowed_models=obj.allowed_models,
                allowed_contexts=obj.allowed_contexts,
                expires_at=obj.expires_at,
            )
            return
        key, plaintext = actions.create_api_key(
            obj.user,
            obj.name,
            allowed_models=obj.allowed_models,
            allowed_contexts=obj.allowed_contexts,
            expires_at=obj.expires_at,
        )
        obj.pk, obj.created_at, obj.secret_sha256 = key.pk, key.created_at, key.secret_sha256
        shown = format_html("Copy the key now, it is not shown again: <code>{}</code>", plaintext)
        self.message_user(request, shown, messages.SUCCESS)

    @admin.action(description="Revoke selected keys", permissions=["change"])
    def revoke_keys(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> None:
        keys = [actions.revoke_api_key(key) for key in queryset]
        self.message_user(request, f"{len(keys)} revoked.", messages.SUCCESS)


@admin.register(Budget)
class BudgetAdmin(DollarsOnReadOnlyPages, admin.ModelAdmin):  # type: ignore[type-arg]
    """Caps are typed in dollars. The counters are those of the current period."""

    list_display = ("subject", "period", "cap", "posted", "held", "remaining")
    list_filter = ("scope", "period")
    search_fields = ("user__username", "api_key__name", "api_key__id")
    list_select_related = ("user", "api_key", "team", "provider")
    autocomplete_fields = ("user", "api_key", "team", "provider", "fallback_route")
    fields = ("scope", "user", "api_key", "team", "provider", "context", "period", "cap_nano", "cap_tokens", "cap_requests", "enforcement",
              "charge_failed_attempts", "fallback_route")  # fmt: skip

    action_form = ReasonForm
    actions = ("reset_current_period",)

    @admin.action(description="Let the current period begin anew (needs a reason)", permissions=["change"])
    def reset_current_period(self, request: HttpRequest, queryset: QuerySet[Budget]) -> None:
        try:
            made = [reset_budget(budget, request.POST.get("reason", ""), request.user.pk) for budget in queryset]
        except actions.ActionRefused as refusal:
            self.message_user(request, str(refusal), messages.ERROR)
            return
        done = sum(each is not None for each in made)
        self.message_user(request, f"{done} begun anew, {len(made) - done} had nothing to give back.", messages.SUCCESS)

    def get_readonly_fields(self, request: HttpRequest, obj: Budget | None = None) -> tuple[str, ...]:
        return () if obj is None else ("scope", "user", "api_key", "team", "provider", "context", "period")

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        if request.method == "GET" and not Budget.objects.filter(scope=Budget.Scope.GATEWAY).exists():
            self.message_user(request, "NO LIMIT: the whole gateway has no budget. Add one with scope “Whole gateway”.", messages.WARNING)
        return super().changelist_view(request, extra_context)

    @admin.display(description="Subject", ordering="scope")
    def subject(self, budget: Budget) -> str:
        return "Whole gateway" if budget.scope == Budget.Scope.GATEWAY else budget.subject

    @admin.display(description="Cap", ordering="cap_nano")
    def cap(self, budget: Budget) -> str:
        return _caps(budget)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Budget]:
        """Adds the counters of each budget's current period; nothing reserved in it yet counts as 0."""
        now, tz = clock.database_now(), timezone.get_default_timezone()
        keys = [When(period=unit, then=Value(period_key(now, unit, tz))) for unit in Period.values]
        current = BudgetPeriod.objects.filter(budget=OuterRef("pk"), key=OuterRef("current_key"))
        budgets = super().get_queryset(request).annotate(current_key=Case(*keys, output_field=CharField()))
        counted: QuerySet[Budget] = budgets.annotate(
            posted_now=Coalesce(Subquery(current.values("posted_nano")), Value(0), output_field=BigIntegerField()),
            held_now=Coalesce(Subquery(current.values("held_nano")), Value(0), output_field=BigIntegerField()),
        )
        return counted

    @admin.display(description="Posted ($)", ordering="posted_now")
    def posted(self, budget: Any) -> str:
        return _short(budget.posted_now)

    @admin.display(description="Held ($)", ordering="held_now")
    def held(self, budget: Any) -> str:
        return _short(budget.held_now)

    @admin.display(description="Remaining ($)")
    def remaining(self, budget: Any) -> str:
        return "" if budget.cap_nano is None else _short(max(0, budget.cap_nano - budget.posted_now - budget.held_now))

    def save_model(self, request: HttpRequest, obj: Budget, form: forms.ModelForm[Budget], change: bool) -> None:
        user = obj.user if isinstance(obj.user, User) else None
        subject = user or obj.api_key or obj.team or obj.provider or obj.context or None
        obj.pk = actions.set_budget(obj.scope, subject, obj.period, limits_of(obj), fallback_route=obj.fallback_route).pk

    def delete_model(self, request: HttpRequest, obj: Budget) -> None:
        actions.delete_budget(obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Budget]) -> None:
        for budget in queryset:
            actions.delete_budget(budget)


@admin.register(Entitlement)
class EntitlementAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Who may use providers that require a tier. A payment service's webhook writes here too."""

    list_display = ("user", "tier", "status", "expires_at", "subscription_id", "updated_at")
    list_filter = ("tier", "status")
    search_fields = ("user__username", "subscription_id")
    list_select_related = ("user",)
    autocomplete_fields = ("user",)
    fields = ("user", "tier", "status", "expires_at", "subscription_id")

    def save_model(self, request: HttpRequest, obj: Entitlement, form: forms.ModelForm[Entitlement], change: bool) -> None:
        actions.save_entitlement(obj)

    def delete_model(self, request: HttpRequest, obj: Entitlement) -> None:
        actions.delete_entitlement(obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Entitlement]) -> None:
        for entitlement in queryset:
            actions.delete_entitlement(entitlement)


@admin.register(Attempt)
class AttemptAdmin(RecordAdmin):
    list_display = ("dispatched_at", "request_id", "attempt_no", "status", "provider_slug", "model_name", "user_id", "context", "hold",
                    "latency_ms", "error_code")  # fmt: skip
    list_filter = ("status", "provider_slug", "stream", "error_code")
    search_fields = ("request_id", "model_name", "api_key_id")
    date_hierarchy = "dispatched_at"

    @admin.display(description="Hold ($)", ordering="hold_nano")
    def hold(self, attempt: Attempt) -> str:
        return _short(attempt.hold_nano)


@admin.register(LedgerEntry)
class LedgerEntryAdmin(WhatIfPage, RecordAdmin):
    list_display = ("posted_at", "target", "cost", "basis", "tokens_in", "tokens_out", "user_id", "context", "kind", "error_code",
                    "request_id", "attempt_no")  # fmt: skip
    list_filter = ("kind", "basis", "provider_slug", "context")
    search_fields = ("request_id", "upstream_id", "model_name", "api_key_id")
    date_hierarchy = "posted_at"

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


@admin.register(UsageTotal)
class UsageTotalAdmin(RecordAdmin):
    list_display = ("slot", "provider_slug", "model_name", "user_id", "context", "requests", "attempts", "estimated_lines", "input_tokens",
                    "output_tokens", "cost")  # fmt: skip
    list_filter = ("provider_slug", "context")
    search_fields = ("model_name", "api_key_id")
    date_hierarchy = "slot"

    @admin.display(description="Cost ($)", ordering="cost_nano")
    def cost(self, total: UsageTotal) -> str | None:
        return dollars(total.cost_nano)


def _caps(caps: Caps) -> str:
    """What a budget allows, for people."""
    money = None if caps.cap_nano is None else f"${_short(caps.cap_nano)}" if caps.cap_nano else "0 — blocks paid use"
    tokens = None if caps.cap_tokens is None else f"{caps.cap_tokens:,} tokens"
    requests = None if caps.cap_requests is None else f"{caps.cap_requests:,} requests"
    shown = ", ".join(cap for cap in (money, tokens, requests) if cap is not None)
    warns = "warn only" if caps.enforcement == Enforcement.WARN else ""
    forgives = "" if caps.charge_failed_attempts else "failed attempts not charged"
    rules = ", ".join(rule for rule in (warns, forgives) if rule)
    return f"{shown} ({rules})" if rules else shown


def _short(nano: int) -> str:
    """Exact dollars without needless zeros."""
    whole, _, fraction = f"{Decimal(nano).scaleb(-9):.9f}".partition(".")
    return f"{whole}.{fraction.rstrip('0').ljust(2, '0')}"


__all__ = ["limit_admin"]  # registers its page
