"""Admin pages of the beat schedule, instead of the library's: there, whoever sees a task runs it, and any code can be scheduled."""

from __future__ import annotations

from typing import Final

from celery import current_app
from django import forms
from django.contrib import admin, messages
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest
from django_celery_beat.models import ClockedSchedule, CrontabSchedule, IntervalSchedule, PeriodicTask, SolarSchedule
from kombu.exceptions import OperationalError

from aigateway.schedules import SCHEDULES
from providers.audit import Actor, audited, record

KNOWN: Final = sorted({row.task for row in SCHEDULES})
"""Tasks without arguments that do no harm when they run once more."""


class TaskForm(forms.ModelForm):  # type: ignore[type-arg]
    task = forms.ChoiceField(choices=[(name, name) for name in KNOWN], help_text="What is done. Each may run at any time, also twice.")


class PeriodicTaskAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Only known tasks, without arguments, queues or headers of one's own. Every action asks for the permission to change."""

    form = TaskForm
    list_display = ("name", "task", "enabled", "scheduler", "last_run_at")
    list_filter = ("enabled", "task")
    search_fields = ("name", "task")
    list_select_related = ("interval", "crontab", "solar", "clocked")
    fields = ("name", "task", "enabled", "description", "interval", "crontab", "solar", "clocked", "one_off", "start_time",
              "expire_seconds", "last_run_at")  # fmt: skip
    readonly_fields = ("last_run_at",)
    actions = ("enable", "disable", "run")

    @admin.action(description="Enable", permissions=["change"])
    def enable(self, request: HttpRequest, queryset: QuerySet[PeriodicTask]) -> None:
        self._switch(request, queryset, True)

    @admin.action(description="Disable", permissions=["change"])
    def disable(self, request: HttpRequest, queryset: QuerySet[PeriodicTask]) -> None:
        self._switch(request, queryset, False)

    @admin.action(description="Run now", permissions=["change"])
    def run(self, request: HttpRequest, queryset: QuerySet[PeriodicTask]) -> None:
        for row in queryset:
            if row.task not in KNOWN:
                self.message_user(request, f"{row.name}: {row.task} is not a known task.", messages.ERROR)
                continue
            with transaction.atomic(), audited(Actor.of(request.user)):
                record(row, {"run": ["", "by hand"]})
            self._send(request, row)

    def _send(self, request: HttpRequest, row: PeriodicTask) -> None:
        try:
            current_app.send_task(row.task, retry=False)
        except (OperationalError, OSError):
            self.message_user(request, f"{row.name}: no worker can be reached now.", messages.ERROR)
        else:
            self.message_user(request, f"{row.name}: a worker was told.", messages.SUCCESS)

    def _switch(self, request: HttpRequest, queryset: QuerySet[PeriodicTask], enabled: bool) -> None:
        with transaction.atomic(), audited(Actor.of(request.user)):
            for row in queryset:
                row.enabled = enabled
                row.save()
        self.message_user(request, f"{len(queryset)} {'enabled' if enabled else 'disabled'}.", messages.SUCCESS)


class ScheduleAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """When tasks run. Deleting a schedule deletes its tasks, so it asks for both permissions."""


PAGES: Final = {
    PeriodicTask: PeriodicTaskAdmin,
    IntervalSchedule: ScheduleAdmin,
    CrontabSchedule: ScheduleAdmin,
    SolarSchedule: ScheduleAdmin,
    ClockedSchedule: ScheduleAdmin,
}
