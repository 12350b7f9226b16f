"""Who may ask, and what a rule may demand of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta

from django.contrib.auth.models import Group, Permission, User
from django.utils import timezone

from usage.keys.actions import create_api_key, revoke_api_key
from usage.models import FINANCE_GROUP, ApiKey


@dataclass(frozen=True, slots=True)
class Principal:
    """``known``: the product takes this one for who it says. ``permissions`` count for staff only, a superuser has all."""

    name: str
    user: User | None = None
    key: str | None = None
    known: bool = True
    permissions: frozenset[str] = frozenset()
    is_finance: bool = False

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


@dataclass(slots=True)
class People:
    """Everybody, made once. ``one_permission`` yields staff that have exactly one permission each."""

    named: list[Principal] = field(default_factory=list)
    staff: User | None = None

    def one_permission(self) -> Iterator[Principal]:
        """The same account each time, with other permissions in its memory: no row is written for any of them."""
        assert self.staff is not None
        for name in all_permissions():
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
    clerk = User.objects.create_user("fiona")
    clerk.groups.add(Group.objects.get_or_create(name=FINANCE_GROUP)[0])
    plain_staff = User.objects.create_user("stefan", is_staff=True)
    disabled = User.objects.create_user("doris", is_staff=True, is_superuser=True)
    disabled_key = _key(disabled)
    disabled.is_active = False
    disabled.save()
    revoked, expired = create_api_key(user, "revoked"), create_api_key(user, "expired")
    revoke_api_key(revoked[0])
    ApiKey.objects.filter(pk=expired[0].pk).update(expires_at=timezone.now() - timedelta(seconds=1))
    named = [
        Principal("anonymous", known=False),
        Principal("user", user),
        Principal("other user", other),
        Principal("finance", clerk, is_finance=True),
        Principal("staff without permissions", plain_staff),
        Principal("superuser", root),
        Principal("disabled superuser", disabled, known=False),
        Principal("user's key", user, key=_key(user)),
        Principal("other user's key", other, key=_key(other)),
        Principal("finance's key", clerk, key=_key(clerk), is_finance=True),
        Principal("superuser's key", root, key=_key(root)),
        Principal("disabled superuser's key", disabled, key=disabled_key, known=False),
        Principal("revoked key", user, key=revoked[1], known=False),
        Principal("expired key", user, key=expired[1], known=False),
        Principal("unknown key", user, key="gw_abcdefghijkl_" + "x" * 43, known=False),
        Principal("no key at all", user, key="' OR '1'='1", known=False),
    ]
    return People(named, plain_staff)


def _key(user: User) -> str:
    return create_api_key(user, f"of {user.username}")[1]
