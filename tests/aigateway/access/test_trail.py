"""The audit log: who changed what, before and after, whatever the way."""

from __future__ import annotations

import ast
from collections.abc import Callable
from contextlib import contextmanager
from io import StringIO

import pytest
from auditlog.context import auditlog_value
from auditlog.models import LogEntry
from auditlog.registry import auditlog
from django.contrib.auth.models import Group, User
from django.core.management import call_command
from django.db import DatabaseError
from django.db.models.signals import pre_save
from django.test import Client
from django.urls import reverse
from django_celery_beat.models import IntervalSchedule, PeriodicTask
from rest_framework.test import APIClient

from aigateway.access import accounts
from aigateway.celery import app
from preferences.models import Preference
from providers import actions, audit
from providers.audit import SYSTEM, Actor
from providers.models import Deployment, Provider, Route
from tests.aigateway.access.people import account_form, account_page, browser, group, permissions, staff
from tests.architecture import source
from usage.budgets import set_account, set_budget
from usage.budgets.actions import Limits
from usage.keys import create_api_key
from usage.limits import set_rate_limit
from usage.models import Budget, Entitlement, Export, Period, RateLimit, TeamOwner, Tier
from usage.subscriptions import save_entitlement

pytestmark = pytest.mark.django_db


def entries(row: object) -> list[tuple[dict, str | None, str]]:
    """What was recorded of a row, oldest first: changes, the person's name and the way."""
    found = LogEntry.objects.get_for_object(row).select_related("actor").order_by("pk")
    return [(each.changes_dict, each.actor and each.actor.username, (each.additional_data or {}).get("by", "")) for each in found]


@pytest.fixture
def task() -> PeriodicTask:
    interval = IntervalSchedule.objects.create(every=60, period=IntervalSchedule.SECONDS)
    return PeriodicTask.objects.create(name="sum up", task="usage.roll_up", interval=interval)


# --------------------------------------------------------------------------- accounts


def test_C24_every_field_and_list_of_an_account_before_and_after(root: User, ada: User) -> None:
    lookers, client = group("lookers"), browser(root)
    LogEntry.objects.all().delete()
    form = account_form(ada, email="new@example.org", is_staff="on", groups=[lookers.pk],
                        user_permissions=[permissions("auth.view_group")[0].pk])  # fmt: skip
    assert client.post(account_page(ada), form).status_code == 302
    assert entries(ada) == [
        ({"email": ["ada@example.org", "new@example.org"], "is_staff": ["False", "True"]}, "root", ""),
        ({"groups": ["", "lookers"]}, "root", ""),
        ({"user_permissions": ["", "auth.view_group"]}, "root", ""),
    ]
    LogEntry.objects.all().delete()
    client.post(account_page(ada), account_form(User.objects.get(pk=ada.pk), groups=[]))
    assert entries(ada) == [({"groups": ["lookers", ""]}, "root", "")]


def test_C24_membership_from_the_other_side_and_all_at_once(ada: User) -> None:
    team, other = group("team"), group("other")
    LogEntry.objects.all().delete()
    team.user_set.add(ada)
    other.user_set.set([ada])
    team.user_set.clear()
    ada.groups.clear()
    assert [changes["groups"] for changes, _, _ in entries(ada)] == [
        ["", "team"], ["team", "other, team"], ["other, team", "other"], ["other", ""],
    ]  # fmt: skip


def test_C24_a_group_that_goes_names_its_members_and_permissions(root: User, ada: User) -> None:
    team = group("team", "auth.view_user")
    ada.groups.add(team)
    LogEntry.objects.all().delete()
    assert browser(root).post(reverse("admin:auth_group_delete", args=[team.pk]), {"post": "yes"}).status_code == 302
    said = [(each.object_repr, each.action, each.changes_dict, each.actor) for each in LogEntry.objects.order_by("pk")]
    assert said[:2] == [("ada", 1, {"groups": ["team", ""]}, root), ("team", 1, {"permissions": ["auth.view_user", ""]}, root)]
    assert said[-1][:2] == ("team", 2)


