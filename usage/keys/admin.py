"""Admin pages of API keys. Every write goes through ``usage.keys``."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, ClassVar

from django import forms
from django.contrib import admin, messages
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from providers import rights
from providers.audit import Actor
from usage import teams
from usage.admin_bases import TeamAdmin, shown_caps
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

    actor: ClassVar[Actor] = Actor(None, is_superuser=False)
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
class ApiKeyAdmin(TeamAdmin):
    """A key is shown once, on the page that answers its making. Keys are revoked, never deleted: the ledger names them.

    Who may add keys makes them for himself; for others superusers do, and owners for members of their teams.
    """

    form = ApiKeyForm
    list_display = ("name", "id", "user", "state", "may", "limit", "created_at", "expires_at", "last_used_at")
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

    def get_form(self, request: HttpRequest, obj: ApiKey | None = None, change: bool = False, **kwargs: Any) -> Any:
        form = super().get_form(request, obj, change=change, **kwargs)
        return type(form.__name__, (form,), {"actor": Actor.of(request.user)})

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

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        """Most keys are for who makes them."""
        return {"user": request.user.pk, **super().get_changeform_initial_data(request)}

    def save_model(self, request: HttpRequest, obj: ApiKey, form: forms.ModelForm[ApiKey], change: bool) -> None:
        limits: Any = {name: getattr(obj, name) for name in ("scopes", "allowed_models", "allowed_contexts", "expires_at")}
        if change:
            update_api_key(obj, name=obj.name, actor=Actor.of(request.user), **limits)
            return
        key, plaintext = create_api_key(obj.user, obj.name, actor=Actor.of(request.user), **limits)
        obj.pk, obj.created_at, obj.secret_sha256 = key.pk, key.created_at, key.secret_sha256
        request.new_key = plaintext  # type: ignore[attr-defined]  # for response_add, and for nobody else

    def response_add(self, request: HttpRequest, obj: ApiKey, post_url_continue: str | None = None) -> HttpResponse:
        """The one answer that shows the key: no redirect, so that no message, session, cookie or cache ever holds it."""
        plaintext = request.new_key  # type: ignore[attr-defined]
        context = {**self.admin_site.each_context(request), "title": "A new API key", "key": obj, "plaintext": plaintext}
        return TemplateResponse(request, "admin/usage/apikey/made.html", context)

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
