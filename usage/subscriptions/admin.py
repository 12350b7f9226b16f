"""Admin pages of entitlements. Every write goes through ``usage.subscriptions``."""

from __future__ import annotations

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from usage.models import Entitlement
from usage.subscriptions.actions import delete_entitlement, save_entitlement


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
        save_entitlement(obj)

    def delete_model(self, request: HttpRequest, obj: Entitlement) -> None:
        delete_entitlement(obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Entitlement]) -> None:
        for entitlement in queryset:
            delete_entitlement(entitlement)
