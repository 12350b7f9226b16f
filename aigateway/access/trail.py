"""What the audit log keeps of accounts, groups and the schedule, whatever wrote it: a page, a key, a command or a task."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from auditlog.registry import auditlog
from django.contrib.auth.models import Group, Permission, User
from django.db import models
from django.db.models.signals import m2m_changed
from django_celery_beat.models import ClockedSchedule, CrontabSchedule, IntervalSchedule, PeriodicTask, SolarSchedule

from providers import audit

ACCOUNT_FIELDS: Final = ("username", "first_name", "last_name", "email", "is_active", "is_staff", "is_superuser", "password", "date_joined")
TASK_FIELDS: Final = (
    "name", "task", "enabled", "interval", "crontab", "solar", "clocked", "args", "kwargs", "queue", "exchange", "routing_key", "headers",
    "priority", "expires", "expire_seconds", "one_off", "start_time", "description",
)  # fmt: skip
"""What people decide about a task; when it last ran is the scheduler's."""

_LISTS: Final[dict[type[models.Model], str]] = {
    User.groups.through: "groups",
    User.user_permissions.through: "user_permissions",
    Group.permissions.through: "permissions",
}


def register() -> None:
    """Once, at start. Of a password the log keeps that it changed."""
    auditlog.register(User, include_fields=[*ACCOUNT_FIELDS], mask_fields=["password"], mask_callable="providers.audit.hidden")
    auditlog.register(Group, include_fields=["name"])
    auditlog.register(PeriodicTask, include_fields=[*TASK_FIELDS])
    auditlog.register(IntervalSchedule, include_fields=["every", "period"])
    auditlog.register(CrontabSchedule, include_fields=["minute", "hour", "day_of_week", "day_of_month", "month_of_year", "timezone"])
    auditlog.register(SolarSchedule, include_fields=["event", "latitude", "longitude"])
    auditlog.register(ClockedSchedule, include_fields=["clocked_time"])
    for through in _LISTS:
        m2m_changed.connect(note_list, sender=through, dispatch_uid="aigateway.access.trail")


def note_list(sender: Any, instance: Any, action: str, reverse: bool, model: Any, pk_set: Any, **_: Any) -> None:
    """Receiver: one entry per account or group whose list of groups or permissions changes, with the list before and after."""
    if action not in ("post_add", "post_remove", "pre_clear") or (action != "pre_clear" and not pk_set):
        return
    name = _LISTS[sender]
    owners = _owners(instance, reverse, model, pk_set, name)
    for owner in owners:
        now = {*getattr(owner, name).values_list("pk", flat=True)}
        changed = {instance.pk} if reverse else now if pk_set is None else {*pk_set}
        before, after = {
            "post_add": (now - changed, now),
            "post_remove": (now | changed, now),
            "pre_clear": (now, now - changed),
        }[action]
        if before != after:
            listed = Permission if name != "groups" else Group
            audit.record(owner, {name: [_names(listed, before), _names(listed, after)]})


def _owners(instance: Any, reverse: bool, model: Any, pk_set: Any, name: str) -> Iterable[Any]:
    if not reverse:
        return [instance]
    found: Iterable[Any] = model.objects.filter(**({name: instance.pk} if pk_set is None else {"pk__in": pk_set}))
    return found


def _names(listed: type[models.Model], ids: set[int]) -> str:
    if listed is Permission:
        rows = Permission.objects.filter(pk__in=ids).select_related("content_type")
        return ", ".join(sorted(f"{row.content_type.app_label}.{row.codename}" for row in rows))
    return ", ".join(sorted(Group.objects.filter(pk__in=ids).values_list("name", flat=True)))