@pytest.mark.parametrize("way", ["admin", "own", "command"])
def test_C24_a_password_is_told_as_changed_and_never_shown(root: User, ada: User, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before, person = ada.password, {"admin": "root", "own": "ada", "command": None}[way]
    new = {"password1": "quite another one", "password2": "quite another one", "usable_password": "true"}
    LogEntry.objects.all().delete()
    match way:
        case "admin":
            browser(root).post(reverse("admin:auth_user_password_change", args=[ada.pk]), new)
        case "own":
            User.objects.filter(pk=ada.pk).update(is_staff=True)
            form = {"old_password": "a password of hers", "new_password1": "quite another one", "new_password2": "quite another one"}
            browser(User.objects.get(pk=ada.pk)).post(reverse("admin:password_change"), form)
        case "command":
            monkeypatch.setattr("getpass.getpass", lambda prompt="": "quite another one")
            monkeypatch.setattr("sys.argv", ["manage.py", "changepassword", "ada"])
            call_command("changepassword", "ada", stdout=StringIO())
    ada.refresh_from_db()
    assert ada.check_password("quite another one")
    ((changes, who, by),) = [each for each in entries(ada) if "password" in each[0]]
    assert (changes, who, by) == ({"password": ["***", "***"]}, person, "command changepassword" if way == "command" else "")
    kept = str([*LogEntry.objects.values()])
    assert all(part not in kept for stored in (before, ada.password) for part in (stored, *stored.split("$")[1:]))


def test_C24_a_login_is_no_change(ada: User) -> None:
    LogEntry.objects.all().delete()
    browser(ada)
    assert entries(ada) == []


# --------------------------------------------------------------------------- other rows, other ways


def test_C24_the_schedule_is_told_of_and_its_runs_are_not(root: User, task: PeriodicTask) -> None:
    LogEntry.objects.all().delete()
    listed = reverse("admin:django_celery_beat_periodictask_changelist")
    browser(root).post(listed, {"action": "disable", "_selected_action": [task.pk]})
    task.refresh_from_db()
    task.total_run_count += 1
    task.save()
    assert entries(task) == [({"enabled": ["True", "False"]}, "root", "")]


def test_C24_a_key_names_its_owner_and_itself() -> None:
    clerk, ada = staff("clerk", "usage.view_budget", "usage.change_budget"), User.objects.create_user("ada")
    key, plaintext = create_api_key(clerk, "of the clerk", scopes=["manage_finance"])
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {plaintext}")
    body = {"limits": [{"period": "month", "cost_usd": "5"}], "tier": None}
    answer = client.put(f"/api/v1/ai/admin/quotas/{ada.pk}", body, format="json")
    assert answer.status_code == 200, answer.json()
    assert [each[1:] for each in entries(Budget.objects.get())] == [("clerk", f"API key {key.pk}")]
    assert auditlog_value.get(None) is None, "what a request said of itself ends with it"


def test_C24_a_task_and_the_payment_service_name_themselves(ada: User) -> None:
    @app.task(name="tests.change_a_preference")
    def change() -> None:
        save_entitlement(Entitlement(user=ada, tier="gold"))

    change.apply()
    assert [each[1:] for each in entries(Entitlement.objects.get())] == [(None, "task tests.change_a_preference")]


def test_C24_within_a_request_the_person_stays_named_while_the_installation_acts(root: User) -> None:
    with audit.requested(root, "192.0.2.7", "req_1"):
        actions.save_route(Route(name="fast"), SYSTEM)
    entry = LogEntry.objects.get_for_object(Route.objects.get()).get()
    assert (entry.actor, entry.remote_addr, entry.cid) == (root, "192.0.2.7", "req_1")


def test_C24_what_a_client_says_of_its_address_and_id_is_not_believed(root: User, settings) -> None:
    client = browser(root)
    said = {"X-Forwarded-For": "203.0.113.9, not an address", "X-Correlation-ID": "x" * 300, "X-Request-ID": "mine"}
    form = {"name": "fast", "enabled": "on", "choices-TOTAL_FORMS": "0", "choices-INITIAL_FORMS": "0"}
    assert client.post(reverse("admin:providers_route_add"), form, headers=said).status_code == 302
    entry = LogEntry.objects.get_for_object(Route.objects.get()).get()
    assert (entry.remote_addr, entry.cid) == ("127.0.0.1", "mine")
    settings.BEHIND_PROXY = True
    client.post(reverse("admin:providers_route_add"), {**form, "name": "slow"}, headers={"X-Forwarded-For": "203.0.113.9, 192.0.2.5"})
    assert LogEntry.objects.get_for_object(Route.objects.get(name="slow")).get().remote_addr == "127.0.0.1", "the server reads headers"


def test_C24_the_page_says_who_and_by_what_way(root: User) -> None:
    with audit.audited(Actor(root, is_superuser=True, by="API key abc")):
        Group.objects.create(name="team")
    shown = browser(root).get(reverse("admin:auditlog_logentry_changelist")).content.decode()
    assert "root (API key abc)" in shown


# --------------------------------------------------------------------------- no entry, no write


@contextmanager
def broken_log():
    def fail(**_: object) -> None:
        raise DatabaseError("no space left")

    pre_save.connect(fail, sender=LogEntry, weak=False, dispatch_uid="broken")
    try:
        yield
    finally:
        pre_save.disconnect(sender=LogEntry, dispatch_uid="broken")


def _deployment() -> Deployment:
    provider = Provider.objects.create(slug="sim", label="Sim", kind="simulator", base_url="http://127.0.0.1:1/v1")
    return Deployment.objects.create(provider=provider, name="small", upstream_model="small")


WRITES: dict[str, Callable[[User, User], object]] = {
    "account": lambda root, ada: accounts.save_account(User(pk=ada.pk, username="eva"), Actor.of(root)),
    "new account": lambda root, ada: accounts.save_account(User(username="new"), Actor.of(root)),
    "groups": lambda root, ada: accounts.set_groups(ada, [*Group.objects.all()], Actor.of(root)),
    "permissions": lambda root, ada: accounts.set_permissions(ada, permissions("auth.view_user"), Actor.of(root)),
    "deactivation": lambda root, ada: accounts.deactivate(ada, Actor.of(root)),
    "group": lambda root, ada: accounts.save_group(Group(name="new"), Actor.of(root)),
    "key": lambda root, ada: create_api_key(ada, "laptop"),
    "budget": lambda root, ada: set_budget("user", ada, Period.MONTH, Limits(1)),
    "rate limit": lambda root, ada: set_rate_limit("user", ada, "requests", "minute", 1),
    "account of money": lambda root, ada: set_account(ada, Tier.objects.first()),
    "entitlement": lambda root, ada: save_entitlement(Entitlement(user=ada, tier="gold")),
    "route": lambda root, ada: actions.save_route(Route(name="fast"), Actor.of(root)),
    "password": lambda root, ada: browser(root).post(
        reverse("admin:auth_user_password_change", args=[ada.pk]),
        {"password1": "quite another one", "password2": "quite another one", "usable_password": "true"},
    ),
    "owner": lambda root, ada: browser(root).post(
        reverse("admin:auth_group_change", args=[Group.objects.get(name="team").pk]),
        {"name": "team", "owners-TOTAL_FORMS": "1", "owners-INITIAL_FORMS": "0", "owners-0-user": str(ada.pk),
         "owners-0-team": str(Group.objects.get(name="team").pk)},
    ),
    "preference": lambda root, ada: browser(root).post(
        reverse("admin:preferences_preference_add"), {"user": ada.pk, "context": "default", "deployment": _deployment().pk}
    ),
}  # fmt: skip


@pytest.mark.parametrize("write", sorted(WRITES))
def test_C24_without_its_entry_nothing_is_written(root: User, ada: User, write: str) -> None:
    group("team")
    Tier.objects.create(name="gold")

    def state() -> list[object]:
        kept = [*User.objects.order_by("pk").values("username", "password", "is_active"), *ada.groups.all(), *ada.user_permissions.all()]
        rows = [model.objects.count() for model in (Group, Budget, RateLimit, Entitlement, Route, Preference, TeamOwner)]
        return [*kept, *rows, ada.api_keys.count(), User.objects.filter(account__isnull=False).count()]

    before = state()
    with broken_log(), pytest.raises(DatabaseError):
        WRITES[write](root, ada)
    assert state() == before


# --------------------------------------------------------------------------- nothing is left out

NOT_DECIDED_BY_ANYBODY = {
    *("aigateway/idempotency/store.py", "usage/idempotency.py"),  # answers kept for a day
    *("providers/health.py", "providers/tasks.py"),  # what was observed
    *("providers/models.py", "usage/keys/records.py"),  # versions; when a key was last used
    *("aigateway/signin/bounds.py", "aigateway/signin/session_store.py"),  # counts of tries; when a session was seen
    *("aigateway/signin/signing_in.py", "aigateway/signin/own_tokens.py"),  # records of sign-ins; hashes of refresh tokens
    *("usage/exports/jobs.py", "usage/statements/actions.py"),  # progress of a job; lines of a statement, itself audited
    *("usage/ledger/failed_attempts.py", "usage/budgets/alerts.py", "usage/budgets/adjustments.py"),  # records, append-only, and counters
}
WITH_AN_ENTRY_OF_ITS_OWN = {"providers/management/commands/rotate_kek.py", "providers/credentials.py", "aigateway/signin/standing.py"}


def test_C24_nothing_people_decide_is_written_past_the_log() -> None:
    """``QuerySet.update`` and ``bulk_create`` send no signals, so the log does not see them."""
    found = set()
    for path in source.app_files():
        if "/sql/" in source.name(path) or source.name(path).startswith("providers/upstream"):
            continue
        for node in ast.walk(source.tree(path)):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            of_rows = node.func.attr == "update" and node.keywords and not node.args
            if of_rows or node.func.attr in ("bulk_create", "bulk_update", "_raw_delete"):
                found.add(source.name(path))
    assert found - NOT_DECIDED_BY_ANYBODY == WITH_AN_ENTRY_OF_ITS_OWN


def test_C24_what_people_edit_is_registered() -> None:
    edited = {
        User,
        Group,
        PeriodicTask,
        IntervalSchedule,
        TeamOwner,
        Export,
        Budget,
        RateLimit,
        Tier,
        Entitlement,
        Preference,
        Route,
        Provider,
    }
    assert {model.__name__ for model in edited if not auditlog.contains(model)} == set()


def test_client_is_left_unnamed_when_nobody_signed_in() -> None:
    assert Client().get("/admin/login/").status_code == 200
    Group.objects.create(name="later")
    assert LogEntry.objects.get().actor is None
