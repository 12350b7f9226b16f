"""Admin pages of API keys. Every write goes through ``usage.keys``."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, ClassVar

from django import forms
from django.contrib import admin, messages
from django.contrib.auth.models import User
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from usage.admin_bases import shown_caps
from usage.errors import ActionRefused
from usage.keys.actions import create_api_key, revoke_api_key, update_api_key
from usage.keys.names import checked_contexts, checked_models
from usage.keys.scopes import DEFAULT_SCOPES, EXPLAINED, checked_scopes
from usage.models import ApiKey


class NamesField(forms.CharField):
    """A list of names, read by ``parse``, which raises ``ActionRefused`` and is told what is stored already."""

    widget = forms.Textarea(attrs={"rows": 4, "spellcheck": "false"})

    def __init__(self, parse: Callable[[str, Collection[str]], list[str]], *, label: str, help_text: str) -> None:
        super().__init__(required=False, label=label, help_text=help_text)
        self.parse = parse
        self.stored: list[str] = []

    def prepare_value(self, value: Any) -> Any:
        return "\n".join(value) if isinstance(value, list) else value

    def clean(self, value: Any) -> list[str]:
        try:
            return self.parse(super().clean(value), self.stored)
        except ActionRefused as error:
            raise forms.ValidationError(str(error)) from None

    def has_changed(self, initial: Any, data: Any) -> bool:
        return super().has_changed(self.prepare_value(initial), data)


class ApiKeyForm(forms.ModelForm):  # type: ignore[type-arg]
    """``actor`` is set per request: who may give a scope depends on it."""

    actor: ClassVar[User | None] = None
    scopes = forms.MultipleChoiceField(
        label="May",
        choices=[(scope.value, f"{scope.value}: {sentence}") for scope, sentence in EXPLAINED.items()],
        initial=[scope.value for scope in DEFAULT_SCOPES],
        widget=forms.CheckboxSelectMultiple,
        help_text="Never more than its owner may. What goes beyond inference and the owner's own data is given by who may do it himself.",
        error_messages={"required": "A key that may do nothing is of no use: tick what it is for."},
    )
    allowed_models = NamesField(
        checked_models, label="Allowed models", help_text="Names of models and routes, addresses, or patterns such as openai/*. Empty: all."
    )
    allowed_contexts = NamesField(checked_contexts, label="Allowed contexts", help_text="Names, or patterns such as app-*. Empty: all.")

    class Meta:
        model = ApiKey
        fields = ("user", "name", "scopes", "allowed_models", "allowed_contexts", "expires_at")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name in ("allowed_models", "allowed_contexts"):
            if isinstance(field := self.fields.get(name), NamesField):
                field.stored = getattr(self.instance, name)
        self.stored_scopes = [*self.instance.scopes] if self.instance.pk else []

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        owner = self.instance.user if self.instance.pk else cleaned.get("user")
        if owner is not None and "scopes" in cleaned:
            try:
                cleaned["scopes"] = checked_scopes(cleaned["scopes"], owner, self.actor, self.stored_scopes)
            except ActionRefused as error:
                self.add_error("scopes", str(error))
        return cleaned


@admin.register(ApiKey)
class ApiKeyAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """A key is shown once, on the page that answers its making. Keys are revoked, never deleted: the ledger names them."""

    form = ApiKeyForm
    list_display = ("name", "id", "user", "state", "may", "limit", "created_at", "expires_at", "last_used_at")
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

    def get_form(self, request: HttpRequest, obj: ApiKey | None = None, change: bool = False, **kwargs: Any) -> Any:
        form = super().get_form(request, obj, change=change, **kwargs)
        return type(form.__name__, (form,), {"actor": request.user})

    @admin.display(description="May")
    def may(self, key: ApiKey) -> str:
        return ", ".join(key.scopes) or "nothing"

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
        limits: Any = {name: getattr(obj, name) for name in ("scopes", "allowed_models", "allowed_contexts", "expires_at")}
        if change:
            update_api_key(obj, name=obj.name, actor=_person(request), **limits)
            return
        key, plaintext = create_api_key(obj.user, obj.name, actor=_person(request), **limits)
        obj.pk, obj.created_at, obj.secret_sha256 = key.pk, key.created_at, key.secret_sha256
        request.new_key = plaintext  # type: ignore[attr-defined]  # for response_add, and for nobody else

    def response_add(self, request: HttpRequest, obj: ApiKey, post_url_continue: str | None = None) -> HttpResponse:
        """The one answer that shows the key: no redirect, so that no message, session, cookie or cache ever holds it."""
        plaintext = request.new_key  # type: ignore[attr-defined]
        context = {**self.admin_site.each_context(request), "title": "A new API key", "key": obj, "plaintext": plaintext}
        answer = TemplateResponse(request, "admin/usage/apikey/made.html", context)
        answer["Cache-Control"] = "private, no-store"
        return answer

    @admin.action(description="Revoke selected keys", permissions=["change"])
    def revoke_keys(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> None:
        keys = [revoke_api_key(key) for key in queryset]
        self.message_user(request, f"{len(keys)} revoked.", messages.SUCCESS)


def _person(request: HttpRequest) -> User:
    assert isinstance(request.user, User), "admin pages are for people who signed in"
    return request.user
