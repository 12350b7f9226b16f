"""Which admin pages take the place of the libraries' own."""

from __future__ import annotations

from auditlog.models import LogEntry
from django.contrib import admin
from django.contrib.auth.models import Group, User

from aigateway.access import audit_admin, logins_admin, people_admin, schedule_admin

PAGES = {
    User: people_admin.AccountAdmin,
    Group: people_admin.GroupAdmin,
    LogEntry: audit_admin.AuditAdmin,
    **schedule_admin.PAGES,
    **logins_admin.PAGES,
}


def replace() -> None:
    """Once, when every app has registered its pages."""
    for model, page in PAGES.items():
        if admin.site.is_registered(model):
            admin.site.unregister(model)
        admin.site.register(model, page)
