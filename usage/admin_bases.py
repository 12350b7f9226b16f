"""What admin pages of several rooms are built from."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin.helpers import ActionForm
from django.core.exceptions import PermissionDenied
from django.db.models import Model
from django.http import HttpRequest

from providers.fields import DollarsOnReadOnlyPages, short_dollars
from usage.models import Caps, Enforcement


class ReasonForm(ActionForm):
    """The reason of an action that stays on record."""

    reason = forms.CharField(required=False, max_length=200, label="Reason")


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
