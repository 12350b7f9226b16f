"""Admin pages of sign-ins and external identities."""

from __future__ import annotations

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest

from aigateway.models import ExternalIdentity, SignIn
from aigateway.signin import standing


@admin.register(SignIn)
class SignInAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Superusers see everybody's and end them; nobody writes them."""

    list_display = ("user", "kind", "method", "address", "device", "signed_in_at", "seen_at", "ended_at")
    list_filter = ("kind", "method", ("ended_at", admin.EmptyFieldListFilter))
    search_fields = ("user__username", "address")
    list_select_related = ("user",)
    fields = list_display
    actions = ("end_selected",)

    def has_module_permission(self, request: HttpRequest) -> bool:
        return request.user.is_active and request.user.is_superuser

    def has_view_permission(self, request: HttpRequest, obj: SignIn | None = None) -> bool:
        return request.user.is_active and request.user.is_superuser

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: SignIn | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: SignIn | None = None) -> bool:
        return False

    def has_end_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    @admin.action(description="End selected sign-ins", permissions=["end"])
    def end_selected(self, request: HttpRequest, queryset: QuerySet[SignIn]) -> None:
        live = [*queryset.filter(ended_at=None)]
        for sign_in in live:
            standing.end(sign_in, "ended by an administrator")
        self.message_user(request, f"{len(live)} ended.", messages.SUCCESS)


@admin.register(ExternalIdentity)
class ExternalIdentityAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Who links an identity to an account gives the account away, so only superusers do. Links are made and deleted, not bent."""

    list_display = ("user", "issuer", "subject", "created_at")
    search_fields = ("user__username", "subject")
    list_select_related = ("user",)
    autocomplete_fields = ("user",)
    fields = ("user", "issuer", "subject")

    def has_module_permission(self, request: HttpRequest) -> bool:
        return request.user.is_active and request.user.is_superuser

    has_add_permission = has_module_permission

    def has_view_permission(self, request: HttpRequest, obj: ExternalIdentity | None = None) -> bool:
        return self.has_module_permission(request)

    def has_delete_permission(self, request: HttpRequest, obj: ExternalIdentity | None = None) -> bool:
        return self.has_module_permission(request)

    def has_change_permission(self, request: HttpRequest, obj: ExternalIdentity | None = None) -> bool:
        return False

    def delete_model(self, request: HttpRequest, obj: ExternalIdentity) -> None:
        super().delete_model(request, obj)
        standing.end_everything(obj.user, "an external identity was removed")

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[ExternalIdentity]) -> None:
        for identity in queryset.select_related("user"):
            self.delete_model(request, identity)
