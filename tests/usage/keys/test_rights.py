"""Whose keys somebody may make, change and revoke."""

from __future__ import annotations

import re

import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.core.exceptions import PermissionDenied
from django.urls import reverse

from providers.audit import Actor
from tests.aigateway.access.people import browser, group, staff
from usage.keys.actions import create_api_key, revoke_api_key, update_api_key
from usage.models import ApiKey, TeamOwner

pytestmark = pytest.mark.django_db

ADD, LIST = reverse("admin:usage_apikey_add"), reverse("admin:usage_apikey_changelist")


@pytest.fixture
def root(db: None) -> User:
    return User.objects.create_superuser("root")


@pytest.fixture
def ada(db: None) -> User:
    return User.objects.create_user("ada")


def form(user: User, name: str = "laptop") -> dict[str, object]:
    return {"user": user.pk, "name": name, "allowed_models": "", "allowed_contexts": ""}


def test_C01_who_may_add_keys_makes_them_for_himself_only(root: User, ada: User) -> None:
    clerk = staff("clerk", "usage.add_apikey")
    client = browser(clerk)
    for other in (root, ada):
        refused = client.post(ADD, form(other))
        assert refused.status_code == 200
        assert not ApiKey.objects.exists()
        assert other.username not in refused.content.decode(), "nor does the page name others"
    absent = client.post(ADD, {**form(ada), "user": 999_999}).content.decode()
    assert "not one of the available choices" in absent
    made = client.post(ADD, form(clerk), follow=True)
    assert re.search(rb"gw_[a-z0-9]{12}_[A-Za-z0-9_-]{43}", made.content)
    assert ApiKey.objects.get().user == clerk


def test_C01_superusers_make_keys_for_others(root: User, ada: User) -> None:
    assert browser(root).post(ADD, form(ada)).status_code == 302
    assert ApiKey.objects.get().user == ada


@pytest.mark.parametrize("stronger", ["superuser", "sleeping superuser", "more permissions", "team owner"])
def test_C01_the_key_of_a_stronger_account_is_neither_changed_nor_revoked(ada: User, stronger: str) -> None:
    match stronger:
        case "superuser":
            User.objects.filter(pk=ada.pk).update(is_superuser=True)
        case "sleeping superuser":
            User.objects.filter(pk=ada.pk).update(is_superuser=True, is_active=False)
        case "more permissions":
            ada.groups.add(group("keepers", "usage.change_budget"))
        case _:
            TeamOwner.objects.create(user=ada, team=group("team"))
    key, _ = create_api_key(ada, "laptop", allowed_models=["small"])
    client = browser(staff("clerk", "usage.view_apikey", "usage.change_apikey"))
    page = reverse("admin:usage_apikey_change", args=[key.pk])
    assert client.post(page, {"name": "mine", "allowed_models": "", "allowed_contexts": ""}).status_code == 403
    client.post(LIST, {"action": "revoke_keys", "_selected_action": [key.pk]})
    assert ApiKey.objects.values_list("name", "allowed_models", "revoked_at").get() == ("laptop", ["small"], None)


def test_C01_the_key_of_an_equal_account_may_be(ada: User) -> None:
    key, _ = create_api_key(ada, "laptop")
    client = browser(staff("clerk", "usage.view_apikey", "usage.change_apikey"))
    page = reverse("admin:usage_apikey_change", args=[key.pk])
    assert client.post(page, {"name": "desk", "allowed_models": "", "allowed_contexts": "", "user": 1}).status_code == 302
    client.post(LIST, {"action": "revoke_keys", "_selected_action": [key.pk]})
    key.refresh_from_db()
    assert (key.name, key.user, key.revoked_at is not None) == ("desk", ada, True)


def test_C01_who_may_only_look_changes_nothing(ada: User) -> None:
    key, _ = create_api_key(ada, "laptop")
    client = browser(staff("viewer", "usage.view_apikey"))
    client.post(LIST, {"action": "revoke_keys", "_selected_action": [key.pk]})
    assert client.post(ADD, form(ada)).status_code == 403
    assert ApiKey.objects.get().revoked_at is None


def test_C01_the_actions_ask_whoever_calls_them(root: User, ada: User) -> None:
    actor, key = Actor.of(ada), create_api_key(root, "laptop")[0]
    narrow = {"name": "x", "allowed_models": [], "allowed_contexts": [], "expires_at": None}
    for forbidden in (
        lambda: create_api_key(root, "mine", actor=actor),
        lambda: create_api_key(root, "mine", actor=Actor.of(AnonymousUser())),
        lambda: update_api_key(key, **narrow, actor=actor),
        lambda: revoke_api_key(key, actor=actor),
    ):
        with pytest.raises(PermissionDenied):
            forbidden()
    User.objects.filter(pk=ada.pk).update(is_superuser=True, is_active=False)
    with pytest.raises(PermissionDenied):
        revoke_api_key(key, actor=Actor.of(User.objects.get(pk=ada.pk)))
