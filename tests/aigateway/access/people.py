"""People with exactly the rights a test names, and their browsers."""

from __future__ import annotations

from django.contrib.auth.models import Group, Permission, User
from django.test import Client
from django.urls import reverse

MODEL_BACKEND = "django.contrib.auth.backends.ModelBackend"


def permissions(*names: str) -> list[Permission]:
    """By ``app.codename``."""
    found = [Permission.objects.get(content_type__app_label=app, codename=code) for app, _, code in (name.partition(".") for name in names)]
    assert len(found) == len(names)
    return found


def staff(name: str, *names: str) -> User:
    account = User.objects.create_user(name, f"{name}@example.org", "a password of hers", is_staff=True)
    account.user_permissions.set(permissions(*names))
    return account


def group(name: str, *names: str) -> Group:
    made = Group.objects.create(name=name)
    made.permissions.set(permissions(*names))
    return made


def browser(account: User) -> Client:
    client = Client()
    client.force_login(account, MODEL_BACKEND)
    return client


def account_page(account: User) -> str:
    return reverse("admin:auth_user_change", args=[account.pk])


def account_form(account: User, **changes: object) -> dict[str, object]:
    """What the page would send for the account as it is, with changes."""
    switches = {name: "on" for name in ("is_active", "is_staff", "is_superuser") if getattr(account, name)}
    form: dict[str, object] = {
        "username": account.username,
        "email": account.email,
        "first_name": account.first_name,
        "last_name": account.last_name,
        "groups": [*account.groups.values_list("pk", flat=True)],
        "user_permissions": [*account.user_permissions.values_list("pk", flat=True)],
        **switches,
        **changes,
    }
    return {name: value for name, value in form.items() if value is not None}
