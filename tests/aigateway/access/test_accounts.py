"""Accounts and groups: nobody gives himself or others what he does not have."""

from __future__ import annotations

import random

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.contrib.sessions.models import Session
from django.core.exceptions import PermissionDenied
from django.urls import reverse

from aigateway.access import accounts
from providers import rights
from providers.audit import Actor
from tests.aigateway.access.people import account_form, account_page, browser, group, permissions, staff
from usage.keys import create_api_key
from usage.models import FINANCE_GROUP, TeamOwner

pytestmark = pytest.mark.django_db

CLERK = ("auth.view_user", "auth.add_user", "auth.change_user", "auth.delete_user", "auth.view_group", "auth.add_group",
         "auth.change_group", "auth.delete_group")  # fmt: skip


@pytest.fixture
def clerk() -> User:
    """Administers accounts, and nothing else."""
    return staff("clerk", *CLERK)


def held_by(account: User) -> set[str]:
    return User.objects.get(pk=account.pk).get_all_permissions()


def test_C01_R708_one_who_may_change_accounts_cannot_raise_his_own(clerk: User) -> None:
    page, before = account_page(clerk), held_by(clerk)
    client = browser(clerk)
    client.post(page, account_form(clerk, is_superuser="on"))
    assert not User.objects.get(pk=clerk.pk).is_superuser
    wanted = permissions(*CLERK, "providers.change_provider")
    refused = client.post(page, account_form(clerk, user_permissions=[each.pk for each in wanted]))
    assert "not one of the available choices" in refused.content.decode()
    rich = group("rich", "usage.change_budget")
    refused = client.post(page, account_form(clerk, groups=[rich.pk]))
    assert "not one of the available choices" in refused.content.decode()
    assert held_by(clerk) == before


@pytest.mark.parametrize("target", ["superuser", "one who may more", "sleeping superuser", "finance", "team owner"])
def test_C01_S21_a_stronger_account_is_not_touched(clerk: User, ada: User, target: str) -> None:
    match target:
        case "superuser":
            User.objects.filter(pk=ada.pk).update(is_superuser=True)
        case "sleeping superuser":
            User.objects.filter(pk=ada.pk).update(is_superuser=True, is_active=False)
        case "one who may more":
            ada.groups.add(group("keepers", "usage.change_budget"))
        case "finance":
            ada.groups.add(Group.objects.create(name=FINANCE_GROUP))
        case "team owner":
            TeamOwner.objects.create(team=group("team"), user=ada)
    ada.refresh_from_db()
    before = (User.objects.filter(pk=ada.pk).values().get(), [*ada.groups.all()])
    client, page = browser(clerk), account_page(ada)
    new = {"password1": "quite another one", "password2": "quite another one", "usable_password": "true"}
    assert client.get(page).status_code == 200, "looking is another permission"
    assert client.post(page, account_form(ada, email="clerk@example.org", is_active="on")).status_code == 403
    assert client.post(reverse("admin:auth_user_password_change", args=[ada.pk]), new).status_code == 403
    assert client.get(reverse("admin:auth_user_password_change", args=[ada.pk])).status_code == 403
    assert client.post(reverse("admin:auth_user_delete", args=[ada.pk]), {"post": "yes"}).status_code == 403
    client.post(reverse("admin:auth_user_changelist"), {"action": "deactivate_accounts", "_selected_action": [ada.pk]})
    client.post(reverse("admin:auth_user_changelist"), {"action": "delete_selected", "_selected_action": [ada.pk], "post": "yes"})
    assert (User.objects.filter(pk=ada.pk).values().get(), [*ada.groups.all()]) == before


def test_C01_what_one_has_can_be_given_and_an_equal_account_administered(clerk: User, ada: User) -> None:
    client = browser(clerk)
    lookers = group("lookers", "auth.view_user")
    form = account_form(
        ada, email="new@example.org", is_staff="on", groups=[lookers.pk], user_permissions=[permissions("auth.view_group")[0].pk]
    )
    assert client.post(account_page(ada), form).status_code == 302
    assert held_by(ada) == {"auth.view_user", "auth.view_group"}
    new = {"password1": "quite another one", "password2": "quite another one", "usable_password": "true"}
    assert client.post(reverse("admin:auth_user_password_change", args=[ada.pk]), new).status_code == 302
    assert User.objects.get(pk=ada.pk).check_password("quite another one")


