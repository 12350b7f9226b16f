"""Admin pages of API keys. Every write goes through ``usage.keys``."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from usage.admin_bases import shown_caps
from usage.keys.actions import create_api_key, revoke_api_key, update_api_key
from usage.models import ApiKey


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
    """A key is shown once, on the page after it was made. Keys are revoked, never deleted: the ledger names them."""

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
        return ", ".join(f"{shown_caps(budget)} per {budget.period} ({budget.scope})" for budget in budgets)

    def save_model(self, request: HttpRequest, obj: ApiKey, form: forms.ModelForm[ApiKey], change: bool) -> None:
        if change:
            update_api_key(
                obj,
                name=obj.name,
                allowed_models=obj.allowed_models,
                allowed_contexts=obj.allowed_contexts,
                expires_at=obj.expires_at,
            )
            return
        key, plaintext = create_api_key(
            obj.user,
            obj.name,
            allowed_models=obj.allowed_models,
            allowed_contexts=obj.allowed_contexts,
            expires_at=obj.expires_at,
        )
        obj.pk, obj.created_at, obj.secret_sha256 = key.pk, key.created_at, key.secret_sha256
        obj.plaintext = plaintext  # type: ignore[attr-defined]  # on its way to ``response_add``

    def response_add(self, request: HttpRequest, obj: ApiKey, post_url_continue: str | None = None) -> HttpResponse:
        """A page of its own: a message would travel in a cookie, or wait in a session."""
        context = {**self.admin_site.each_context(request), "title": "Copy the key now", "made": obj, "key": obj.plaintext}  # type: ignore[attr-defined]
        return TemplateResponse(request, "admin/usage/apikey/made.html", context)

    @admin.action(description="Revoke selected keys", permissions=["change"])
    def revoke_keys(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> None:
        keys = [revoke_api_key(key) for key in queryset]
        self.message_user(request, f"{len(keys)} revoked.", messages.SUCCESS)
