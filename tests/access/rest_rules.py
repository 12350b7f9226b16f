"""Who may do what with each address that is no page of the admin: one row per class of route, aliases share their view's row.

``guard`` says who passes, by method: REST framework asks it before it looks whether the method exists. ``offers`` says what those
who pass are answered: to an empty JSON object as the body, about something that exists. ``absent`` is for what does not exist.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tests.access.principals import Need, anyone, both, finance, holding, perm, signed_in, superuser

METHODS = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE")
READS = ("GET", "HEAD", "OPTIONS")


@dataclass(frozen=True, slots=True)
class Row:
    guard: Callable[[str], Need]
    offers: Mapping[str, int]
    absent: Mapping[str, int] = field(default_factory=dict)
    authenticates: bool = True

    def expected(self, method: str, *, allowed: bool, is_known: bool, sent_bad_key: bool, absent: bool) -> int:
        if self.authenticates and sent_bad_key:
            return 401
        if not allowed:
            return 403 if is_known else 401
        if method == "OPTIONS":
            return 200
        offered = "GET" if method == "HEAD" else method
        if offered not in self.offers:
            return 405
        return self.absent.get(offered, 404) if absent else self.offers[offered]


def always(need: Need) -> Callable[[str], Need]:
    return lambda method: need


def providers(**verbs: str) -> Callable[[str], Need]:
    """Staff with Django's permission on providers; ``verbs`` differ from the usual ones."""
    usual = {"GET": "view", "HEAD": "view", "OPTIONS": "view", "DELETE": "delete"}
    return lambda method: perm(f"providers.{verbs.get(method, usual.get(method, 'change'))}_provider")


def by_method(otherwise: Need, **needs: Need) -> Callable[[str], Need]:
    return lambda method: needs.get(method, otherwise)


EVERYBODY, MEMBERS, FINANCE, SUPERUSERS = always(anyone), always(signed_in), always(finance), always(superuser)
BUDGETS = by_method(perm("usage.change_budget"), **dict.fromkeys(READS, perm("usage.view_budget")))
PROPOSALS = perm("providers.view_priceproposal")

ROUTES: dict[str, Row] = {
    "preferences": Row(MEMBERS, {"GET": 200, "PUT": 400, "DELETE": 204}),
    "preferences/<str:context>": Row(MEMBERS, {"DELETE": 204}),
    "usage": Row(MEMBERS, {"GET": 200}),
    "quota": Row(MEMBERS, {"GET": 200}),
    "models": Row(EVERYBODY, {"GET": 200}),
    "admin/usage": Row(FINANCE, {"GET": 200}),
    "admin/usage/lines": Row(FINANCE, {"GET": 200}),
    "admin/savings": Row(FINANCE, {"GET": 200}),
    "admin/costs": Row(FINANCE, {"GET": 200}),
    "admin/exports": Row(FINANCE, {"GET": 200, "POST": 400}),
    "admin/exports/<uuid:export_id>": Row(FINANCE, {"GET": 200}),
    "admin/exports/<uuid:export_id>/restart": Row(FINANCE, {"POST": 202}),
    "admin/exports/<uuid:export_id>/file": Row(FINANCE, {"GET": 404}),
    "admin/exports/<uuid:export_id>/manifest": Row(FINANCE, {"GET": 404}),
    "admin/months": Row(FINANCE, {"GET": 200}),
    "admin/months/<str:month>/close": Row(always(both(finance, holding("usage.add_closedmonth"))), {"POST": 201}, {"POST": 400}),
    "admin/months/<str:month>/file": Row(FINANCE, {"GET": 200}, {"GET": 400}),
    "admin/statements": Row(FINANCE, {"GET": 200, "POST": 400}),
    "admin/statements/<int:statement_id>": Row(FINANCE, {"GET": 200}),
    "admin/what-if": Row(FINANCE, {"GET": 200, "POST": 200}),
    "admin/adjustments": Row(always(perm("usage.add_ledgerentry")), {"POST": 400}),
    "admin/quotas/<int:user_id>": Row(BUDGETS, {"GET": 200, "PUT": 200}),
    "admin/quotas/<int:user_id>/reset": Row(BUDGETS, {"POST": 400}),
    "webhooks/subscriptions": Row(EVERYBODY, {"POST": 404}, authenticates=False),
    "admin/prices": Row(by_method(perm("providers.view_price"), POST=perm("providers.add_price")), {"GET": 200, "POST": 400}),
    "admin/price-proposals": Row(always(PROPOSALS), {"GET": 200}),
    "admin/price-proposals/<int:pk>/decision": Row(
        by_method(PROPOSALS, POST=perm("providers.change_priceproposal", "providers.add_price")), {"POST": 400}, {"POST": 400}
    ),
    "admin/providers": Row(providers(POST="add"), {"GET": 200, "POST": 400}),
    "admin/providers/health": Row(providers(), {"GET": 200}),
    "admin/providers/status": Row(providers(), {"GET": 200}),
    "admin/providers/health-check": Row(providers(), {"POST": 202}),
    "admin/providers/health-check/<uuid:pk>": Row(providers(), {"GET": 200}),
    "admin/providers/<int:pk>": Row(providers(), {"GET": 200, "PUT": 400, "PATCH": 200, "DELETE": 204}),
    "admin/providers/<int:pk>/toggle": Row(providers(), {"POST": 200}),
    "admin/providers/<int:pk>/import": Row(providers(), {"POST": 200}),
    "admin/providers/<int:pk>/health": Row(providers(), {"GET": 200}),
    "admin/providers/<int:pk>/health/history": Row(providers(), {"GET": 200}),
    "admin/providers/<int:pk>/test": Row(SUPERUSERS, {"POST": 200}),
    "admin/providers/<int:pk>/conform": Row(SUPERUSERS, {"POST": 200}),
}
"""Below ``/api/v1/ai/``."""

OPEN: dict[str, dict[str, int]] = {
    "": {"GET": 302, "HEAD": 302, "OPTIONS": 302, "POST": 302, "PUT": 302, "PATCH": 302, "DELETE": 302},
    "healthz": {"GET": 200, "HEAD": 200},
    "readyz": {"GET": 200, "HEAD": 200},
    "api/health": {"GET": 200, "HEAD": 200},
    "api/schema/": {"GET": 200, "HEAD": 200, "OPTIONS": 200},
    "api/docs/": {"GET": 200, "HEAD": 200, "OPTIONS": 200},
}
"""Answer everybody alike and know nobody's data; other methods are 405."""
