"""What a key may do on the REST surface: every view names the scope it needs, one function compares.

A view says ``scope = "finance_read"``, or by method ``scope = {"GET": "finance_read", "POST": "manage_finance"}``, or ``PUBLIC`` where
nobody needs to be anybody. A view that says nothing is open to people who signed in and to no key at all: forgetting it closes it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from rest_framework.exceptions import PermissionDenied
from rest_framework.request import Request

PUBLIC = "public"
SCOPE_MISSING = "scope_missing"


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
