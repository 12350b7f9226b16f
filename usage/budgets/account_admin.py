"""Admin pages for tiers, accounts of users, and what happened to budgets. Every write goes through ``usage.budgets.tiers``."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from providers.fields import DollarsOnReadOnlyPages, dollars
from usage.admin_bases import RecordAdmin
from usage.budgets import tiers
from usage.budgets.actions import Limits
from usage.errors import ActionRefused
from usage.models import BudgetAdjustment, BudgetAlert, Tier, TierLimit, UserAccount


class CapsForm(forms.ModelForm):  # type: ignore[type-arg]
    """Says under the fields what the database would refuse."""

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        try:
            Limits(cleaned.get("cap_nano"), cleaned.get("cap_tokens"), cleaned.get("cap_requests"))
        except ActionRefused as refusal:
            raise forms.ValidationError(str(refusal)) from None
        return cleaned


class TierLimitInline(DollarsOnReadOnlyPages, admin.StackedInline):  # type: ignore[type-arg]
    model = TierLimit
    form = CapsForm
    fields = ("period", "cap_nano", "cap_tokens", "cap_requests", "enforcement", "charge_failed_attempts")
    extra = 1


@admin.register(Tier)
class TierAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """What is changed here holds for every member from the next request on."""

    list_display = ("name", "label", "members")
    search_fields = ("name", "label")
    inlines = (TierLimitInline,)

    def get_readonly_fields(self, request: HttpRequest, obj: Tier | None = None) -> tuple[str, ...]:
        return () if obj is None else ("name",)

    @admin.display(description="Members")
    def members(self, tier: Tier) -> int:
        return tier.accounts.count()

    def save_formset(self, request: HttpRequest, form: Any, formset: Any, change: bool) -> None:
        for limit in formset.save(commit=False):
            tiers.set_tier_limit(form.instance, limit.period, tiers.limits_of(limit))
        for limit in formset.deleted_objects:
            tiers.delete_tier_limit(limit)
        formset.save_m2m()


@admin.register(UserAccount)
class UserAccountAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    list_display = ("user", "tier", "team", "updated_at")
    list_filter = ("tier",)
    search_fields = ("user__username",)
    autocomplete_fields = ("user", "tier", "team")

    def get_readonly_fields(self, request: HttpRequest, obj: UserAccount | None = None) -> tuple[str, ...]:
        return () if obj is None else ("user",)

    def get_form(self, request: HttpRequest, obj: UserAccount | None = None, change: bool = False, **kwargs: Any) -> Any:
        return super().get_form(request, obj, change=change, **{**kwargs, "form": AccountForm})

    def save_model(self, request: HttpRequest, obj: UserAccount, form: forms.ModelForm[UserAccount], change: bool) -> None:
        obj.pk = tiers.set_account(obj.user, obj.tier, obj.team_id).pk

    def delete_model(self, request: HttpRequest, obj: UserAccount) -> None:
        tiers.set_account(obj.user, None)
        obj.delete()

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[UserAccount]) -> None:
        for account in queryset:
            self.delete_model(request, account)


class AccountForm(forms.ModelForm):  # type: ignore[type-arg]
    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        user, team = cleaned.get("user") or getattr(self.instance, "user", None), cleaned.get("team")
        if team is not None and user is not None and not user.groups.filter(pk=team.pk).exists():
            raise forms.ValidationError({"team": "The user is not a member of this group."})
        return cleaned


@admin.register(BudgetAdjustment)
class BudgetAdjustmentAdmin(RecordAdmin):
    list_display = ("created_at", "subject", "key", "amount", "tokens", "requests", "reason", "actor_id")
    search_fields = ("subject", "reason")
    date_hierarchy = "created_at"

    @admin.display(description="Amount ($)", ordering="amount_nano")
    def amount(self, adjustment: BudgetAdjustment) -> str | None:
        return dollars(adjustment.amount_nano)


@admin.register(BudgetAlert)
class BudgetAlertAdmin(RecordAdmin):
    list_display = ("crossed_at", "period", "measure", "threshold_percent", "used_shown", "cap_shown", "mailed_at", "posted_at")
    list_filter = ("measure", "threshold_percent")
    date_hierarchy = "crossed_at"
    list_select_related = ("period__budget",)
    fields = ("period", "measure", "threshold_percent", "used_shown", "cap_shown", "crossed_at", "mailed_at", "posted_at", "tries")
    readonly_fields = ("used_shown", "cap_shown")

    @admin.display(description="Used", ordering="used")
    def used_shown(self, alert: BudgetAlert) -> str:
        return _measured(alert.measure, alert.used)

    @admin.display(description="Cap", ordering="cap")
    def cap_shown(self, alert: BudgetAlert) -> str:
        return _measured(alert.measure, alert.cap)


def _measured(measure: str, amount: int) -> str:
    return f"${dollars(amount)}" if measure == "money" else f"{amount:,} {measure}"