def test_C01_a_new_account_has_nothing_whatever_is_sent(clerk: User) -> None:
    form = {"username": "new", "password1": "quite another one", "password2": "quite another one", "usable_password": "true",
            "is_superuser": "on", "is_staff": "on", "user_permissions": [Permission.objects.first().pk]}  # fmt: skip
    assert browser(clerk).post(reverse("admin:auth_user_add"), form).status_code == 302
    made = User.objects.get(username="new")
    assert (made.is_superuser, made.is_staff, held_by(made)) == (False, False, set())


def group_form(name: str, *names: str) -> dict[str, object]:
    return {"name": name, "permissions": [each.pk for each in permissions(*names)], "owners-TOTAL_FORMS": "0", "owners-INITIAL_FORMS": "0"}


def test_C01_R708_a_group_is_given_only_what_the_actor_has(clerk: User) -> None:
    own = group("own", "auth.view_user")
    clerk.groups.add(own)
    client, page = browser(clerk), reverse("admin:auth_group_change", args=[own.pk])
    refused = client.post(page, group_form("own", "auth.view_user", "providers.change_provider"))
    assert "not one of the available choices" in refused.content.decode()
    assert client.post(page, group_form("own", "auth.view_user", "auth.view_group")).status_code == 302
    assert own.permissions.count() == 2
    stronger = group("stronger", "providers.change_provider")
    page = reverse("admin:auth_group_change", args=[stronger.pk])
    assert client.post(page, group_form("stronger")).status_code == 403
    assert client.post(reverse("admin:auth_group_delete", args=[stronger.pk]), {"post": "yes"}).status_code == 403
    client.post(reverse("admin:auth_group_changelist"), {"action": "delete_selected", "_selected_action": [stronger.pk], "post": "yes"})
    assert stronger.permissions.count() == 1


def test_C01_the_role_finance_is_given_by_no_name_and_no_list(clerk: User) -> None:
    client, own = browser(clerk), group("own")
    page = reverse("admin:auth_group_change", args=[own.pk])
    assert client.post(page, group_form(FINANCE_GROUP)).status_code == 200, "a renamed group would carry the role"
    assert client.post(reverse("admin:auth_group_add"), group_form(FINANCE_GROUP)).status_code == 200
    assert not Group.objects.filter(name=FINANCE_GROUP).exists()
    finance = Group.objects.create(name=FINANCE_GROUP)
    assert client.post(account_page(clerk), account_form(clerk, groups=[finance.pk])).status_code == 200
    clerk.groups.add(finance)
    ada = User.objects.create_user("ada")
    assert client.post(account_page(ada), account_form(ada, groups=[finance.pk])).status_code == 302
    assert ada.groups.get() == finance, "who has the role and may change accounts may give it"


def test_C01_only_superusers_make_somebody_the_owner_of_a_team(clerk: User, root: User) -> None:
    team = group("team")
    page = reverse("admin:auth_group_change", args=[team.pk])
    form = {**group_form("team"), "owners-TOTAL_FORMS": "1", "owners-0-user": str(clerk.pk), "owners-0-team": str(team.pk)}
    browser(clerk).post(page, form)
    assert not TeamOwner.objects.exists()
    assert browser(root).post(page, form).status_code == 302
    assert TeamOwner.objects.get().user == clerk


def test_C01_the_actions_refuse_what_the_pages_do_not_offer(clerk: User, ada: User, root: User) -> None:
    """Whatever calls them: a page, an endpoint or an import."""
    actor = Actor.of(clerk)
    budgets = group("budgets", "usage.change_budget")
    for forbidden in (
        lambda: accounts.set_permissions(ada, permissions("usage.change_budget"), actor),
        lambda: accounts.set_permissions(clerk, permissions("usage.change_budget"), actor),
        lambda: accounts.set_groups(ada, [budgets], actor),
        lambda: accounts.set_permissions(group("empty"), permissions("usage.change_budget"), actor),
        lambda: accounts.delete_group(budgets, actor),
        lambda: accounts.save_account(root, actor),
        lambda: accounts.deactivate(root, actor),
        lambda: accounts.save_account(User(username="made", is_superuser=True), actor),
        lambda: accounts.save_account(User(username="made", is_staff=True), Actor.of(ada)),
        lambda: accounts.save_group(Group(name=FINANCE_GROUP), actor),
    ):
        with pytest.raises(PermissionDenied):
            forbidden()


