"""Admin pages of logins and failed logins: records, to be read. Forgetting failures unlocks, and asks for the permission to delete."""

from __future__ import annotations

from typing import Any, ClassVar, Final

from axes.models import AccessAttempt, AccessFailureLog, AccessLog
from django.contrib import admin, messages
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest

from providers.audit import Actor, audited, record


class LoginRecordAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    list_display: tuple[str, ...] = ("attempt_time", "username", "ip_address", "path_info")
    fields: ClassVar[tuple[str, ...]] = ("attempt_time", "username", "ip_address", "user_agent", "path_info")
    search_fields = ("username", "ip_address")
    date_hierarchy = "attempt_time"

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class AccessAttemptAdmin(LoginRecordAdmin):
    list_display = (*LoginRecordAdmin.list_display, "failures_since_start")
    fields = (*LoginRecordAdmin.fields, "failures_since_start")
    actions = ("forget",)

    def has_forget_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.has_perm("axes.delete_accessattempt"))

    @admin.action(description="Forget these failures (unlocks)", permissions=["forget"])
    def forget(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        with transaction.atomic(), audited(Actor.of(request.user)):
            for attempt in queryset:
                record(attempt, {"failures_since_start": [str(attempt.failures_since_start), "forgotten"]})
                attempt.delete()
        self.message_user(request, "Forgotten.", messages.SUCCESS)


PAGES: Final = {AccessAttempt: AccessAttemptAdmin, AccessLog: LoginRecordAdmin, AccessFailureLog: LoginRecordAdmin}
