"""Who may do what with each address that is no page of the admin: one row per class of route, aliases share their view's row.

``guard`` says who passes, by method: REST framework asks it before it looks whether the method exists. ``offers`` says what those
who pass are answered: to an empty JSON object as the body, about something that exists. ``absent`` is for what does not exist.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tests.access.principals import Need, Principal, anyone, both, finance, holding, in_session, perm, reports, signed_in, superuser

METHODS = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE")
READS = ("GET", "HEAD", "OPTIONS")


PUBLIC = "public"


@dataclass(frozen=True, slots=True)
class Row:
    """``scopes``: what a key needs to read and to write; a key that lacks it is refused before anything else is asked."""

    guard: Callable[[str], Need]
    offers: Mapping[str, int]
    scopes: tuple[str, str]
    absent: Mapping[str, int] = field(default_factory=dict)
    authenticates: bool = True
    refused: int = 0
    """The status of who does not pass, where it is the same for everybody."""

    def expected(self, method: str, who: Principal, *, absent: bool = False) -> int:
        offered = "GET" if method == "HEAD" else method
        if self.authenticates and who.key is not None and not who.known:
            return 401
        if self.lacks_scope(offered, who):
            return 403
        if not self.guard(method)(who):
            return self.refused or (403 if who.known else 401)
        if method == "OPTIONS":
            return 200
        if offered not in self.offers:
            return 405
        return self.absent.get(offered, 404) if absent else self.offers[offered]

    def lacks_scope(self, offered: str, who: Principal) -> bool:
        if who.scopes is None or not self.authenticates or PUBLIC in self.scopes:
            return False
        if offered == "OPTIONS":
            return not who.scopes & {*self.scopes}
        return offered in self.offers and self.scopes[offered != "GET"] not in who.scopes


def always(need: Need) -> Callable[[str], Need]:
    return lambda method: need


def providers(**verbs: str) -> Callable[[str], Need]:
    """Staff with Django's permission on providers; ``verbs`` differ from the usual ones."""
    usual = {"GET": "view", "HEAD": "view", "OPTIONS": "view", "DELETE": "delete"}
    return lambda method: perm(f"providers.{verbs.get(method, usual.get(method, 'change'))}_provider")


def by_method(otherwise: Need, **needs: Need) -> Callable[[str], Need]:
    return lambda method: needs.get(method, otherwise)


EVERYBODY, MEMBERS, FINANCE, REPORTS, SUPERUSERS = (always(need) for need in (anyone, signed_in, finance, reports, superuser))
PREFERENCES, USAGE, MONEY = ("own_preferences",) * 2, ("own_usage",) * 2, ("finance_read", "manage_finance")
MONEY_READ, MONEY_WRITE, ANY = ("finance_read",) * 2, ("manage_finance",) * 2, (PUBLIC, PUBLIC)
PROVIDERS, PROVIDERS_WRITE = ("providers_read", "manage_providers"), ("manage_providers",) * 2
IN_SESSION, PEOPLE, TOKENS = always(in_session), ("people",) * 2, by_method(anyone, POST=in_session)
BUDGETS = by_method(perm("usage.change_budget"), **dict.fromkeys(READS, perm("usage.view_budget")))
PROPOSALS, DECIDE = perm("providers.view_priceproposal"), perm("providers.change_priceproposal", "providers.add_price")

