"""Who may do what on each page of the admin: one row per model, and rows for the pages that are no model's.

The usual row asks Django's four permissions. What differs is written out, so that a new model, page, action, inline or
autocomplete without a row is an error of the matrix and not a surprise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from tests.access.principals import Need, Principal, both, either, never, owner, perm, staff, superuser


@dataclass(frozen=True, slots=True)
class Pages:
    """``actions``: what each list action needs. ``extra``: URL names beside the usual six, with need and status by method."""

    view: Need
    add: Need
    change: Need
    delete: Need
    actions: Mapping[str, Need] = field(default_factory=dict)
    extra: Mapping[str, Mapping[str, tuple[Need, int]]] = field(default_factory=dict)

    def shows(self, who: Principal) -> bool:
        return any(need(who) for need in (self.view, self.add, self.change, self.delete))


def usual(label: str, **actions: Need) -> Pages:
    """``usage.apikey``: viewing is allowed by the permission to view and by the one to change."""
    app, model = label.split(".")
    view, add, change, delete = (perm(f"{app}.{verb}_{model}") for verb in ("view", "add", "change", "delete"))
    return Pages(either(view, change), add, change, delete, {"delete_selected": delete, **actions})


def kept(label: str, **actions: Need) -> Pages:
    """Like the usual, but never deleted."""
    pages = usual(label, **actions)
    return replace(pages, delete=never, actions={name: need for name, need in pages.actions.items() if name != "delete_selected"})


def record(label: str, **actions: Need) -> Pages:
    """What happened: to be read, by nobody to be changed."""
    pages = kept(label, **actions)
    return replace(pages, add=never, change=never)


def of_team(pages: Pages, **differs: Need) -> Pages:
    """Owners may do to the rows of their teams what the permissions allow to all rows."""
    verbs = {verb: either(getattr(pages, verb), owner) for verb in ("view", "add", "change", "delete")}
    actions = {name: verbs["delete"] if name == "delete_selected" else need for name, need in pages.actions.items()}
    return replace(pages, **(verbs | differs), actions=actions)


LEDGER = perm("usage.view_ledgerentry")
BOTH = ("GET", "POST")


def of_finance(**actions: Need) -> Pages:
    return Pages(LEDGER, never, never, never, actions)


def button(need: Need, status: int = 302) -> dict[str, tuple[Need, int]]:
    """Acts on POST alone; GET is refused as a method to whoever is staff."""
    return {"GET": (staff, 405), "POST": (need, status)}


def page(need: Need, status: int = 200, posted: int = 200) -> dict[str, tuple[Need, int]]:
    return {"GET": (need, status), "POST": (need, posted)}


CHANGE_PROVIDER = perm("providers.change_provider")
DECIDE = perm("providers.change_priceproposal", "providers.add_price")
CLOSE = both(LEDGER, perm("usage.add_closedmonth"))
CHANGE_TASK = perm("django_celery_beat.change_periodictask")

MODELS: dict[str, Pages] = {
    "providers.provider": replace(
        usual(
            "providers.provider",
            check_now=CHANGE_PROVIDER,
            import_now=CHANGE_PROVIDER,
            enable=CHANGE_PROVIDER,
            disable=CHANGE_PROVIDER,
            share_names=CHANGE_PROVIDER,
        ),
        extra={"provider-check": button(CHANGE_PROVIDER), "provider-import": button(CHANGE_PROVIDER)},
    ),
    "providers.deployment": kept(
        "providers.deployment", enable=perm("providers.change_deployment"), disable=perm("providers.change_deployment")
    ),
    "providers.route": usual("providers.route"),
    "providers.routingconfiguration": replace(kept("providers.routingconfiguration"), add=never),
    "providers.healthcheck": record("providers.healthcheck"),
    "providers.priceproposal": replace(
        kept("providers.priceproposal", approve=DECIDE, reject=DECIDE),
        add=never,
        extra={"price-proposal-approve": button(DECIDE), "price-proposal-reject": button(DECIDE)},
    ),
    "preferences.preference": usual("preferences.preference"),
    "usage.apikey": of_team(kept("usage.apikey", revoke_keys=either(perm("usage.change_apikey"), owner)), delete=never),
    "usage.attempt": record("usage.attempt"),
    "usage.ledgerentry": replace(
        record("usage.ledgerentry"), view=either(record("usage.ledgerentry").view, owner), extra={"usage_what_if": page(LEDGER)}
    ),
    "usage.ledgerday": record("usage.ledgerday"),
    "usage.usagetotal": of_team(record("usage.usagetotal"), add=never, change=never, delete=never),
    "usage.budgetadjustment": record("usage.budgetadjustment"),
    "usage.budgetalert": record("usage.budgetalert"),
    "usage.budget": of_team(usual("usage.budget", reset_current_period=either(perm("usage.change_budget"), owner))),
    "usage.ratelimit": usual("usage.ratelimit"),
    "usage.tier": usual("usage.tier"),
    "usage.useraccount": usual("usage.useraccount"),
    "usage.entitlement": usual("usage.entitlement"),
    "usage.export": replace(of_finance(restart_exports=LEDGER), add=LEDGER, extra={"usage_export_file": page(LEDGER, 404, 404)}),
    "usage.closedmonth": replace(
        of_finance(), extra={"usage_closedmonth_close": page(CLOSE, 200, 302), "usage_closedmonth_file": page(LEDGER)}
    ),
    "usage.statement": replace(of_finance(), add=LEDGER, extra={"usage_statement_report": page(LEDGER)}),
    "aigateway.signin": Pages(superuser, never, never, never, {"end_selected": superuser}),
    "aigateway.externalidentity": Pages(superuser, superuser, never, superuser, {"delete_selected": superuser}),
    "auth.user": replace(
        kept("auth.user", deactivate_accounts=perm("auth.delete_user")),
        delete=perm("auth.delete_user"),
        extra={"auth_user_password_change": page(perm("auth.change_user"))},
    ),
    "auth.group": usual("auth.group"),
    "auditlog.logentry": replace(
        record("auditlog.logentry"),
        extra={"auditlog_logentry_put_back": button(either(perm("auditlog.view_logentry"), perm("auditlog.change_logentry")))},
    ),
    "axes.accessattempt": record("axes.accessattempt", forget=perm("axes.delete_accessattempt")),
    "axes.accesslog": record("axes.accesslog"),
    "axes.accessfailurelog": record("axes.accessfailurelog"),
    "django_celery_beat.periodictask": usual("django_celery_beat.periodictask", enable=CHANGE_TASK, disable=CHANGE_TASK, run=CHANGE_TASK),
    **{
        f"django_celery_beat.{schedule}": usual(f"django_celery_beat.{schedule}")
        for schedule in ("clockedschedule", "crontabschedule", "intervalschedule", "solarschedule")
    },
}

OF_TEAMS = {"usage.apikey", "usage.budget", "usage.ledgerentry", "usage.usagetotal"}
"""Lists that are cut to what belongs to a team: whoever sees none of it finds no row, and for owners what is foreign is 404."""

FORM_OF_INLINE = {"usage.tier": perm("usage.change_tierlimit")}
"""The page itself has nothing that can be wrong; who may change its inline has left out that form."""
NOTHING_TO_FILL_IN = {"providers.priceproposal", "usage.useraccount"}
"""Their pages accept an empty form: 302 to the list."""
ADD_NEEDS = {"auth.user": perm("auth.add_user", "auth.change_user")}
"""Django's page of a new account asks for both: with the permission to add alone one would make superusers."""
ITS_OWN_PAGE = {"usage.statement": LEDGER}
"""The page of the row is a report: read by either method, absent 404."""

