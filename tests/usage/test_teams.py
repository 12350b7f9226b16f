"""Owners of teams: staff without any model permission, who administer their teams and see nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import pytest
from django.contrib.auth.models import Group, User
from django.core.exceptions import PermissionDenied
from django.urls import reverse
from rest_framework.test import APIClient

from providers.audit import Actor
from tests.aigateway.access.people import browser, group, staff
from tests.usage.lines import line, post
from usage.budgets import set_budget
from usage.budgets.actions import Limits
from usage.keys import create_api_key
from usage.models import FINANCE_GROUP, ApiKey, Budget, Period, TeamOwner
from usage.reports import roll_up

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("made_up_costs")]

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
DAYS = {"start": "2026-11-21", "end": "2026-11-22"}


@dataclass(frozen=True)
class World:
    """``olga`` owns ``team``, of which ``mia`` and she are members; ``bob`` is in ``others``."""

    team: Group
    others: Group
    olga: User
    mia: User
    bob: User
    mias_key: ApiKey
    bobs_key: ApiKey


@pytest.fixture
def world(db: None) -> World:
    team, others = group("blue"), group("red")
    olga, mia, bob = staff("olga"), User.objects.create_user("mia"), User.objects.create_user("bob")
    team.user_set.set([olga, mia])
    others.user_set.set([bob])
    TeamOwner.objects.create(team=team, user=olga)
    for user, its_team, cost in ((mia, team, 3), (bob, others, 5)):
        post(line(cost_nano=cost * 1_000_000_000, user_id=user.pk, team_id=its_team.pk, dispatched_at=NOON))
    return World(team, others, olga, mia, bob, create_api_key(mia, "mias")[0], create_api_key(bob, "bobs")[0])


# --------------------------------------------------------------------------- keys


def test_R707_an_owner_sees_the_keys_of_members_and_no_others(world: World) -> None:
    client = browser(world.olga)
    shown = client.get(reverse("admin:usage_apikey_changelist")).content.decode()
    assert world.mias_key.pk in shown
    assert world.bobs_key.pk not in shown
    assert client.get(reverse("admin:usage_apikey_change", args=[world.mias_key.pk])).status_code == 200


def test_C01_S20_foreign_and_absent_look_the_same_to_an_owner(world: World) -> None:
    client = browser(world.olga)
    foreign_budget = set_budget("user", world.bob, Period.MONTH, Limits(1))
    for name, foreign in (("usage_apikey", world.bobs_key.pk), ("usage_budget", foreign_budget.pk)):
        for pk in (foreign, "999999999999"):
            page = reverse(f"admin:{name}_change", args=[pk])
            assert (client.get(page).status_code, client.post(page, {"name": "x"}).status_code) == (404, 404)
    revoke = {"action": "revoke_keys", "_selected_action": [world.bobs_key.pk]}
    client.post(reverse("admin:usage_apikey_changelist"), revoke)
    assert ApiKey.objects.get(pk=world.bobs_key.pk).revoked_at is None


def test_R707_an_owner_makes_and_revokes_keys_of_members_only(world: World) -> None:
    client, add = browser(world.olga), reverse("admin:usage_apikey_add")
    made = {"name": "new", "allowed_models": "", "allowed_contexts": ""}
    assert client.post(add, {**made, "user": world.bob.pk}).status_code == 200
    assert client.post(add, {**made, "user": world.mia.pk}).status_code == 302
    assert client.post(add, {**made, "user": world.olga.pk}).status_code == 302
    assert {*ApiKey.objects.filter(name="new").values_list("user__username", flat=True)} == {"mia", "olga"}
    client.post(reverse("admin:usage_apikey_changelist"), {"action": "revoke_keys", "_selected_action": [world.mias_key.pk]})
    assert ApiKey.objects.get(pk=world.mias_key.pk).revoked_at is not None


def test_C01_an_owner_makes_no_key_for_a_member_who_may_more(world: World) -> None:
    world.team.user_set.add(User.objects.create_superuser("root"), staff("clerk", "usage.change_budget"))
    Group.objects.create(name=FINANCE_GROUP).user_set.add(world.mia)
    client, add = browser(world.olga), reverse("admin:usage_apikey_add")
    for name in ("root", "clerk", "mia"):
        member = User.objects.get(username=name)
        client.post(add, {"name": "new", "allowed_models": "", "allowed_contexts": "", "user": member.pk})
        with pytest.raises(PermissionDenied):
            create_api_key(member, "new", actor=Actor.of(world.olga))
    assert not ApiKey.objects.filter(name="new").exists()


def test_R707_nobody_is_an_owner_who_no_longer_is_or_sleeps(world: World) -> None:
    listed = reverse("admin:usage_apikey_changelist")
    TeamOwner.objects.all().delete()
    assert browser(world.olga).get(listed).status_code == 403
    TeamOwner.objects.create(team=world.team, user=world.olga)
    client = browser(world.olga)
    User.objects.filter(pk=world.olga.pk).update(is_active=False)
    assert client.get(listed).status_code == 302, "to the login page"


# --------------------------------------------------------------------------- budgets


def test_R707_an_owner_sets_budgets_of_members_and_of_their_keys(world: World) -> None:
    client, add = browser(world.olga), reverse("admin:usage_budget_add")
    caps = {"period": "month", "cap_nano": "5", "enforcement": "hard", "charge_failed_attempts": "on"}
    assert client.post(add, {**caps, "scope": "user", "user": world.mia.pk}).status_code == 302
    assert client.post(add, {**caps, "scope": "key", "api_key": world.mias_key.pk}).status_code == 302
    for refused in (
        {"scope": "user", "user": world.bob.pk},
        {"scope": "key", "api_key": world.bobs_key.pk},
        {"scope": "user", "user": world.olga.pk},
        {"scope": "team", "team": world.team.pk},
        {"scope": "gateway"},
        {"scope": "context", "context": "writing"},
    ):
        assert client.post(add, {**caps, **refused}).status_code == 200
    assert sorted(Budget.objects.values_list("scope", flat=True)) == ["key", "user"]
    page = reverse("admin:usage_budget_change", args=[Budget.objects.get(scope="user").pk])
    assert client.post(page, {**caps, "cap_nano": "6", "user": world.bob.pk, "scope": "gateway"}).status_code == 302
    changed = Budget.objects.get(scope="user")
    assert (changed.cap_nano, changed.user) == (6_000_000_000, world.mia)
    assert client.post(reverse("admin:usage_budget_delete", args=[changed.pk]), {"post": "yes"}).status_code == 302


def test_C01_what_a_team_and_its_owner_may_spend_is_not_the_owners_to_set(world: World) -> None:
    client = browser(world.olga)
    for budget in (set_budget("team", world.team, Period.MONTH, Limits(1)), set_budget("user", world.olga, Period.MONTH, Limits(1))):
        page = reverse("admin:usage_budget_change", args=[budget.pk])
        assert client.get(page).status_code == 200
        assert client.post(page, {"cap_nano": "9", "enforcement": "hard"}).status_code == 403
        assert client.post(reverse("admin:usage_budget_delete", args=[budget.pk]), {"post": "yes"}).status_code == 403
        listed = reverse("admin:usage_budget_changelist")
        client.post(listed, {"action": "reset_current_period", "_selected_action": [budget.pk], "reason": "because"})
        client.post(listed, {"action": "delete_selected", "_selected_action": [budget.pk], "post": "yes"})
    assert [*Budget.objects.values_list("cap_nano", flat=True)] == [1, 1]


# --------------------------------------------------------------------------- reports


def report(user: User, path: str, /, **query: object) -> tuple[int, dict]:
    client = APIClient()
    client.force_authenticate(user)
    answer = client.get(f"/api/v1/ai/admin/{path}", {**DAYS, **query})
    return answer.status_code, answer.json()


@pytest.mark.parametrize("path", ["usage", "costs"])
def test_R707_reports_of_an_owner_hold_the_lines_of_the_team(world: World, path: str) -> None:
    status, told = report(world.olga, path)
    assert (status, told["totals"]["cost_usd"]) == (200, "3.000000000")
    assert report(world.olga, path, team=world.team.pk) == (status, told)
    assert report(world.olga, path, user=world.bob.pk)[1]["totals"]["lines"] == 0, "a filter narrows and never widens"


@pytest.mark.parametrize("path", ["usage", "usage/lines", "costs", "savings"])
def test_C01_S20_reports_of_other_teams_are_absent_for_an_owner(world: World, path: str) -> None:
    foreign, absent = (report(world.olga, path, team=team) for team in (world.others.pk, 999_999))
    assert foreign[0] == absent[0] == 404
    assert foreign[1]["error"]["message"] == absent[1]["error"]["message"]
    assert report(world.olga, path, team=0)[0] == 404, "nor the lines of no team"
    assert report(world.mia, path)[0] == 403, "a member is no owner"


def test_R707_the_lines_themselves_are_those_of_the_team(world: World) -> None:
    assert {line["user"] for line in report(world.olga, "usage/lines")[1]["results"]} == {str(world.mia.pk)}
    client = APIClient()
    client.force_authenticate(world.olga)
    told = b"".join(client.get("/api/v1/ai/admin/costs", {**DAYS, "format": "csv"})).decode()
    assert ("3.000000000" in told, "5.000000000" in told) == (True, False)


def test_R707_an_owner_of_several_teams_names_one(world: World) -> None:
    TeamOwner.objects.create(team=world.others, user=world.olga)
    status, told = report(world.olga, "usage")
    assert (status, "team" in str(told)) == (400, True)
    assert report(world.olga, "usage", team=world.others.pk)[1]["totals"]["cost_usd"] == "5.000000000"


@pytest.mark.parametrize("path", ["exports", "months", "statements"])
def test_C01_what_is_of_everybody_stays_with_finance(world: World, path: str) -> None:
    assert report(world.olga, path)[0] == 403


def test_R707_the_pages_of_the_ledger_show_the_team(world: World) -> None:
    roll_up(NOON)
    client = browser(world.olga)
    for name in ("usage_ledgerentry", "usage_usagetotal"):
        shown = client.get(reverse(f"admin:{name}_changelist")).content.decode()
        assert ("3.000000000" in shown, "5.000000000" in shown) == (True, False)
    assert client.get(reverse("admin:usage_what_if")).status_code == 403
    for name in ("usage_attempt", "usage_export", "usage_statement", "usage_closedmonth", "auth_user", "auth_group", "auditlog_logentry"):
        assert client.get(reverse(f"admin:{name}_changelist")).status_code == 403
