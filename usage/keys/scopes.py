"""What a gateway key may do. A scope never adds a right: what counts is what the key's owner may do AND what its scopes say."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Final

from django.contrib.auth.models import User

from providers.audit import Actor
from usage.errors import ActionRefused
from usage.teams import is_finance, owned_teams


class Scope(StrEnum):
    INFERENCE = "inference"
    OWN_USAGE = "own_usage"
    OWN_PREFERENCES = "own_preferences"
    FINANCE_READ = "finance_read"
    MANAGE_FINANCE = "manage_finance"
    PROVIDERS_READ = "providers_read"
    MANAGE_PROVIDERS = "manage_providers"


EXPLAINED: Final[Mapping[Scope, str]] = {
    Scope.INFERENCE: "Send requests to models, and list those it may use.",
    Scope.OWN_USAGE: "See the owner's own usage, costs and limits.",
    Scope.OWN_PREFERENCES: "See and change the owner's preferred models.",
    Scope.FINANCE_READ: "See and export everybody's usage, costs, budgets and statements.",
    Scope.MANAGE_FINANCE: "Change quotas, credit and charge, upload statements, close months. Includes finance_read.",
    Scope.PROVIDERS_READ: "See providers, their health, and prices.",
    Scope.MANAGE_PROVIDERS: "Change, test and import providers, their keys and prices; tests cost money. Includes providers_read.",
}
DEFAULT_SCOPES: Final = (Scope.INFERENCE, Scope.OWN_USAGE, Scope.OWN_PREFERENCES)
"""What every key is made for; everything else is given on purpose."""

_INCLUDES: Final[Mapping[str, Scope]] = {
    Scope.MANAGE_FINANCE: Scope.FINANCE_READ,
    Scope.MANAGE_PROVIDERS: Scope.PROVIDERS_READ,
}
_FINANCE_READ: Final = ("usage.view_budget",)
_PROVIDERS_READ: Final = ("providers.view_provider", "providers.view_price", "providers.view_priceproposal")
_PERMISSIONS: Final[Mapping[str, tuple[str, ...]]] = {
    Scope.FINANCE_READ: _FINANCE_READ,
    Scope.MANAGE_FINANCE: (*_FINANCE_READ, "usage.change_budget", "usage.add_ledgerentry", "usage.add_closedmonth"),
    Scope.PROVIDERS_READ: _PROVIDERS_READ,
    Scope.MANAGE_PROVIDERS: (
        *_PROVIDERS_READ, "providers.add_provider", "providers.change_provider", "providers.delete_provider", "providers.add_price",
        "providers.change_priceproposal",
    ),
}  # fmt: skip
"""Django's permissions behind the views of each scope that is given on purpose."""


def effective(scopes: Iterable[str]) -> frozenset[str]:
    """With what they include. Words nobody knows allow nothing."""
    known = {str(scope) for scope in scopes} & {*Scope}
    return frozenset(str(scope) for scope in (*known, *(_INCLUDES[scope] for scope in known if scope in _INCLUDES)))


def rights_of(user: User, scope: str) -> frozenset[str]:
    """What this person may do himself of what ``scope`` stands for; empty: nothing, so that a key with it could do nothing."""
    if not user.is_active:
        return frozenset()
    rights = {name for name in _PERMISSIONS[scope] if user.is_staff and user.has_perm(name)}
    if scope in (Scope.FINANCE_READ, Scope.MANAGE_FINANCE) and is_finance(user):
        rights.add("finance")
    if scope == Scope.FINANCE_READ:
        rights.update(f"reports of team {team}" for team in owned_teams(user))
    if user.is_superuser:
        rights.add("superuser")
    return frozenset(rights)


def checked_scopes(scopes: Iterable[str], owner: User, actor: Actor, kept: Iterable[str] = ()) -> list[str]:
    """``scopes`` in their order, each once. Raises ``ActionRefused`` for one that ``actor`` may not give to a key of ``owner``.

    The one rule of giving scopes: the owner may do it himself, and the actor may do all that the owner could do with it, since
    whoever makes a key has read it. ``kept`` are those the key has already.
    """
    wanted = dict.fromkeys(str(scope) for scope in scopes)
    unknown = [name for name in wanted if name not in set(Scope)]
    if unknown:
        raise ActionRefused(f"There is no scope '{unknown[0][:50]}'. Scopes: {', '.join(Scope)}.")
    for name in wanted.keys() - set(DEFAULT_SCOPES) - set(kept):
        _refuse_unless_given_by_who_may(name, owner, actor)
    return [str(scope) for scope in Scope if scope in wanted]


def _refuse_unless_given_by_who_may(scope: str, owner: User, actor: Actor) -> None:
    of_owner = rights_of(owner, scope)
    if not of_owner:
        raise ActionRefused(f"The scope '{scope}' cannot be given: the owner of the key, {owner.get_username()}, may not do this himself.")
    if not actor.is_superuser and (actor.user is None or not of_owner <= rights_of(actor.user, scope)):
        raise ActionRefused(f"The scope '{scope}' cannot be given by you: the owner of the key may do more with it than you may.")