def test_C01_no_sequence_of_grants_exceeds_what_the_actors_had(root: User) -> None:
    """A random walk of everything two clerks may do to accounts and groups never makes anybody more than they are together."""
    actors = [staff("one", *CLERK, "usage.view_budget"), staff("two", *CLERK, "providers.view_provider")]
    people = [*actors, User.objects.create_user("ada"), root]
    groups = [group("a"), group("b", "usage.change_budget"), Group.objects.create(name=FINANCE_GROUP)]
    ceiling = frozenset().union(*(rights.rights_of(each).permissions for each in actors))
    every, dice, done = [*Permission.objects.all()], random.Random(7), 0
    for _ in range(400):
        actor, target = Actor.of(User.objects.get(pk=dice.choice(actors).pk)), dice.choice(people)
        step = dice.choice(("account", "groups", "permissions", "group"))
        try:
            match step:
                case "account":
                    target = User.objects.get(pk=target.pk)
                    target.is_staff, target.is_superuser = True, dice.random() < 0.3
                    accounts.save_account(target, actor)
                case "groups":
                    accounts.set_groups(target, dice.sample(groups, 2), actor)
                case "permissions":
                    accounts.set_permissions(target, dice.sample(every, 1), actor)
                case _:
                    accounts.set_permissions(dice.choice(groups), dice.sample(every, 1), actor)
            done += 1
        except PermissionDenied:
            pass
    assert done > 10
    for each in people[:-1]:
        now = rights.rights_of(User.objects.get(pk=each.pk))
        assert (now.superuser, now.roles) == (False, frozenset())
        assert now.permissions <= ceiling


def test_C05_an_account_with_keys_is_deactivated_where_it_was_deleted(root: User, ada: User) -> None:
    key, _ = create_api_key(ada, "laptop")
    browser(ada)
    assert Session.objects.count() == 1
    client = browser(root)
    address = reverse("admin:auth_user_delete", args=[ada.pk])
    shown = client.get(address).content.decode()
    assert "Deactivate" in shown
    assert "permission to delete" not in shown
    assert "Deactivate" in client.get(account_page(ada)).content.decode()
    assert client.post(address, {"post": "yes"}).status_code == 302
    ada.refresh_from_db()
    key.refresh_from_db()
    assert not ada.is_active
    assert key.revoked_at is not None
    assert [each.get_decoded()["_auth_user_id"] for each in Session.objects.all()] == [str(root.pk)]


def test_C05_several_accounts_are_deactivated_together_and_the_last_superuser_stays(root: User, ada: User) -> None:
    client = browser(root)
    client.post(reverse("admin:auth_user_changelist"), {"action": "deactivate_accounts", "_selected_action": [ada.pk, root.pk]})
    assert {*User.objects.filter(is_active=True)} == {root}
    assert client.post(account_page(root), account_form(root, is_superuser=None)).status_code == 200
    assert client.post(reverse("admin:auth_user_delete", args=[root.pk]), {"post": "yes"}).status_code == 200
    assert User.objects.get(pk=root.pk).is_superuser


def test_no_page_shows_a_part_of_a_password_hash(root: User, ada: User) -> None:
    _, salt, digest = ada.password.split("$")
    for viewer in (root, staff("viewer", "auth.view_user")):
        shown = browser(viewer).get(account_page(ada)).content.decode()
        assert salt[:4] not in shown
        assert digest[:6] not in shown


@pytest.mark.parametrize("address", ["?password__startswith=pbkdf2", "?user__password__startswith=pbkdf2"])
def test_C01_nobody_asks_for_hashes_by_filters(clerk: User, address: str) -> None:
    clerk.user_permissions.add(*permissions("usage.view_apikey"))
    for name in ("auth_user", "usage_apikey"):
        answer = browser(clerk).get(reverse(f"admin:{name}_changelist") + address)
        assert answer.status_code in (302, 400), "refused, or sent to the list without the filter"


def test_C01_a_popup_and_another_key_field_change_nothing_of_that(clerk: User, root: User) -> None:
    client = browser(clerk)
    for query in ("?_popup=1", "?_to_field=id", "?_popup=1&_to_field=id"):
        assert client.post(account_page(root) + query, account_form(root, is_active=None)).status_code == 403
    assert client.get(account_page(root) + "?_to_field=password").status_code == 400