INLINES: dict[str, Pages] = {
    "providers.provider/providers.deployment": replace(record("providers.deployment")),
    "providers.provider/providers.managedpreset": Pages(superuser, superuser, superuser, superuser),
    "providers.deployment/providers.price": replace(kept("providers.price"), change=never),
    "providers.deployment/providers.price/2": record("providers.price"),
    "providers.deployment/providers.conformanceresult": record("providers.conformanceresult"),
    "providers.route/providers.routetarget": Pages(
        either(perm("providers.view_route"), perm("providers.change_route")),
        either(perm("providers.add_route"), perm("providers.change_route")),
        perm("providers.change_route"),
        perm("providers.change_route"),
    ),
    "usage.tier/usage.tierlimit": usual("usage.tierlimit"),
    "auth.group/usage.teamowner": Pages(superuser, superuser, superuser, superuser),
}
"""``parent/model``, and the number where a model has several inlines on one page."""

SITE: dict[str, dict[str, tuple[Need, int]]] = {
    "admin:index": page(staff),
    "admin:logout": {"GET": (lambda who: True, 405), "POST": (staff, 200)},
    "admin:password_change_done": {"GET": (staff, 200), "POST": (staff, 405)},
    "admin:jsi18n": {"GET": (staff, 200), "POST": (staff, 405)},
    "admin:view_on_site": page(staff, 404, 404),
}
OTHER: dict[str, dict[str, tuple[Need, int]]] = {
    "provider-test": {"GET": (staff, 405), "POST": (superuser, 200)},
    "provider-conform": {"GET": (staff, 405), "POST": (superuser, 200)},
}
"""Pages of the admin that stand outside its own URLs."""
