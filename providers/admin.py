"""Admin pages of providers, models, prices and routes. Every write goes through ``actions``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import Count, Model, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.timesince import timesince

from providers import actions, discovery, health, presets
from providers.admin_bases import RuleForm
from providers.admin_inlines import ConformanceInline, DeploymentInline, PresetInline, badge, price_text
from providers.audit import Actor
from providers.credentials import is_elsewhere
from providers.fields import DollarsOnReadOnlyPages
from providers.forms import DeploymentForm, ProviderForm, RouteForm
from providers.models import Deployment, HealthCheck, Provider, Route, RouteTarget, RoutingConfiguration
from providers.prices import actions as price_actions
from providers.prices.admin import NewPriceInline, PriceHistoryInline
from providers.registry import current_price_fields, kind_of, provider_spec
from providers.upstream.errors import UpstreamError
from providers.upstream.types import HealthStatus


def actor_of(request: HttpRequest) -> Actor:
    return Actor.of(request.user)


class RuledAdmin(DollarsOnReadOnlyPages, admin.ModelAdmin):  # type: ignore[type-arg]
    """Gives its form the person who asks, so that the form shows what that person may do."""

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> type[forms.ModelForm[Any]]:
        form = super().get_form(request, obj, change, **kwargs)
        if issubclass(form, RuleForm):
            form.actor = actor_of(request)
        return form


# --------------------------------------------------------------------------- providers


@admin.register(Provider)
class ProviderAdmin(RuledAdmin):
    form = ProviderForm
    inlines = (DeploymentInline, PresetInline)
    list_display = ("label", "kind_label", "colour", "key_state", "models", "priority", "in_service")
    list_filter = ("enabled", "health")
    search_fields = ("label", "slug")
    ordering = ("priority", "label", "pk")
    actions = ("check_now", "import_now", "share_names", "enable", "disable")
    readonly_fields = ("status", "slug", "stored_key")

    class Media:
        js = ("aigateway/provider_form.js",)

    # ----- what is shown

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        kept = super().get_queryset(request).filter(deleted_at=None)
        counted: QuerySet[Any] = kept.prefetch_related("credentials").annotate(models_count=Count("deployments"))
        return counted

    def get_fieldsets(self, request: HttpRequest, obj: Provider | None = None) -> Any:
        is_superuser = actor_of(request).is_superuser
        simple = ["kind", "label"]
        if is_superuser:
            simple += ["base_url", "api_key", *(["stored_key"] if obj else [])]
        simple += [] if obj else ["share_names"]
        advanced = [
            "priority",
            "weight",
            "discount_percent",
            "disconnect_policy",
            *(["allow_private", "ca_bundle"] if is_superuser else []),
        ]
        limits = ["connect_timeout_s", "first_byte_timeout_s", "idle_timeout_s", "total_timeout_s", "max_connections"]
        return [
            (None, {"fields": [*(["status"] if obj else []), *simple, "enabled"]}),
            ("Advanced", {"classes": ["collapse"], "fields": [*(["slug"] if obj else []), *advanced, *limits]}),
        ]

    def get_inlines(self, request: HttpRequest, obj: Provider | None) -> Any:
        if obj is None:
            return ()
        return self.inlines if kind_of(obj).preset is not None else (DeploymentInline,)

    @admin.display(description="Kind", ordering="kind")
    def kind_label(self, provider: Provider) -> str:
        return kind_of(provider).label

    @admin.display(description="Health", ordering="health")
    def colour(self, provider: Provider) -> str:
        if provider.health_checked_at is None:
            return badge(HealthStatus.UNKNOWN, "not checked")
        latency = "" if provider.health_latency_ms is None else f"{provider.health_latency_ms:.0f} ms, "
        age = timesince(provider.health_checked_at, depth=1)
        return format_html('{} <span class="quiet">{}{} ago</span>', badge(provider.health, provider.health), latency, age)

    @admin.display(description="Health")
    def status(self, provider: Provider) -> str:
        return format_html("{} {}", self.colour(provider), provider.health_detail)

    @admin.display(description="Key")
    def key_state(self, provider: Provider) -> str:
        spec = provider_spec(provider)
        if spec.credential_locked:
            return badge(HealthStatus.RED, "needs key")
        if spec.credentials:
            return badge(HealthStatus.GREEN, "stored")
        return badge(HealthStatus.RED, "needs key") if spec.needs_credential else badge(HealthStatus.UNKNOWN, "not needed")

    @admin.display(description="Stored key")
    def stored_key(self, provider: Provider) -> str:
        credential = next(iter(provider.credentials.all()), None)
        if credential is None:
            return "none"
        shown = format_html(
            "{}<code>{}</code> (fingerprint), stored {} ago{}",
            f"…{credential.last4} " if credential.last4 else "",
            credential.fingerprint,
            timesince(credential.created_at, depth=1),
            f" for {credential.origin}" if credential.origin else "",
        )
        if not provider_spec(provider).credential_locked:
            return shown
        locked = badge(HealthStatus.RED, "needs key")
        if is_elsewhere(provider, credential):
            return format_html("{} {} It goes to that address only: enter the key for the address above.", shown, locked)
        return format_html("{} {} The key ring cannot open it: restore the ring or enter the key again.", shown, locked)

    @admin.display(description="Models", ordering="models_count")
    def models(self, provider: Any) -> str:
        url = reverse("admin:providers_deployment_changelist")
        return format_html('<a href="{}?provider__id__exact={}">{}</a>', url, provider.pk, provider.models_count)

    @admin.display(description="Enabled", boolean=True, ordering="enabled")
    def in_service(self, provider: Provider) -> bool:
        return provider.enabled

    # ----- what is written

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        actor = actor_of(request)
        if not change:
            actions.create_provider(obj, actor, form.secret)
            # After the commit: no network inside the admin's transaction.
            transaction.on_commit(lambda: self._import(request, obj, shares_names=form.cleaned_data["share_names"]))
            return
        actions.update_provider(obj, actor, form.secret)

    def save_formset(self, request: HttpRequest, form: Any, formset: Any, change: bool) -> None:
        for preset in formset.save(commit=False):
            presets.save_preset(preset, actor_of(request))
        for preset in formset.deleted_objects:
            presets.delete_preset(preset, actor_of(request))

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        actions.delete_provider(obj.pk, actor_of(request))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        for provider in queryset:
            actions.delete_provider(provider.pk, actor_of(request))

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """Nothing else goes: the provider leaves service and its keys are destroyed; models and history stay in the records."""
        return [str(provider) for provider in objs], {"providers": len(objs)}, set(), []

    # ----- buttons and actions

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view
        return [
            path("<int:pk>/check/", view(self._button(self._check)), name="provider-check"),
            path("<int:pk>/import/", view(self._button(self._import)), name="provider-import"),
            *super().get_urls(),
        ]

    def _button(self, work: Callable[[HttpRequest, Provider], None]) -> Callable[[HttpRequest, int], HttpResponse]:
        """A view that does ``work`` on POST by someone who may change the provider and returns to its page."""

        def press(request: HttpRequest, pk: int) -> HttpResponse:
            if request.method != "POST":
                return HttpResponseNotAllowed(["POST"])
            provider = get_object_or_404(self.get_queryset(request), pk=pk)
            if not self.has_change_permission(request, provider):
                raise PermissionDenied
            work(request, provider)
            return HttpResponseRedirect(reverse("admin:providers_provider_change", args=[pk]))

        return press

    def _check(self, request: HttpRequest, provider: Provider) -> None:
        outcome = health.check(provider)
        level = messages.SUCCESS if outcome.status is HealthStatus.GREEN else messages.WARNING
        latency = "" if outcome.latency_ms is None else f" ({outcome.latency_ms:.0f} ms)"
        self.message_user(request, f"{provider}: {outcome.status.value}{latency}. {outcome.detail}", level)

    def _import(self, request: HttpRequest, provider: Provider, *, shares_names: bool = False) -> None:
        try:
            report = discovery.import_from_provider(provider.pk, actor_of(request), shares_names=shares_names)
        except UpstreamError as error:
            _, sentence = health.advice_for(error)
            self.message_user(request, f"{provider}: no models imported. {sentence}", messages.WARNING)
            return
        needs_a_look = report.unpriced or report.refused or report.address_only
        self.message_user(request, f"{provider}: {report.summary}.", messages.WARNING if needs_a_look else messages.SUCCESS)

    @admin.action(description="Check health now", permissions=["change"])
    def check_now(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        outcomes = health.check_many(queryset)
        for provider in queryset:
            outcome = outcomes[provider.pk]
            level = messages.SUCCESS if outcome.status is HealthStatus.GREEN else messages.WARNING
            self.message_user(request, f"{provider}: {outcome.status.value}. {outcome.detail}", level)

    @admin.action(description="Import models and prices", permissions=["change"])
    def import_now(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        for provider in queryset:
            self._import(request, provider)

    @admin.action(description="Share model names with other providers (fail-over)", permissions=["change"])
    def share_names(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        for provider in queryset:
            shared = actions.share_names(provider.pk, actor_of(request))
            self.message_user(request, f"{provider}: answers for {len(shared)} more names.", messages.SUCCESS)

    @admin.action(description="Enable", permissions=["change"])
    def enable(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        for provider in queryset:
            actions.toggle_provider(provider.pk, True, actor_of(request))

    @admin.action(description="Disable", permissions=["change"])
    def disable(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        for provider in queryset:
            actions.toggle_provider(provider.pk, False, actor_of(request))


# --------------------------------------------------------------------------- models and prices


@admin.register(Deployment)
class DeploymentAdmin(RuledAdmin):
    form = DeploymentForm
    inlines = (NewPriceInline, PriceHistoryInline, ConformanceInline)
    list_display = ("name", "provider", "price", "context_window_tokens", "max_output_tokens", "recommended", "enabled")
    list_select_related = ("provider",)
    list_filter = ("provider", "enabled", "recommended")
    search_fields = ("name", "display_name", "upstream_model", "provider__label", "provider__slug")
    actions = ("enable", "disable")
    fieldsets = (
        (None, {"fields": ("provider", "name", "upstream_model", "display_name", "description", "enabled", "recommended", "address_only")}),
        ("Abilities and limits", {"fields": ("capabilities", "max_output_tokens", "context_window_tokens")}),
        ("Without a price", {"classes": ["collapse"], "fields": ("unpriced_ceiling_nano",)}),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return current_price_fields(super().get_queryset(request).filter(provider__deleted_at=None))

    def get_readonly_fields(self, request: HttpRequest, obj: Deployment | None = None) -> tuple[str, ...]:
        return ("provider",) if obj else ()

    def has_delete_permission(self, request: HttpRequest, obj: Deployment | None = None) -> bool:
        """A model is disabled, not deleted: preferences and records refer to it."""
        return False

    @admin.display(description="Price per million tokens, in / out", ordering="price_input")
    def price(self, deployment: Any) -> str:
        return price_text(deployment.price_input, deployment.price_output)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        actions.save_deployment(obj, actor_of(request))

    def save_formset(self, request: HttpRequest, form: Any, formset: Any, change: bool) -> None:
        for price in formset.save(commit=False):
            price_actions.set_price(price, actor_of(request))

    @admin.action(description="Enable", permissions=["change"])
    def enable(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        self._switch(request, queryset, True)

    @admin.action(description="Disable", permissions=["change"])
    def disable(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        self._switch(request, queryset, False)

    def _switch(self, request: HttpRequest, queryset: QuerySet[Any], enabled: bool) -> None:
        actions.toggle_deployments([row.pk for row in queryset], enabled, actor_of(request))
        self.message_user(request, f"{len(queryset)} models {'enabled' if enabled else 'disabled'}.", messages.SUCCESS)


# --------------------------------------------------------------------------- routes and routing


class RouteTargetInline(admin.TabularInline):  # type: ignore[type-arg]
    model = RouteTarget
    extra = 0
    fields = ("deployment", "priority", "weight")
    autocomplete_fields = ("deployment",)

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return _may(request, "change", Route) or _may(request, "add", Route)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return _may(request, "change", Route)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return _may(request, "change", Route)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return _may(request, "view", Route) or _may(request, "change", Route)


def _may(request: HttpRequest, verb: str, model: type[Model]) -> bool:
    return isinstance(request.user, User) and request.user.has_perm(f"{model._meta.app_label}.{verb}_{model._meta.model_name}")


@admin.register(Route)
class RouteAdmin(RuledAdmin):
    form = RouteForm
    inlines = (RouteTargetInline,)
    list_display = ("name", "policy_label", "targets", "enabled")
    search_fields = ("name",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).prefetch_related("choices__deployment__provider")

    @admin.display(description="Policy", ordering="policy")
    def policy_label(self, route: Route) -> str:
        return route.get_policy_display() if route.policy else "global"

    @admin.display(description="Targets, the first tried first")
    def targets(self, route: Route) -> str:
        return " → ".join(str(choice.deployment) for choice in route.choices.all()) or "none"

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        actions.save_route(obj, actor_of(request))

    def save_formset(self, request: HttpRequest, form: Any, formset: Any, change: bool) -> None:
        kept = formset.save(commit=False)
        actions.save_route_choices(kept, formset.deleted_objects, actor_of(request))

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        actions.delete_route(obj, actor_of(request))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        for route in queryset:
            actions.delete_route(route, actor_of(request))


@admin.register(RoutingConfiguration)
class RoutingConfigurationAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """One row. Looking at it writes nothing: until it is saved, the page shows the defaults."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        return HttpResponseRedirect(reverse("admin:providers_routingconfiguration_change", args=[1]))

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        if object_id != "1":
            return None
        return RoutingConfiguration.objects.filter(pk=1).first() or RoutingConfiguration(pk=1)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        actions.update_routing_configuration(obj, actor_of(request))


@admin.register(HealthCheck)
class HealthCheckAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """History of probes, to look at."""

    list_display = ("checked_at", "provider", "coloured_status", "latency", "http_status", "detail")
    list_filter = ("status", "provider")
    list_select_related = ("provider",)
    date_hierarchy = "checked_at"
    list_display_links = None

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    @admin.display(description="Status", ordering="status")
    def coloured_status(self, check: HealthCheck) -> str:
        return badge(check.status, check.status)

    @admin.display(description="Latency", ordering="latency_ms")
    def latency(self, check: HealthCheck) -> str:
        return "" if check.latency_ms is None else f"{check.latency_ms:.0f} ms"
