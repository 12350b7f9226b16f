"""The rule of rights asked of one account and asked of many at once says the same."""

from __future__ import annotations

import random

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.db import connection
from django.test.utils import CaptureQueriesContext

from providers import rights
from providers.audit import SYSTEM, Actor
from usage.models import FINANCE_GROUP, TeamOwner

pytestmark = pytest.mark.django_db


def crowd(size: int) -> list[User]:
    """Accounts with random marks, permissions, groups and roles."""
    dice, some = random.Random(11), [*Permission.objects.order_by("pk")[:4]]
    groups = [Group.objects.create(name=name) for name in ("a", "b", FINANCE_GROUP)]
    groups[0].permissions.set(some[:1])
    people = []
    for number in range(size):
        marks = {"is_staff": dice.random() < 0.6, "is_superuser": dice.random() < 0.1, "is_active": dice.random() < 0.8}
        person = User.objects.create(username=f"p{number}", **marks)
        person.user_permissions.set(dice.sample(some, dice.randrange(3)))
        person.groups.set([each for each in groups if dice.random() < 0.3])
        if dice.random() < 0.2:
            TeamOwner.objects.create(team=dice.choice(groups[:2]), user=person)
        people.append(person)
    return people


def test_C01_one_by_one_and_all_at_once_agree() -> None:
    people = crowd(40)
    for actor in [Actor.of(person) for person in people] + [SYSTEM, Actor(None, is_superuser=False)]:
        together = {*User.objects.filter(rights.not_stronger(actor)).distinct()}
        assert together == {person for person in people if not rights.is_stronger(person, actor)}


def test_C01_a_question_about_many_accounts_is_a_handful_of_queries() -> None:
    actor = Actor.of(crowd(30)[0])
    with CaptureQueriesContext(
        connection,
    ) as asked:
        [*User.objects.filter(rights.not_stronger(actor))]
        [*Group.objects.filter(rights.givable_groups(actor))]
    assert len(asked) < 20
