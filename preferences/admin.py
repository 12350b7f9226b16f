"""Preferences in the admin: support looks at them and mends them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.contrib import admin
from django.db import transaction
from django.db.models import QuerySet
from django.forms import ModelForm
from django.http import HttpRequest

from preferences import actions
from preferences.models import Preference

if TYPE_CHECKING:
    _Admin = admin.ModelAdmin[Preference]
else:
    _Admin = admin.ModelAdmin


@admin.register(Preference)
class PreferenceAdmin(_Admin):
    list_display = ("user", "context", "deployment", "updated_at")
    list_filter = ("context", "deployment__provider")
    list_select_related = ("user", "deployment__provider")
    search_fields = ("user__username", "context", "deployment__name")
    raw_id_fields = ("user",)

    def get_readonly_fields(self, request: HttpRequest, obj: Preference | None = None) -> tuple[str, ...]:
        return ("user", "context") if obj is not None else ()

    def save_model(self, request: HttpRequest, obj: Preference, form: ModelForm[Preference], change: bool) -> None:
        super().save_model(request, obj, form, change)
        actions.announce(obj.user_id)

    def delete_model(self, request: HttpRequest, obj: Preference) -> None:
        user_id = obj.user_id
        super().delete_model(request, obj)
        actions.announce(user_id)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Preference]) -> None:
        user_ids = sorted(set(queryset.values_list("user_id", flat=True)))
        with transaction.atomic():
            super().delete_queryset(request, queryset)
            for user_id in user_ids:
                actions.announce(user_id)
