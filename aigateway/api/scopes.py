"""What a key may do on the REST surface: every view names the scope it needs, one function compares.

A view says ``scope = "finance_read"``, or by method ``scope = {"GET": "finance_read", "POST": "manage_finance"}``, or ``PUBLIC`` where
nobody needs to be anybody. A view that says nothing is open to people who signed in and to no key at all: forgetting it closes it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from typing import Any

from django.contrib.auth.models import User
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import PermissionDenied
from rest_framework.request import Request

from usage.keys import effective

PUBLIC = "public"
SCOPE_MISSING = "scope_missing"


class ScopedAuthentication(BaseAuthentication, ABC):
    """What every credential but a session is read by: ``identify`` says whose it is, here is settled whether it may do this.

    It happens while authenticating, because permissions are a view's own to choose.
    """

    @abstractmethod
    def identify(self, request: Request) -> tuple[User, Any] | None:
        """The user, and what carries ``scopes``, whatever they allow; ``None`` for credentials of another kind."""

    def authenticate(self, request: Request) -> tuple[User, Any] | None:
        found = self.identify(request)
        if found is not None:
            refuse_missing_scope(request, effective(found[1].scopes))
        return found


def refuse_missing_scope(request: Request, scopes: Collection[str]) -> None:
    """Raises ``PermissionDenied`` 403 ``scope_missing`` unless ``scopes`` hold what the view of this request needs."""
    view = request.parser_context.get("view") if request.parser_context else None
    method = request.method or ""
    if view is None or not hasattr(view, method.lower()):  # no such method: the view answers 405
        return
    needed = needed_scopes(view, method)
    if needed & {PUBLIC, *scopes}:
        return
    if not needed:
        raise PermissionDenied("No API key may do this: sign in.", SCOPE_MISSING)
    raise PermissionDenied(f"This API key may not do this: it lacks the scope '{sorted(needed)[0]}'.", SCOPE_MISSING)


def needed_scopes(view: object, method: str) -> frozenset[str]:
    """One of them is enough; none: no key may. ``OPTIONS`` describes all methods, so the scope of any will do."""
    declared: str | Mapping[str, str] | None = getattr(view, "scope", None)
    if declared is None:
        return frozenset()
    if isinstance(declared, str):
        return frozenset({declared})
    if method == "OPTIONS":
        return frozenset(declared.values())
    name = declared.get("GET" if method == "HEAD" else method)
    return frozenset() if name is None else frozenset({name})
