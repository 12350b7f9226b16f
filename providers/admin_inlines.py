"""What admin pages show inside other pages, and the words they show it in."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.forms.models import BaseInlineFormSet
from django.http import HttpRequest
from django.utils.html import format_html

from providers.admin_bases import ReadOnlyInline
from providers.catalog import CHOICES, KINDS
from providers.fields import short_dollars
from providers.models import ConformanceResult, Deployment, ManagedPreset
from providers.registry import current_price_fields
from providers.upstream.types import HealthStatus

MODELS_SHOWN = 25
_PRESET_KINDS = [(slug, label) for slug, label in CHOICES if KINDS[slug].preset is None]


def badge(status: str, text: str) -> str:
    """A coloured word; the word carries the meaning, the colour helps."""
    return format_html('<span class="badge badge-{}">{}</span>', status, text)


def price_text(input_nano: int | None, output_nano: int | None) -> str:
    if input_nano is None or output_nano is None:
        return badge(HealthStatus.YELLOW, "no price")
    return f"${short_dollars(input_nano)} / ${short_dollars(output_nano)}"


class FirstModels(BaseInlineFormSet):  # type: ignore[type-arg]
    """A provider may have a thousand models; its page shows some, the model list shows all."""

    def get_queryset(self) -> Any:
        if not hasattr(self, "_queryset"):
            self._queryset = super().get_queryset()[:MODELS_SHOWN]
        return self._queryset


class DeploymentInline(ReadOnlyInline):
    model = Deployment
    formset = FirstModels
    show_change_link = True
    fields = ("display_name", "upstream_model", "price", "max_output_tokens", "enabled")
    readonly_fields = fields
    verbose_name_plural = f"models (the first {MODELS_SHOWN})"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return current_price_fields(super().get_queryset(request))

    @admin.display(description="Price per million tokens, in / out")
    def price(self, deployment: Any) -> str:
        return price_text(deployment.price_input, deployment.price_output)


class ConformanceInline(ReadOnlyInline):
    """What the latest conformance run found."""

    model = ConformanceResult
    verbose_name_plural = "conformance"
    fields = ("check_name", "shown", "message", "checked_at")
    readonly_fields = fields

    @admin.display(description="Result")
    def shown(self, result: ConformanceResult) -> str:
        colours = {"ok": HealthStatus.GREEN, "failed": HealthStatus.RED}
        return badge(colours.get(result.result, HealthStatus.UNKNOWN), result.result)


class PresetForm(forms.ModelForm):  # type: ignore[type-arg]
    upstream_kind = forms.ChoiceField(choices=_PRESET_KINDS, initial="mistral", help_text="The kind of service behind it.")

    class Meta:
        model = ManagedPreset
        fields = ("upstream_kind", "required_tier", "system_prompt", "temperature")


class PresetInline(admin.StackedInline):  # type: ignore[type-arg]
    """Superusers only: a preset decides where the provider's key goes and who may use it."""

    model = ManagedPreset
    form = PresetForm
    extra = 0
    max_num = 1
    classes = ("collapse",)
    verbose_name_plural = "managed preset"

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.is_active and request.user.is_superuser

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.is_active and request.user.is_superuser

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.is_active and request.user.is_superuser

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.is_active and request.user.is_superuser
