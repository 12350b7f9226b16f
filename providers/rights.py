"""The one rule of rights: nobody gives himself or others what he does not have.

Every page, action, inline and endpoint that touches an account, a group or a key asks here. Superusers have everything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from django.contrib.auth.models import Group, Permission, User
from django.core.exceptions import PermissionDenied
from django.db.models import Q

from providers.audit import Actor

STRONGER: Final = "This account may do more than yours: only a superuser changes it."
NOT_YOURS: Final = "You cannot give what you do not have: {}."


@dataclass(frozen=True, slots=True)
class RoleSource:
    """What an account may do beside Django's permissions, by name: roles that an app knows of.

    ``beyond`` is a condition on accounts: those with a role that is not among the given ones.
    """

    of_account: Callable[[int], Iterable[str]]
    of_group: Callable[[Group], Iterable[str]]
    beyond: Callable[[frozenset[str]], Q]


_sources: list[RoleSource] = []


def add_roles(source: RoleSource) -> None:
    """Once per app, at start."""
    _sources.append(source)


@dataclass(frozen=True, slots=True)
class Rights:
    """All that an account may do. ``permissions`` are ids."""

    superuser: bool = False
    staff: bool = False
    permissions: frozenset[int] = frozenset()
    roles: frozenset[str] = frozenset()

    def cover(self, other: Rights) -> bool:
        """Whether ``other`` may do nothing that these may not."""
        if self.superuser:
            return True
        staff_is_held = self.staff or not other.staff
        return not other.superuser and staff_is_held and other.permissions <= self.permissions and other.roles <= self.roles


EVERYTHING: Final = Rights(superuser=True)


def rights_of(account: User) -> Rights:
    """What the account may do once it is active: who wakes one that sleeps gives it all of this."""
    if account.is_superuser:
        return EVERYTHING
    if account._state.adding:
        return Rights(staff=account.is_staff)
    given = Permission.objects.filter(Q(user=account.pk) | Q(group__user=account.pk)).values_list("pk", flat=True)
    roles = (role for source in _sources for role in source.of_account(account.pk))
    return Rights(staff=account.is_staff, permissions=frozenset(given), roles=frozenset(roles))


def rights_held(actor: Actor) -> Rights:
    """What the actor may do now, and so may give."""
    if actor.is_superuser:
        return EVERYTHING
    if actor.user is None or not actor.user.is_active:
        return Rights()
    return rights_of(User.objects.get(pk=actor.user.pk))


def rights_of_group(group: Group) -> Rights:
    """What membership gives."""
    roles = frozenset(role for source in _sources for role in source.of_group(group))
    permissions = group.permissions.all() if group.pk else ()
    return Rights(permissions=frozenset(permission.pk for permission in permissions), roles=roles)


def is_stronger(account: User, actor: Actor) -> bool:
    """Whether the account may do something the actor may not, so that acting as it would be a gain."""
    return not rights_held(actor).cover(rights_of(account))


def not_stronger(actor: Actor) -> Q:
    """A condition on accounts, for lists: ``is_stronger`` asked of all at once."""
    held = rights_held(actor)
    if held.superuser:
        return Q()
    lacking = Permission.objects.exclude(pk__in=held.permissions)
    with_more = User.objects.filter(Q(user_permissions__in=lacking) | Q(groups__permissions__in=lacking))
    beyond = Q(is_superuser=True) | Q(pk__in=with_more.values("pk"))
    if not held.staff:
        beyond |= Q(is_staff=True)
    for source in _sources:
        beyond |= source.beyond(held.roles)
    return ~beyond


def is_last_superuser(account: User) -> bool:
    """Without whom nobody could administer any more."""
    stored = User.objects.filter(is_superuser=True, is_active=True)
    return stored.filter(pk=account.pk).exists() and not stored.exclude(pk=account.pk).exists()


def check_account(account: User, actor: Actor) -> None:
    """Before anything that changes an account or makes it usable. Raises ``PermissionDenied``."""
    if is_stronger(account, actor):
        raise PermissionDenied(STRONGER)


def check_rights(wanted: Rights, actor: Actor, what: str) -> None:
    """Before ``wanted`` is given to anybody. Raises ``PermissionDenied``."""
    if not rights_held(actor).cover(wanted):
        raise PermissionDenied(NOT_YOURS.format(what))


def may_give_group(group: Group, actor: Actor) -> bool:
    return rights_held(actor).cover(rights_of_group(group))


def givable_permissions(actor: Actor) -> Q:
    """A condition on ``Permission``: those the actor holds."""
    held = rights_held(actor)
    return Q() if held.superuser else Q(pk__in=held.permissions)


def givable_groups(actor: Actor) -> Q:
    """A condition on ``Group``: those whose rights the actor holds."""
    held = rights_held(actor)
    if held.superuser:
        return Q()
    groups = Group.objects.prefetch_related("permissions")
    return Q(pk__in=[group.pk for group in groups if held.cover(rights_of_group(group))])