ROUTES: dict[str, Row] = {
    "auth/token": Row(TOKENS, {"POST": 200}, ANY, authenticates=False, refused=401),
    "auth/token/refresh": Row(EVERYBODY, {"POST": 400}, ANY, authenticates=False),
    "auth/token/revoke": Row(EVERYBODY, {"POST": 400}, ANY, authenticates=False),
    "sessions": Row(IN_SESSION, {"GET": 200, "DELETE": 204}, PEOPLE),
    "sessions/<uuid:sign_in_id>": Row(IN_SESSION, {"DELETE": 404}, PEOPLE),
    "admin/users/<int:user_id>/sessions": Row(always(both(superuser, in_session)), {"GET": 200, "DELETE": 204}, PEOPLE),
    "preferences": Row(MEMBERS, {"GET": 200, "PUT": 400, "DELETE": 204}, PREFERENCES),
    "preferences/<str:context>": Row(MEMBERS, {"DELETE": 204}, PREFERENCES),
    "usage": Row(MEMBERS, {"GET": 200}, USAGE),
    "quota": Row(MEMBERS, {"GET": 200}, USAGE),
    "models": Row(EVERYBODY, {"GET": 200}, ANY),
    "admin/usage": Row(REPORTS, {"GET": 200}, MONEY_READ),
    "admin/usage/lines": Row(REPORTS, {"GET": 200}, MONEY_READ),
    "admin/savings": Row(REPORTS, {"GET": 200}, MONEY_READ),
    "admin/costs": Row(REPORTS, {"GET": 200}, MONEY_READ),
    "admin/exports": Row(FINANCE, {"GET": 200, "POST": 400}, MONEY_READ),
    "admin/exports/<uuid:export_id>": Row(FINANCE, {"GET": 200}, MONEY_READ),
    "admin/exports/<uuid:export_id>/restart": Row(FINANCE, {"POST": 202}, MONEY_READ),
    "admin/exports/<uuid:export_id>/file": Row(FINANCE, {"GET": 404}, MONEY_READ),
    "admin/exports/<uuid:export_id>/manifest": Row(FINANCE, {"GET": 404}, MONEY_READ),
    "admin/months": Row(FINANCE, {"GET": 200}, MONEY_READ),
    "admin/months/<str:month>/close": Row(
        always(both(finance, holding("usage.add_closedmonth"))), {"POST": 201}, MONEY_WRITE, {"POST": 400}
    ),
    "admin/months/<str:month>/file": Row(FINANCE, {"GET": 200}, MONEY_READ, {"GET": 400}),
    "admin/statements": Row(FINANCE, {"GET": 200, "POST": 400}, MONEY),
    "admin/statements/<int:statement_id>": Row(FINANCE, {"GET": 200}, MONEY_READ),
    "admin/what-if": Row(FINANCE, {"GET": 200, "POST": 200}, MONEY_READ),
    "admin/adjustments": Row(always(perm("usage.add_ledgerentry")), {"POST": 400}, MONEY_WRITE),
    "admin/quotas/<int:user_id>": Row(BUDGETS, {"GET": 200, "PUT": 200}, MONEY),
    "admin/quotas/<int:user_id>/reset": Row(BUDGETS, {"POST": 400}, MONEY_WRITE),
    "webhooks/subscriptions": Row(EVERYBODY, {"POST": 404}, ANY, authenticates=False),
    "admin/prices": Row(by_method(perm("providers.view_price"), POST=perm("providers.add_price")), {"GET": 200, "POST": 400}, PROVIDERS),
    "admin/price-proposals": Row(always(PROPOSALS), {"GET": 200}, PROVIDERS),
    "admin/price-proposals/<int:pk>/decision": Row(by_method(PROPOSALS, POST=DECIDE), {"POST": 400}, PROVIDERS, {"POST": 400}),
    "admin/providers": Row(providers(POST="add"), {"GET": 200, "POST": 400}, PROVIDERS),
    "admin/providers/health": Row(providers(), {"GET": 200}, PROVIDERS),
    "admin/providers/status": Row(providers(), {"GET": 200}, PROVIDERS),
    "admin/providers/health-check": Row(providers(), {"POST": 202}, PROVIDERS),
    "admin/providers/health-check/<uuid:pk>": Row(providers(), {"GET": 200}, PROVIDERS),
    "admin/providers/<int:pk>": Row(providers(), {"GET": 200, "PUT": 400, "PATCH": 200, "DELETE": 204}, PROVIDERS),
    "admin/providers/<int:pk>/toggle": Row(providers(), {"POST": 200}, PROVIDERS),
    "admin/providers/<int:pk>/import": Row(providers(), {"POST": 200}, PROVIDERS),
    "admin/providers/<int:pk>/health": Row(providers(), {"GET": 200}, PROVIDERS),
    "admin/providers/<int:pk>/health/history": Row(providers(), {"GET": 200}, PROVIDERS),
    "admin/providers/<int:pk>/test": Row(SUPERUSERS, {"POST": 200}, PROVIDERS_WRITE),
    "admin/providers/<int:pk>/conform": Row(SUPERUSERS, {"POST": 200}, PROVIDERS_WRITE),
}
"""Below ``/api/v1/ai/``."""

OPEN: dict[str, dict[str, int]] = {
    "": {"GET": 302, "HEAD": 302, "OPTIONS": 302, "POST": 302, "PUT": 302, "PATCH": 302, "DELETE": 302},
    "healthz": {"GET": 200, "HEAD": 200},
    "readyz": {"GET": 200, "HEAD": 200},
    "api/health": {"GET": 200, "HEAD": 200},
    "api/schema/": {"GET": 200, "HEAD": 200, "OPTIONS": 200},
    "api/docs/": {"GET": 200, "HEAD": 200, "OPTIONS": 200},
    "oidc/authenticate/": {"GET": 404},
    "oidc/callback/": {"GET": 404},
    "account/sign-out/": {"OPTIONS": 200, "POST": 302},
}
"""Answer everybody alike and know nobody's data; other methods are 405."""

SIGNED_IN: dict[str, dict[str, int]] = {
    "account/": {"GET": 200},
    "account/sessions/end/": {"POST": 302},
    "account/sessions/<uuid:sign_in_id>/end/": {"POST": 404},
}
"""Pages of whoever is signed in: strangers and keys are sent to the sign-in, other methods are 405."""

OF_PASSWORDS = {"admin/password_reset/", "admin/password_reset/done/", "admin/reset/<uidb64>/<token>/"}
"""Absent until resets by mail are switched on (tests/aigateway/signin)."""
