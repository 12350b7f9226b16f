"""Who may ask, and what a rule may demand of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta

from django.contrib.auth.models import Group, Permission, User
from django.utils import timezone

from usage.keys.actions import create_api_key, revoke_api_key
from usage.models import FINANCE_GROUP, ApiKey, TeamOwner


@dataclass(frozen=True, slots=True)
class Principal:
    """``known``: the product takes this one for who it says. ``permissions`` count for staff only, a superuser has all.

    ``scopes``: what its key may do, with what that includes; ``None`` where no key is used. ``owns_team``: it administers one.
    """

    name: str
    user: User | None = None
    key: str | None = None
    known: bool = True
    permissions: frozenset[str] = frozenset()
    is_finance: bool = False
    owns_team: bool = False
    scopes: frozenset[str] | None = None

    @property
    def is_superuser(self) -> bool:
        return self.known and self.user is not None and self.user.is_superuser

    @property
    def is_staff(self) -> bool:
        return self.known and self.user is not None and self.user.is_staff

    @property
    def is_anonymous(self) -> bool:
        return self.user is None

    def has(self, permission: str) -> bool:
        return self.is_superuser or permission in self.permissions

    def __str__(self) -> str:
        return self.name


Need = Callable[[Principal], bool]


def anyone(_: Principal) -> bool:
    return True


def signed_in(who: Principal) -> bool:
    return who.known and not who.is_anonymous


def in_session(who: Principal) -> bool:
    return signed_in(who) and who.key is None


def staff(who: Principal) -> bool:
    return who.is_staff


def superuser(who: Principal) -> bool:
    return who.is_superuser


def never(_: Principal) -> bool:
    return False


def perm(*names: str) -> Need:
    """Staff with all of these."""
    return lambda who: who.is_staff and all(who.has(name) for name in names)


def holding(name: str) -> Need:
    """Anybody with this one, staff or not."""
    return lambda who: who.has(name)


def either(*needs: Need) -> Need:
    return lambda who: any(need(who) for need in needs)


def both(*needs: Need) -> Need:
    return lambda who: all(need(who) for need in needs)


def finance(who: Principal) -> bool:
    return signed_in(who) and (who.is_superuser or who.is_finance or perm("usage.view_ledgerentry")(who))


def owner(who: Principal) -> bool:
    """Staff that administers a team: sees and manages what belongs to it."""
    return who.is_staff and who.owns_team


def reports(who: Principal) -> bool:
    """Finance for everybody, the owner of a team for the team."""
    return finance(who) or (signed_in(who) and who.owns_team)


INCLUDED = {"manage_finance": "finance_read", "manage_providers": "providers_read"}
OWN_SCOPES = ("inference", "own_usage", "own_preferences")
GIVEN_SCOPES = ("finance_read", "manage_finance", "providers_read", "manage_providers")


@dataclass(slots=True)
class People:
    """Everybody, made once. ``one_permission`` yields staff that have exactly one permission each."""

    named: list[Principal] = field(default_factory=list)
    staff: User | None = None

    def one_permission(self) -> Iterator[Principal]:
        """The same account each time, with other permissions in its memory: no row is written for any of them.

        ``AIGATEWAY_TEST_PERMISSION_STEP=20`` takes every twentieth permission, for a first look.
        """
        assert self.staff is not None
        for name in all_permissions()[:: int(os.environ.get("AIGATEWAY_TEST_PERMISSION_STEP") or 1)]:
            yield Principal(f"staff with {name}", self.staff, permissions=frozenset({name}))

    def remember(self, who: Principal) -> None:
        """Makes Django's backend take ``who`` for having what it has."""
        if who.user is not None and not who.is_superuser:
            for memory in ("_perm_cache", "_user_perm_cache"):
                setattr(who.user, memory, set(who.permissions))
            who.user._group_perm_cache = set()


def all_permissions() -> list[str]:
    rows = Permission.objects.select_related("content_type").order_by("content_type__app_label", "codename")
    return [f"{row.content_type.app_label}.{row.codename}" for row in rows]


def build_people() -> People:
    root, user, other = User.objects.create_superuser("root"), User.objects.create_user("ursula"), User.objects.create_user("otto")
    clerk, plain_staff = User.objects.create_user("fiona"), User.objects.create_user("stefan", is_staff=True)
    clerk.groups.add(Group.objects.get_or_create(name=FINANCE_GROUP)[0])
    head, team = User.objects.create_user("tamara", is_staff=True), Group.objects.create(name="red")
    user.groups.add(team)
    TeamOwner.objects.create(user=head, team=team)
    named = [
        Principal("anonymous", known=False),
        Principal("user", user),
        Principal("other user", other),
        Principal("finance", clerk, is_finance=True),
        Principal("staff without permissions", plain_staff),
        Principal("team owner", head, owns_team=True),
        Principal("superuser", root),
        _with_key("user's key", user),
        _with_key("other user's key", other),
        _with_key("finance's key", clerk, is_finance=True),
        _with_key("finance's key to read", clerk, ("finance_read",), is_finance=True),
        _with_key("team owner's key", head, owns_team=True),
        _with_key("team owner's key to read", head, ("finance_read",), owns_team=True),
        _with_key("superuser's key", root),
        _with_key("superuser's key for everything", root, (*OWN_SCOPES, *GIVEN_SCOPES)),
        *(_with_key(f"superuser's key for {scope}", root, (scope,)) for scope in (*OWN_SCOPES, *GIVEN_SCOPES)),
        *_turned_away(user),
    ]
    return People(named, plain_staff)


def _turned_away(user: User) -> Iterator[Principal]:
    """Those the product knows, or thinks of, and does not let in."""
    disabled = User.objects.create_user("doris", is_staff=True, is_superuser=True)
    of_disabled = _with_key("disabled superuser's key", disabled)
    disabled.is_active = False
    disabled.save()
    revoked, expired = _with_key("revoked key", user), _with_key("expired key", user)
    revoke_api_key(_row(revoked))
    ApiKey.objects.filter(pk=_row(expired).pk).update(expires_at=timezone.now() - timedelta(seconds=1))
    yield Principal("disabled superuser", disabled, known=False)
    yield from (replace(ended, known=False) for ended in (of_disabled, revoked, expired))
    yield Principal("unknown key", user, key="gw_abcdefghijkl_" + "x" * 43, known=False)
    yield Principal("no key at all", user, key="' OR '1'='1", known=False)


def _with_key(name: str, user: User, scopes: tuple[str, ...] = OWN_SCOPES, **is_also: bool) -> Principal:
    _, plaintext = create_api_key(user, name, scopes=scopes)
    covered = frozenset({*scopes, *(INCLUDED[scope] for scope in scopes if scope in INCLUDED)})
    return Principal(name, user, key=plaintext, scopes=covered, **is_also)


def _row(who: Principal) -> ApiKey:
    return ApiKey.objects.get(name=who.name)
