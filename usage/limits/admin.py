"""Admin page for rate limits. Every write goes through ``usage.limits.actions``."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest

from usage.errors import ActionRefused
from usage.limits import actions
from usage.models import RateLimit

SUBJECTS = ("tier", "user", "api_key", "provider")
SUBJECT_OF_SCOPE = {"gateway": [], "tier": ["tier"], "user": ["user"], "key": ["api_key"], "provider": ["provider"]}


class RateLimitForm(forms.ModelForm):  # type: ignore[type-arg]
    """Refuses what the action refuses, beside the field it is about."""

    class Meta:
        model = RateLimit
        fields = ("scope", *SUBJECTS, "measure", "window", "limit", "burst")

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        row, scope = self.instance, cleaned.get("scope")
        named = [name for name in SUBJECTS if cleaned.get(name)]
        if scope and named != SUBJECT_OF_SCOPE[scope]:
            raise ValidationError("Name exactly what the scope says: a tier, a user, a key, a provider; nobody for the whole gateway.")
        limit, burst = cleaned.get("limit"), cleaned.get("burst")
        if limit is not None:
            try:
                actions.check_figures(cleaned.get("measure") or row.measure, cleaned.get("window") or row.window, limit, burst)
            except ActionRefused as error:
                raise ValidationError({"burst" if burst is not None else "limit": str(error)}) from None
        return cleaned


@admin.register(RateLimit)
class RateLimitAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Requests or tokens per window. Whom a limit binds stays; its figures may change."""

    form = RateLimitForm
    list_display = ("subject", "figure", "window", "burst")
    list_filter = ("scope", "measure", "window")
    search_fields = ("user__username", "api_key__name", "api_key__id", "tier__name", "provider__slug")
    list_select_related = SUBJECTS
    autocomplete_fields = ("user", "api_key", "provider")

    def get_readonly_fields(self, request: HttpRequest, obj: RateLimit | None = None) -> tuple[str, ...]:
        return () if obj is None else ("scope", *SUBJECTS, "measure", "window")

    @admin.display(description="Subject", ordering="scope")
    def subject(self, row: RateLimit) -> str:
        if row.scope == RateLimit.Scope.GATEWAY:
            return "Whole gateway"
        return f"{RateLimit.Scope(row.scope).label}: {_subject_of(row)}"

    @admin.display(description="Limit", ordering="limit")
    def figure(self, row: RateLimit) -> str:
        return f"{row.limit:,} {row.measure}" if row.limit else f"0 {row.measure} — blocks"

    def save_model(self, request: HttpRequest, obj: RateLimit, form: forms.ModelForm[RateLimit], change: bool) -> None:
        subject = _subject_of(obj)
        obj.pk = actions.set_rate_limit(obj.scope, subject, obj.measure, obj.window, obj.limit, obj.burst).pk

    def delete_model(self, request: HttpRequest, obj: RateLimit) -> None:
        actions.delete_rate_limit(obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[RateLimit]) -> None:
        for row in queryset:
            actions.delete_rate_limit(row)


def _subject_of(row: RateLimit) -> actions.Subject:
    user = row.user if isinstance(row.user, User) else None
    return row.tier or user or row.api_key or row.provider
