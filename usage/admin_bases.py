"""What admin pages of several rooms are built from."""

from __future__ import annotations

from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.contrib.admin.helpers import ActionForm
from django.core.exceptions import PermissionDenied
from django.db.models import Model, Q, QuerySet
from django.http import Http404, HttpRequest

from providers.fields import DollarsOnReadOnlyPages, short_dollars
from usage.models import Caps, Enforcement
from usage.teams import owned_teams


class ReasonForm(ActionForm):
    """The reason of an action that stays on record."""

    reason = forms.CharField(required=False, max_length=200, label="Reason")


class TeamAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """A page that owners of teams see as well: the rows of their teams, without any model permission.

    What is not theirs is absent for them: the same 404.
    """

    owners_may: ClassVar[frozenset[str]] = frozenset({"view"})

    def within(self, teams_owned: frozenset[int]) -> Q:
        """A condition on rows: those that belong to these teams."""
        raise TypeError(f"{type(self).__name__} does not say which rows belong to a team")

    def has_module_permission(self, request: HttpRequest) -> bool:
        return super().has_module_permission(request) or self._is_owner(request)

    def has_view_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return super().has_view_permission(request, obj) or self._owner_may("view", request, obj)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return super().has_add_permission(request) or self._owner_may("add", request)

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return super().has_change_permission(request, obj) or self._owner_may("change", request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return super().has_delete_permission(request, obj) or self._owner_may("delete", request, obj)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        rows = super().get_queryset(request)
        return rows if self._sees_all(request) else rows.filter(self.within(owned_teams(request.user)))

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        found = super().get_object(request, object_id, from_field)
        if found is None and self._is_owner(request) and not self._sees_all(request):
            raise Http404
        return found

    def _sees_all(self, request: HttpRequest) -> bool:
        """By model permissions, which know no teams."""
        return super().has_view_permission(request)

    def _is_owner(self, request: HttpRequest) -> bool:
        return bool(request.user.is_staff and owned_teams(request.user))

    def _owner_may(self, verb: str, request: HttpRequest, obj: Model | None = None) -> bool:
        if verb not in self.owners_may or not request.user.is_staff or not (owned := owned_teams(request.user)):
            return False
        return obj is None or self.model._default_manager.filter(self.within(owned), pk=obj.pk).exists()


class RecordAdmin(DollarsOnReadOnlyPages, admin.ModelAdmin):  # type: ignore[type-arg]
    """What happened: to be read and filtered, by nobody to be changed."""

    show_full_result_count = False
    list_per_page = 50

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


class FinanceAdmin(DollarsOnReadOnlyPages, admin.ModelAdmin):  # type: ignore[type-arg]
    """Shown to everybody who may view the ledger, which is what its files hold."""

    def has_view_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return bool(request.user.has_perm("usage.view_ledgerentry"))

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    def require_view(self, request: HttpRequest) -> None:
        if not self.has_view_permission(request):
            raise PermissionDenied


class PairsField(forms.CharField):
    """Names and what they mean, one ``name = meaning`` a line."""

    widget = forms.Textarea(attrs={"rows": 4})

    def clean(self, value: Any) -> dict[str, str]:
        pairs: dict[str, str] = {}
        for line in super().clean(value).splitlines():
            if not line.strip():
                continue
            name, sign, meaning = (part.strip() for part in line.partition("="))
            if not sign or not name or not meaning or name in pairs:
                raise forms.ValidationError(f"“{line.strip()}” is not a new name, an equals sign and its meaning.")
            pairs[name] = meaning
        return pairs


def shown_caps(caps: Caps) -> str:
    """What a budget allows, for people."""
    money = None if caps.cap_nano is None else f"${short_dollars(caps.cap_nano)}" if caps.cap_nano else "0 — blocks paid use"
    tokens = None if caps.cap_tokens is None else f"{caps.cap_tokens:,} tokens"
    requests = None if caps.cap_requests is None else f"{caps.cap_requests:,} requests"
    shown = ", ".join(cap for cap in (money, tokens, requests) if cap is not None)
    warns = "warn only" if caps.enforcement == Enforcement.WARN else ""
    forgives = "" if caps.charge_failed_attempts else "failed attempts not charged"
    rules = ", ".join(rule for rule in (warns, forgives) if rule)
    return f"{shown} ({rules})" if rules else shown
