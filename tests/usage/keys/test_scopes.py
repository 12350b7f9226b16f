"""What keys may do, and who may say so."""

from __future__ import annotations

from importlib import import_module

import pytest
from django.contrib.auth.models import Group, Permission, User

from providers.audit import SYSTEM, Actor
from providers.models import Deployment, Provider, Route
from usage.errors import ActionRefused
from usage.keys.actions import create_api_key, update_api_key
from usage.keys.records import load_key
from usage.keys.scopes import DEFAULT_SCOPES, EXPLAINED, Scope, checked_scopes, effective, rights_of
from usage.models import FINANCE_GROUP, ApiKey
from usage.models.keys import default_scopes

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]
ON_PURPOSE = sorted(set(Scope) - set(DEFAULT_SCOPES))


def person(name: str, *codenames: str, staff: bool = True) -> User:
    user = User.objects.create_user(name, is_staff=staff)
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    return User.objects.get(pk=user.pk)


@pytest.fixture
def root(db: None) -> User:
    return User.objects.create_superuser("root")


def test_C22_new_keys_are_for_inference_and_their_owners_own_data_whoever_owns_them(root: User) -> None:
    key, _ = create_api_key(root, "laptop")
    record = load_key(key.pk)
    assert record is not None
    assert ApiKey.objects.get().scopes == ["inference", "own_usage", "own_preferences"] == [*DEFAULT_SCOPES] == default_scopes()
    assert record.scopes == {"inference", "own_usage", "own_preferences"}


def test_C22_keys_there_are_get_the_scopes_of_new_ones() -> None:
    migration = import_module("usage.migrations.0011_key_scopes").Migration
    (added,) = migration.operations
    assert added.field.get_default() == [*DEFAULT_SCOPES]


def test_managing_includes_reading_and_words_nobody_knows_allow_nothing() -> None:
    assert effective(["manage_providers", "everything", "*"]) == {"manage_providers", "providers_read"}
    assert effective(["manage_finance"]) == {"manage_finance", "finance_read"}
    assert effective([]) == frozenset()


@pytest.mark.parametrize("scope", ON_PURPOSE)
def test_C22_a_scope_is_refused_on_a_key_whose_owner_may_not_do_it_himself(scope: str, root: User) -> None:
    for owner in (person("plain", staff=False), person("staff")):
        for actor in (SYSTEM, Actor.of(root)):
            with pytest.raises(ActionRefused, match=f"'{scope}' cannot be given: the owner"):
                create_api_key(owner, "k", scopes=["inference", scope], actor=actor)
    assert not ApiKey.objects.exists()


@pytest.mark.parametrize(
    ("scope", "codename"),
    [
        ("finance_read", "view_ledgerentry"),
        ("manage_finance", "add_closedmonth"),
        ("manage_finance", "change_budget"),
        ("providers_read", "view_price"),
        ("manage_providers", "change_provider"),
    ],
)
def test_C22_who_may_do_it_himself_gives_it_to_his_own_key_and_nobody_weaker_does(scope: str, codename: str) -> None:
    owner, weaker = person("owner", codename, "add_apikey"), person("weaker", "add_apikey", "change_apikey")
    key, _ = create_api_key(owner, "k", scopes=[scope], actor=Actor.of(owner))
    assert key.scopes == [scope]
    with pytest.raises(ActionRefused, match="cannot be given by you"):
        checked_scopes([scope], owner, Actor.of(weaker))


def test_C22_a_superusers_key_gets_management_from_superusers_only(root: User) -> None:
    every_permission = person("clerk", *Permission.objects.values_list("codename", flat=True))
    for scope in ON_PURPOSE:
        with pytest.raises(ActionRefused, match="cannot be given by you"):
            checked_scopes([scope], root, Actor.of(every_permission))
        assert checked_scopes([scope], root, Actor.of(root)) == [scope]


def test_C22_changing_something_else_keeps_scopes_and_taking_one_away_is_nobodys_business(root: User) -> None:
    owner = person("owner", "change_provider")
    key, _ = create_api_key(owner, "k", scopes=["inference", "manage_providers"])
    owner.user_permissions.clear()
    plain = {"name": "desk", "allowed_models": [], "allowed_contexts": [], "expires_at": None, "actor": Actor.of(root)}
    assert update_api_key(key, scopes=["manage_providers", "inference"], **plain).scopes == ["inference", "manage_providers"]
    assert update_api_key(key, **plain).scopes == ["inference", "manage_providers"]
    assert update_api_key(key, scopes=["inference"], **plain).scopes == ["inference"]
    with pytest.raises(ActionRefused, match="owner"):
        update_api_key(key, scopes=["inference", "manage_providers"], **plain)


def test_the_group_finance_may_be_read_for_by_its_members_keys() -> None:
    member = person("clara", staff=False)
    member.groups.add(Group.objects.create(name=FINANCE_GROUP))
    assert create_api_key(member, "reports", scopes=["finance_read"], actor=Actor.of(member))[0].scopes == ["finance_read"]
    member.is_active = False
    assert rights_of(member, "finance_read") == frozenset()


@pytest.mark.parametrize("scope", ["everything", "Inference", ""])
def test_scopes_are_a_closed_set_each_with_a_sentence(scope: str, root: User) -> None:
    with pytest.raises(ActionRefused, match="Scopes: inference"):
        create_api_key(root, "k", scopes=[scope])
    assert set(EXPLAINED) == set(Scope)


# ------------------------------------------------------------------ lists of names


def test_C04_names_of_models_and_contexts_are_understood_by_the_action_itself(root: User) -> None:
    host = Provider.objects.create(slug="openai", label="Host", kind="simulator")
    Deployment.objects.create(provider=host, name="gpt-4o", upstream_model="gpt-4o", enabled=False)
    Route.objects.create(name="fast", enabled=False)
    key, _ = create_api_key(root, "k", allowed_models='["GPT-4O", "openai/*"]', allowed_contexts="writing, app-*")
    assert (key.allowed_models, key.allowed_contexts) == (["gpt-4o", "openai/*"], ["writing", "app-*"])
    plain = {"name": "k", "expires_at": None}
    assert update_api_key(key, allowed_models="FAST", allowed_contexts=[], **plain).allowed_models == ["fast"]
    with pytest.raises(ActionRefused, match=r"'gpt-4' matches nothing\. Nearest: gpt-4o"):
        update_api_key(key, allowed_models=["gpt-4"], allowed_contexts=[], **plain)
    with pytest.raises(ActionRefused, match="'a b' is no context"):
        update_api_key(key, allowed_models=[], allowed_contexts=["a b"], **plain)
    ApiKey.objects.update(allowed_models=["gone"], allowed_contexts=["an old one"])
    kept = update_api_key(key, allowed_models=["gone", "fast"], allowed_contexts=["an old one"], **plain)
    assert (kept.allowed_models, kept.allowed_contexts) == (["gone", "fast"], ["an old one"])
