"""R605: a change of the configuration is put back from the audit log, by someone who may make it."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from auditlog.models import LogEntry
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from django_celery_beat.models import IntervalSchedule, PeriodicTask

from aigateway.access import rollback
from aigateway.access.rollback import CannotPutBack, put_back
from preferences.models import Preference
from providers import actions
from providers.audit import SYSTEM, Actor
from providers.models import Deployment, ManagedPreset, Price, Provider, Route, RouteTarget, RoutingConfiguration
from tests.aigateway.access.people import browser, group, staff
from usage.budgets import set_account, set_budget, set_tier_limit
from usage.budgets.actions import Limits
from usage.keys import create_api_key
from usage.limits import set_rate_limit
from usage.models import ApiKey, Budget, Entitlement, Period, RateLimit, Tier, TierLimit, UserAccount

pytestmark = pytest.mark.django_db

NOON = datetime(2027, 1, 21, 12, 0, 0, 5, tzinfo=UTC)


def provider(**fields: object) -> Provider:
    return Provider.objects.create(
        **{"slug": "sim", "label": "Sim", "kind": "openai_compatible", "base_url": "https://api.example.org/v1", **fields}
    )


def changed(row: object, **fields: object) -> LogEntry:
    """The entry of a change that set these fields."""
    for name, value in fields.items():
        setattr(row, name, value)
    row.save()  # type: ignore[attr-defined]
    return LogEntry.objects.get_for_object(row).order_by("-pk").first()


def press(client: Client, entry: LogEntry) -> str:
    """The button; returns what the page then says."""
    answer = client.post(reverse("admin:auditlog_logentry_put_back", args=[entry.pk]), follow=True)
    return " ".join(str(message) for message in answer.context["messages"]) if answer.context else str(answer.status_code)


def deployment() -> Deployment:
    return Deployment.objects.create(provider=provider(), name="small", upstream_model="small", capabilities=["chat"])


def rows() -> dict[str, tuple[object, dict[str, object]]]:
    """A row of every kind that can be put back, and a change of its fields."""
    ada, model, team = User.objects.create_user("ada"), deployment(), group("team")
    ada.groups.add(team)
    tier, route = Tier.objects.create(name="gold"), Route.objects.create(name="fast")
    interval = IntervalSchedule.objects.create(every=60, period=IntervalSchedule.SECONDS)
    set_account(ada, tier, team.pk)
    return {
        "provider": (model.provider, {"label": "Other", "priority": 7, "enabled": False, "connect_timeout_s": 9.5, "discount_ppm": 5}),
        "model": (model, {"capabilities": ["chat", "stream"], "display_name": "None", "context_window_tokens": 5}),
        "preset": (
            ManagedPreset.objects.create(
                provider=model.provider, upstream_kind="mistral", required_tier="a", system_prompt="b", temperature=1
            ),
            {"system_prompt": "c", "temperature": 0.5},
        ),
        "route": (route, {"name": "slow", "policy": "cost", "enabled": False}),
        "target": (RouteTarget.objects.create(route=route, deployment=model), {"priority": 3}),
        "routing": (RoutingConfiguration.objects.create(pk=1), {"max_attempts": 9, "deadline_s": 2.0}),
        "budget": (set_budget("user", ada, Period.DAY, Limits(cap_nano=5)), {"cap_nano": None, "cap_tokens": 9, "enforcement": "warn"}),
        "rate limit": (set_rate_limit("user", ada, "requests", "minute", 5), {"limit": 50, "burst": 3}),
        "tier": (set_tier_limit(tier, Period.MONTH, Limits(cap_nano=5)), {"cap_nano": 6}),
        "account": (UserAccount.objects.get(), {"team": None, "tier": None}),
        "entitlement": (Entitlement.objects.create(user=ada, tier="gold", expires_at=NOON), {"expires_at": None, "status": "canceled"}),
        "key": (create_api_key(ada, "laptop", expires_at=NOON, allowed_models=["small"])[0], {"allowed_models": [], "expires_at": None}),
        "preference": (
            Preference.objects.create(user=ada, context="default", deployment=model),
            {"deployment": Deployment.objects.create(provider=model.provider, name="big", upstream_model="big")},
        ),
        "task": (PeriodicTask.objects.create(name="x", task="usage.sweep", interval=interval), {"enabled": False, "description": "y"}),
    }


KINDS = ("provider", "model", "preset", "route", "target", "routing", "budget", "rate limit", "tier", "account", "entitlement", "key",
         "preference", "task")  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_R605_every_kind_of_row_is_as_it_was(root: User, kind: str) -> None:
    row, changes = rows()[kind]
    model = type(row)
    before = {name: getattr(model._default_manager.get(pk=row.pk), name) for name in changes}
    entry = changed(row, **changes)
    client = browser(root)
    assert "Put back" in client.get(reverse("admin:auditlog_logentry_change", args=[entry.pk])).content.decode()
    assert "is as it was before" in press(client, entry)
    now = model._default_manager.get(pk=row.pk)
    assert {name: getattr(now, name) for name in changes} == before
    told = LogEntry.objects.get_for_object(row).order_by("-pk").first()
    assert (told.actor, told.additional_data) == (root, {"by": f"put back of entry {entry.pk}"})
    assert {*told.changes_dict} >= {*changes}


def test_R605_every_kind_is_in_the_test_above() -> None:
    assert {type(row) for row, _ in rows().values()} == set(rollback.RESTORABLE)


def test_R605_only_the_fields_of_that_entry_are_put_back(root: User) -> None:
    row = provider()
    entry = changed(row, priority=7)
    changed(row, label="Later")
    put_back(entry, Actor.of(root))
    row.refresh_from_db()
    assert (row.priority, row.label) == (100, "Later")


@pytest.mark.parametrize("right", ["none", "look at the log", "change providers only", "both"])
def test_R605_C01_only_who_may_change_the_row_puts_it_back(right: str) -> None:
    row = provider()
    entry = changed(row, priority=7)
    names = {
        "none": (),
        "look at the log": ("auditlog.view_logentry", "providers.view_provider"),
        "change providers only": ("providers.change_provider",),
        "both": ("auditlog.view_logentry", "providers.change_provider"),
    }[right]
    client = browser(staff("clerk", *names))
    page = client.get(reverse("admin:auditlog_logentry_change", args=[entry.pk])).content.decode()
    assert ("Put back" in page) == (right == "both")
    address = reverse("admin:auditlog_logentry_put_back", args=[entry.pk])
    assert client.get(address).status_code == 405
    assert client.post(address).status_code == (302 if right == "both" else 403)
    row.refresh_from_db()
    assert row.priority == (100 if right == "both" else 7)
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(User.objects.get(username="clerk"), "django.contrib.auth.backends.ModelBackend")
    assert strict.post(address).status_code == 403


def test_R605_C01_what_is_a_superusers_stays_so(root: User) -> None:
    row = provider()
    entry = changed(row, base_url="https://evil.example.org/v1")
    clerk = browser(staff("clerk", "auditlog.view_logentry", "providers.change_provider"))
    assert "Only a superuser may set this" in press(clerk, entry)
    row.refresh_from_db()
    assert row.base_url == "https://evil.example.org/v1"
    preset_row, changes = rows_of_preset(row)
    preset = changed(preset_row, **changes)
    assert "Only a superuser" in press(clerk, preset)
    User.objects.filter(pk=root.pk).update(is_superuser=True)
    Route.objects.create(name="fast")
    key, _ = create_api_key(root, "laptop", allowed_models=["fast"])
    widened = changed(ApiKey.objects.get(pk=key.pk), allowed_models=[])
    keeper = browser(staff("keeper", "auditlog.view_logentry", "usage.change_apikey"))
    assert keeper.post(reverse("admin:auditlog_logentry_put_back", args=[widened.pk])).status_code == 403


def rows_of_preset(row: Provider) -> tuple[ManagedPreset, dict[str, object]]:
    made = ManagedPreset.objects.create(provider=row, upstream_kind="mistral", required_tier="a", system_prompt="b", temperature=1)
    return made, {"system_prompt": "c"}


def test_R605_what_cannot_be_put_back_says_why(root: User) -> None:
    actor, row, model = Actor.of(root), provider(slug="gone"), deployment()
    gone = changed(row, priority=7)
    actions.delete_provider(row.pk, SYSTEM)
    deleted = LogEntry.objects.get_for_object(row).order_by("-pk").first()
    route = Route.objects.create(name="fast")
    taken = changed(route, name="slow")
    Route.objects.create(name="fast")
    made = LogEntry.objects.get_for_object(route).order_by("pk").first()
    price = Price.objects.create(deployment=model, input_nano_per_mtok=1, output_nano_per_mtok=1, source="x")
    priced = changed(price, source="y")
    strange = changed(model, display_name="x")
    LogEntry.objects.filter(pk=strange.pk).update(changes={"max_output_tokens": ["many", "5"]})
    strange.refresh_from_db()
    unknown = changed(model, display_name="y")
    LogEntry.objects.filter(pk=unknown.pk).update(changes={"colour": ["red", "blue"]})
    unknown.refresh_from_db()
    secret = changed(root, email="new@example.org")
    for entry, why in (
        (gone, "The row is gone"),
        (deleted, "cannot be put back: deleted_at"),
        (taken, "No longer valid"),
        (made, "Only changes can be put back"),
        (priced, "of this kind cannot"),
        (strange, "is not a value any more"),
        (unknown, "cannot be put back: colour"),
        (secret, "of this kind cannot"),
    ):
        with pytest.raises(CannotPutBack, match=why):
            put_back(entry, actor)
    assert "The row is gone" in press(browser(root), gone)
    assert Client().post(reverse("admin:auditlog_logentry_put_back", args=[gone.pk])).status_code == 302, "to the login page"


def test_R605_a_budget_of_a_tier_is_put_back_at_the_tier(root: User) -> None:
    _ = rows()
    budget = Budget.objects.get(tier__isnull=False)
    with pytest.raises(CannotPutBack, match="A tier sets this budget"):
        put_back(changed(budget, cap_nano=99), Actor.of(root))
    assert TierLimit.objects.exists()
    assert RateLimit.objects.exists()


def test_R605_nobody_adds_changes_or_deletes_an_entry(root: User) -> None:
    entry, client = changed(provider(), priority=7), browser(root)
    assert client.get(reverse("admin:auditlog_logentry_add")).status_code == 403
    assert client.post(reverse("admin:auditlog_logentry_change", args=[entry.pk]), {}).status_code == 403
    assert client.post(reverse("admin:auditlog_logentry_delete", args=[entry.pk]), {"post": "yes"}).status_code == 403
