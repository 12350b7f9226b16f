"""Admin pages of the audit log, instead of the library's: to be read, with a button that puts a change back."""

from __future__ import annotations

from typing import Any

from auditlog.filters import CIDFilter, ResourceTypeFilter
from auditlog.mixins import LogEntryAdminMixin
from auditlog.models import LogEntry
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Model
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.urls import URLPattern, path, reverse

from aigateway.access.rollback import CannotPutBack, page_row, put_back
from providers.audit import BY, Actor


class AuditAdmin(admin.ModelAdmin, LogEntryAdminMixin):  # type: ignore[misc, type-arg]
    """Nobody changes or deletes an entry. Putting back is a new change, by someone who may make it."""

    date_hierarchy = "timestamp"
    list_select_related = ("content_type", "actor")
    list_display = ("created", "resource_url", "action", "msg_short", "who")
    search_fields = ("object_repr", "changes", "actor__username")
    list_filter = ("action", ResourceTypeFilter, CIDFilter)
    readonly_fields = ("created", "resource_url", "action", "who", "request_id", "remote_addr", "msg")
    fieldsets = (
        (None, {"fields": ("created", "who", "resource_url", "request_id", "remote_addr")}),
        ("Changes", {"fields": ("action", "msg")}),
    )

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    @admin.display(description="Who")
    def who(self, entry: LogEntry) -> str:
        """The person, and the way if it was no page."""
        by = (entry.additional_data or {}).get(BY, "")
        name = str(entry.actor) if entry.actor else ""
        return f"{name} ({by})" if name and by else name or by or "system"

    @admin.display(description="Request ID")
    def request_id(self, entry: LogEntry) -> str:
        return entry.cid or ""

    # ----- putting back

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.put_back_view)
        return [path("<int:pk>/put-back/", view, name="auditlog_logentry_put_back"), *super().get_urls()]

    def change_view(self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None) -> Any:
        entry = self.get_object(request, object_id)
        context = {**(extra_context or {}), "can_put_back": entry is not None and self._may_put_back(request, entry)}
        return super().change_view(request, object_id, form_url, context)

    def put_back_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        entry = get_object_or_404(self.get_queryset(request), pk=pk)
        here = HttpResponseRedirect(reverse("admin:auditlog_logentry_change", args=[pk]))
        if not self.has_view_permission(request, entry):
            raise PermissionDenied
        try:
            if not self._may_change(request, page_row(entry)):
                raise PermissionDenied
            row = put_back(entry, Actor.of(request.user))
        except CannotPutBack as refusal:
            self.message_user(request, str(refusal), messages.ERROR)
            return here
        self.message_user(request, f"{row} is as it was before.", messages.SUCCESS)
        return here

    def _may_put_back(self, request: HttpRequest, entry: LogEntry) -> bool:
        try:
            return self._may_change(request, page_row(entry))
        except CannotPutBack:
            return False

    def _may_change(self, request: HttpRequest, row: Model) -> bool:
        """What the row's own page would allow."""
        page = self.admin_site._registry.get(type(row))
        return page is not None and page.has_change_permission(request, row)
