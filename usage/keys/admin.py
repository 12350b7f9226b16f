"""Admin pages of API keys. Every write goes through ``usage.keys``."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from providers import rights
from providers.audit import Actor
from usage import teams
from usage.admin_bases import TeamAdmin, shown_caps
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
class ApiKeyAdmin(TeamAdmin):
    """A key is shown once, in the message after it was made. Keys are revoked, never deleted: the ledger names them.

    Who may add keys makes them for himself; for others superusers do, and owners for members of their teams.
    """

    form = ApiKeyForm
    list_display = ("name", "id", "user", "state", "limit", "created_at", "expires_at", "last_used_at")
    list_filter = ("revoked_at", "created_at")
    search_fields = ("id", "name", "user__username")
    list_select_related = ("user",)
    actions = ("revoke_keys",)
    owners_may = frozenset({"view", "add", "change"})

    def get_readonly_fields(self, request: HttpRequest, obj: ApiKey | None = None) -> tuple[str, ...]:
        return () if obj is None else ("id", "user", "created_at", "revoked_at", "last_used_at")

    def within(self, teams_owned: frozenset[int]) -> Q:
        return Q(user__in=teams.members_of(teams_owned))

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        may = super().has_change_permission(request, obj)
        return may and (obj is None or not rights.is_stronger(_owner(obj), Actor.of(request.user)))

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_autocomplete_fields(self, request: HttpRequest) -> tuple[str, ...]:
        return ("user",) if request.user.is_superuser else ()

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name == "user" and not request.user.is_superuser:
            kwargs["queryset"] = self._own_people(request)
        return super().formfield_for_foreignkey(db_field, request, **kwargs)

    def _own_people(self, request: HttpRequest) -> QuerySet[User]:
        """Whom this person may make keys for: himself with the permission to add, members of his teams as their owner."""
        may_add = request.user.has_perm("usage.add_apikey")
        people = teams.manageable_members(Actor.of(request.user))
        himself = [request.user.pk or 0] if may_add else []
        return User.objects.filter(Q(pk__in=people.values("pk")) | Q(pk__in=himself))

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
                actor=Actor.of(request.user),
            )
            return
        key, plaintext = create_api_key(
            obj.user,
            obj.name,
            allowed_models=obj.allowed_models,
            allowed_contexts=obj.allowed_contexts,
            expires_at=obj.expires_at,
            actor=Actor.of(request.user),
        )
        obj.pk, obj.created_at, obj.secret_sha256 = key.pk, key.created_at, key.secret_sha256
        shown = format_html("Copy the key now, it is not shown again: <code>{}</code>", plaintext)
        self.message_user(request, shown, messages.SUCCESS)

    @admin.action(description="Revoke selected keys", permissions=["change"])
    def revoke_keys(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> None:
        revoked = 0
        for key in queryset:
            try:
                revoke_api_key(key, actor=Actor.of(request.user))
            except PermissionDenied as refusal:
                self.message_user(request, f"{key}: {refusal}", messages.ERROR)
            else:
                revoked += 1
        self.message_user(request, f"{revoked} revoked.", messages.SUCCESS if revoked else messages.WARNING)


def _owner(key: ApiKey) -> User:
    return User.objects.get(pk=key.user_id)
