"""Every registered admin page of every installed app: what somebody sees who may only look."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.contrib import admin
from django.contrib.auth.models import Permission, User
from django.test import RequestFactory
from django.urls import reverse
from django_celery_beat.models import CrontabSchedule, IntervalSchedule, PeriodicTask

from aigateway import checks
from aigateway.access.pages import PAGES
from tests.aigateway.access.people import browser, permissions, staff

pytestmark = pytest.mark.both_databases

REGISTERED = [*admin.site._registry.items()]
BY_NAME = {f"{model._meta.label_lower}": page for model, page in REGISTERED}


def actions_of(page: admin.ModelAdmin) -> Iterator[tuple[str, object]]:
    """Of the page itself and of the whole site."""
    yield from ((name, function) for function, name, _ in page._get_base_actions())


@pytest.mark.parametrize("name", sorted(BY_NAME))
def test_C01_every_list_action_asks_for_more_than_looking(name: str) -> None:
    """A new page or action, of whatever package, is in here by itself."""
    asked = {action: getattr(function, "allowed_permissions", ()) for action, function in actions_of(BY_NAME[name])}
    assert [action for action, needed in asked.items() if not needed or "view" in needed] == []


@pytest.mark.django_db
def test_C01_who_may_look_at_everything_is_offered_no_action_and_no_form() -> None:
    """But for exports, which whoever may read the ledger may make."""
    viewer = staff("viewer")
    viewer.user_permissions.set(Permission.objects.filter(codename__startswith="view_"))
    request = RequestFactory().get("/")
    request.user = User.objects.get(pk=viewer.pk)
    offered = {name: [*page.get_actions(request)] for name, page in BY_NAME.items()}
    assert {name: found for name, found in offered.items() if found} == {"usage.export": ["restart_exports"]}
    writers = [
        name
        for name, page in BY_NAME.items()
        if page.has_add_permission(request) or page.has_change_permission(request) or page.has_delete_permission(request)
    ]
    assert writers == ["usage.export", "usage.statement"]


def test_C01_an_action_that_asks_nothing_is_an_error_at_start() -> None:
    def free(page: object, request: object, queryset: object) -> None: ...

    page = BY_NAME["usage.apikey"]
    assert checks.admin_actions_ask(app_configs=None) == []
    page.actions = (*page.actions, free)  # type: ignore[assignment]
    try:
        assert [error.id for error in checks.admin_actions_ask(app_configs=None)] == ["aigateway.E008"]
    finally:
        del page.actions


def test_C01_the_pages_of_libraries_are_ours() -> None:
    assert {model: type(admin.site._registry[model]) for model in PAGES} == PAGES
    foreign = [
        name
        for name, page in BY_NAME.items()
        if type(page).__module__.split(".")[0] not in ("aigateway", "providers", "usage", "preferences")
    ]
    assert foreign == []


# --------------------------------------------------------------------------- the schedule


@pytest.fixture
def task(db: None) -> PeriodicTask:
    interval = IntervalSchedule.objects.create(every=60, period=IntervalSchedule.SECONDS)
    return PeriodicTask.objects.create(name="sum up", task="usage.roll_up", interval=interval)


@pytest.mark.parametrize("action", ["enable", "disable", "run", "enable_tasks", "disable_tasks", "toggle_tasks", "run_tasks"])
def test_C01_who_looks_at_the_schedule_neither_runs_nor_switches(task: PeriodicTask, action: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[str] = []
    monkeypatch.setattr("celery.current_app.send_task", lambda name, *_, **__: sent.append(name))
    PeriodicTask.objects.filter(pk=task.pk).update(enabled=action.startswith("disable"))
    before = PeriodicTask.objects.values().get()
    viewer = browser(staff("viewer", "django_celery_beat.view_periodictask"))
    viewer.post(reverse("admin:django_celery_beat_periodictask_changelist"), {"action": action, "_selected_action": [task.pk]})
    assert (PeriodicTask.objects.values().get(), sent) == (before, [])


def test_C01_who_may_change_the_schedule_runs_known_tasks_only(task: PeriodicTask, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[str] = []
    monkeypatch.setattr("celery.current_app.send_task", lambda name, *_, **__: sent.append(name))
    strange = PeriodicTask.objects.create(name="strange", task="usage.close_month", args='["2026-10", 1]', interval=task.interval)
    keeper = browser(staff("keeper", "django_celery_beat.view_periodictask", "django_celery_beat.change_periodictask"))
    listed = reverse("admin:django_celery_beat_periodictask_changelist")
    keeper.post(listed, {"action": "run", "_selected_action": [task.pk, strange.pk]})
    assert sent == ["usage.roll_up"]
    keeper.post(listed, {"action": "disable", "_selected_action": [task.pk]})
    assert not PeriodicTask.objects.get(pk=task.pk).enabled
    page = reverse("admin:django_celery_beat_periodictask_change", args=[task.pk])
    form = {"name": "sum up", "task": "usage.close_month", "interval": str(task.interval_id), "args": '["2026-10", 1]'}
    assert "not one of the available choices" in keeper.post(page, form).content.decode()
    keeper.post(page, {**form, "task": "usage.seal"})
    assert PeriodicTask.objects.values_list("task", "args").get(pk=task.pk) == ("usage.seal", "[]"), "arguments are not typed"


def test_C01_deleting_a_schedule_needs_the_right_to_delete_its_tasks(task: PeriodicTask) -> None:
    one = browser(staff("one", "django_celery_beat.view_intervalschedule", "django_celery_beat.delete_intervalschedule"))
    address = reverse("admin:django_celery_beat_intervalschedule_delete", args=[task.interval_id])
    assert one.post(address, {"post": "yes"}).status_code == 403
    assert PeriodicTask.objects.exists()


@pytest.mark.django_db
def test_C01_the_schedules_pages_work_for_a_superuser(task: PeriodicTask, root: User) -> None:
    client, crontab = browser(root), CrontabSchedule.objects.create()
    for address in (
        reverse("admin:django_celery_beat_periodictask_change", args=[task.pk]),
        reverse("admin:django_celery_beat_crontabschedule_change", args=[crontab.pk]),
        *(reverse(f"admin:{name}_changelist") for name in ("axes_accessattempt", "axes_accesslog", "axes_accessfailurelog")),
    ):
        assert client.get(address).status_code == 200
    added = {"name": "again", "task": "usage.sweep", "crontab": str(crontab.pk), "enabled": "on"}
    assert client.post(reverse("admin:django_celery_beat_periodictask_add"), added).status_code == 302


# --------------------------------------------------------------------------- login records


@pytest.mark.django_db
def test_C01_only_who_may_delete_failed_logins_unlocks() -> None:
    model = next(each for each in PAGES if each.__name__ == "AccessAttempt")
    attempt = model._default_manager.create(username="ada", ip_address="192.0.2.1", user_agent="x", path_info="/", failures_since_start=10)
    listed = reverse("admin:axes_accessattempt_changelist")
    form = {"action": "forget", "_selected_action": [attempt.pk]}
    for names in (("axes.view_accessattempt",), ("axes.view_accessattempt", "axes.delete_accessattempt")):
        assert model._default_manager.exists()
        browser(staff(f"s{len(names)}", *names)).post(listed, form)
    assert not model._default_manager.exists()


@pytest.mark.django_db
def test_C01_one_right_on_a_page_is_not_another_one() -> None:
    """Adding is not changing, and neither is deleting: by the page's own word, for every page and every single right."""
    request = RequestFactory().get("/")
    for number, permission in enumerate(permissions("auth.add_user", "auth.add_group", "usage.add_apikey", "usage.add_budget")):
        person = staff(f"p{number}")
        person.user_permissions.set([permission])
        request.user = User.objects.get(pk=person.pk)
        page = admin.site._registry[permission.content_type.model_class()]
        assert (page.has_change_permission(request), page.has_delete_permission(request), page.get_actions(request)) == (False, False, {})
