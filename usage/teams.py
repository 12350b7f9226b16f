"""Teams and who administers them: what an owner sees and manages of his teams, and nothing besides.

An owner needs to be staff to reach the pages, and no model permission at all. Owning a team is a role: only superusers give it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from django.contrib.auth.models import AnonymousUser, Group, User
from django.db.models import Q, QuerySet

from providers import rights
from providers.audit import Actor
from providers.rights import RoleSource
from usage.models import FINANCE_GROUP, TeamOwner

FINANCE: Final = "finance"
OWNER: Final = "owner of team "


def owned_teams(user: User | AnonymousUser) -> frozenset[int]:
    """Ids of the groups this person administers; none while the account is inactive."""
    if not user.is_authenticated or not user.is_active:
        return frozenset()
    return frozenset(TeamOwner.objects.filter(user=user.pk).values_list("team_id", flat=True))


def is_finance(user: User | AnonymousUser) -> bool:
    """Members of the group ``finance``, superusers, and staff who may view the ledger."""
    if not user.is_authenticated or not user.is_active:
        return False
    if user.is_staff and user.has_perm("usage.view_ledgerentry"):
        return True
    return user.is_superuser or user.groups.filter(name=FINANCE_GROUP).exists()


def members_of(teams: frozenset[int]) -> QuerySet[User]:
    return User.objects.filter(groups__in=teams).distinct()


def manageable_members(actor: Actor) -> QuerySet[User]:
    """Members of the actor's teams that may do no more than the actor does."""
    if actor.user is None:
        return User.objects.none()
    return members_of(owned_teams(actor.user)).filter(rights.not_stronger(actor))


def manages(actor: Actor, account: User) -> bool:
    """Whether the actor administers a team of this account and the account is not stronger."""
    if actor.user is None:
        return False
    teams = owned_teams(actor.user)
    return bool(teams) and account.groups.filter(pk__in=teams).exists() and not rights.is_stronger(account, actor)


def budgets_within(teams: frozenset[int]) -> Q:
    """A condition on budgets: those of the teams, of their members and of their members' keys."""
    members = User.objects.filter(groups__in=teams)
    return Q(scope="team", team__in=teams) | Q(scope="user", user__in=members) | Q(scope="key", api_key__user__in=members)


def _roles_of_account(user_id: int) -> Iterator[str]:
    if Group.objects.filter(user=user_id, name=FINANCE_GROUP).exists():
        yield FINANCE
    yield from (f"{OWNER}{team}" for team in TeamOwner.objects.filter(user=user_id).values_list("team_id", flat=True))


def _roles_of_group(group: Group) -> Iterator[str]:
    if group.name == FINANCE_GROUP:
        yield FINANCE


def _beyond(held: frozenset[str]) -> Q:
    own = [int(role.removeprefix(OWNER)) for role in held if role.startswith(OWNER)]
    beyond = Q(pk__in=TeamOwner.objects.exclude(team__in=own).values("user"))
    if FINANCE not in held:
        beyond |= Q(pk__in=User.objects.filter(groups__name=FINANCE_GROUP).values("pk"))
    return beyond


ROLES: Final = RoleSource(_roles_of_account, _roles_of_group, _beyond)
