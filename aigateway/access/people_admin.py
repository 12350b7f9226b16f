"""Admin pages of accounts and groups, instead of Django's, which trust whoever sees them. Every write goes through ``access.accounts``."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.auth.admin import UserAdmin
from django.contrib.auth.forms import UserChangeForm
from django.contrib.auth.models import Group, Permission, User
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.html import format_html

from aigateway.access import accounts
from providers import rights
from providers.audit import Actor, audited
from usage.models import TeamOwner


def actor_of(request: HttpRequest) -> Actor:
    return Actor.of(request.user)


class AccountForm(UserChangeForm):  # type: ignore[type-arg]
    """Without Django's view of the password, which shows parts of its hash."""

    password = None  # type: ignore[assignment]  # how a form drops a field of its base

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        stays = cleaned.get("is_active", self.instance.is_active) and cleaned.get("is_superuser", self.instance.is_superuser)
        if not stays and rights.is_last_superuser(self.instance):
            raise ValidationError(accounts.LAST_SUPERUSER)
        return cleaned


class AccountAdmin(UserAdmin):  # type: ignore[type-arg]
    """An account that may do more than oneself is for superusers; nobody gives what he does not have."""

    form = AccountForm
    list_display = ("username", "email", "first_name", "last_name", "is_active", "is_staff", "is_superuser")
    readonly_fields = ("password_state", "last_login", "date_joined")
    actions = ("deactivate_accounts",)
    fieldsets = (
        (None, {"fields": ("username", "password_state")}),
        ("Personal info", {"fields": ("first_name", "last_name", "email")}),
        ("Permissions", {"fields": ("is_active", "is_staff", "is_superuser", "groups", "user_permissions")}),
        ("Important dates", {"fields": ("last_login", "date_joined")}),
    )

    # ----- who may

    def has_change_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        return super().has_change_permission(request, obj) and (obj is None or not rights.is_stronger(obj, actor_of(request)))

    def has_delete_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        """To deactivate: an account is named by the ledger and the audit log for ever."""
        return super().has_delete_permission(request, obj) and (obj is None or not rights.is_stronger(obj, actor_of(request)))

    def get_readonly_fields(self, request: HttpRequest, obj: User | None = None) -> tuple[str, ...]:
        return self.readonly_fields if actor_of(request).is_superuser else (*self.readonly_fields, "is_superuser")

    def formfield_for_manytomany(self, db_field: Any, request: Any, **kwargs: Any) -> Any:
        _only_givable(db_field.related_model, request, kwargs)
        return super().formfield_for_manytomany(db_field, request, **kwargs)

    @admin.display(description="Password")
    def password_state(self, account: User) -> str:
        state = "set" if account.has_usable_password() else "none: this account cannot sign in with a password"
        url = reverse("admin:auth_user_password_change", args=[account.pk])
        return format_html('{} · <a href="{}">Change it</a>', state, url)

    # ----- what is written

    def save_model(self, request: HttpRequest, obj: User, form: Any, change: bool) -> None:
        accounts.save_account(obj, actor_of(request))

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        actor, chosen = actor_of(request), form.cleaned_data
        if "groups" in chosen:
            accounts.set_groups(form.instance, chosen["groups"], actor)
        if "user_permissions" in chosen:
            accounts.set_permissions(form.instance, chosen["user_permissions"], actor)

    def user_change_password(self, request: HttpRequest, id: str, form_url: str = "") -> HttpResponse:  # noqa: A002 - Django's name
        """Django's page, with its write and the audit entry in one transaction; who is stronger is asked above."""
        with transaction.atomic(), audited(actor_of(request)):
            return super().user_change_password(request, id, form_url)

    def delete_model(self, request: HttpRequest, obj: User) -> None:
        accounts.deactivate(obj, actor_of(request))

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """Nothing goes: see ``delete_model``."""
        kept = [accounts.LAST_SUPERUSER for account in objs if rights.is_last_superuser(account)]
        return [str(account) for account in objs], {"accounts": len(objs)}, set(), kept

    def log_deletions(self, request: HttpRequest, queryset: Any) -> Any:
        """The audit log says what happens; Django's own would say that the account was deleted."""
        return []

    def delete_view(self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None) -> Any:
        return super().delete_view(request, object_id, {"title": "Deactivate account", **(extra_context or {})})

    def response_delete(self, request: HttpRequest, obj_display: str, obj_id: int) -> HttpResponse:
        self.message_user(request, f"{obj_display} is deactivated: keys revoked, sessions ended.", messages.SUCCESS)
        return HttpResponseRedirect(reverse("admin:index"))

    def get_actions(self, request: HttpRequest) -> Any:
        found = super().get_actions(request)
        found.pop("delete_selected", None)
        return found

    @admin.action(description="Deactivate selected accounts", permissions=["delete"])
    def deactivate_accounts(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        for account in queryset:
            try:
                accounts.deactivate(account, actor_of(request))
            except PermissionDenied as refusal:
                self.message_user(request, f"{account}: {refusal}", messages.ERROR)
            else:
                self.message_user(request, f"{account} is deactivated.", messages.SUCCESS)


class OwnerInline(admin.TabularInline):  # type: ignore[type-arg]
    """Who administers the team. A role, so superusers only."""

    model = TeamOwner
    extra = 0
    autocomplete_fields = ("user",)

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return actor_of(request).is_superuser

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return actor_of(request).is_superuser

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return actor_of(request).is_superuser

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return actor_of(request).is_superuser


class GroupAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """A group is a team, a role, a set of permissions, or all three."""

    list_display = ("name", "members", "owners")
    search_fields = ("name",)
    ordering = ("name",)
    filter_horizontal = ("permissions",)
    inlines = (OwnerInline,)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Group]:
        return super().get_queryset(request).prefetch_related("user_set", "owners__user")

    @admin.display(description="Members")
    def members(self, group: Group) -> int:
        return len(group.user_set.all())

    @admin.display(description="Owners")
    def owners(self, group: Any) -> str:
        return ", ".join(str(owner.user) for owner in group.owners.all())

    def has_change_permission(self, request: HttpRequest, obj: Group | None = None) -> bool:
        return super().has_change_permission(request, obj) and (obj is None or rights.may_give_group(obj, actor_of(request)))

    def has_delete_permission(self, request: HttpRequest, obj: Group | None = None) -> bool:
        return super().has_delete_permission(request, obj) and (obj is None or rights.may_give_group(obj, actor_of(request)))

    def formfield_for_manytomany(self, db_field: Any, request: Any, **kwargs: Any) -> Any:
        _only_givable(db_field.related_model, request, kwargs)
        return super().formfield_for_manytomany(db_field, request, **kwargs)

    def get_form(self, request: HttpRequest, obj: Group | None = None, change: bool = False, **kwargs: Any) -> Any:
        """A form class of this request, which knows whether a name is the actor's to give."""
        form: Any = super().get_form(request, obj, change, **{**kwargs, "form": GroupForm})
        form.actor = actor_of(request)
        return form

    def save_model(self, request: HttpRequest, obj: Group, form: Any, change: bool) -> None:
        accounts.save_group(obj, actor_of(request))

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        if "permissions" in form.cleaned_data:
            accounts.set_permissions(form.instance, form.cleaned_data["permissions"], actor_of(request))
        with audited(actor_of(request)):
            for formset in formsets:
                self.save_formset(request, form, formset, change=change)

    def delete_model(self, request: HttpRequest, obj: Group) -> None:
        accounts.delete_group(obj, actor_of(request))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Group]) -> None:
        for group in queryset:
            accounts.delete_group(group, actor_of(request))


class GroupForm(forms.ModelForm):  # type: ignore[type-arg]
    actor = Actor(None, is_superuser=False)

    class Meta:
        model = Group
        fields = ("name", "permissions")

    def clean_name(self) -> str:
        name: str = self.cleaned_data["name"]
        if not rights.may_give_group(Group(name=name), self.actor):
            raise ValidationError(rights.NOT_YOURS.format(f"the role “{name}”"))
        return name


def _only_givable(model: Any, request: HttpRequest, kwargs: dict[str, Any]) -> None:
    """What a form offers is what the actor has. Anything else that is sent is refused like what there is not."""
    if model is Permission:
        kwargs["queryset"] = Permission.objects.filter(rights.givable_permissions(actor_of(request))).select_related("content_type")
    elif model is Group:
        kwargs["queryset"] = Group.objects.filter(rights.givable_groups(actor_of(request)))
