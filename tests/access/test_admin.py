"""S20, S21, S22, C01: every page, list action, inline and autocomplete of the admin, third-party models included."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.contrib import admin
from django.contrib.admin import ModelAdmin
from django.contrib.auth.models import AnonymousUser
from django.http import HttpRequest
from django.test import RequestFactory
from django.urls import reverse

from tests.access.admin_rules import (
    ADD_NEEDS,
    FORM_OF_INLINE,
    INLINES,
    ITS_OWN_PAGE,
    MODELS,
    NOTHING_TO_FILL_IN,
    OF_TEAMS,
    OTHER,
    SITE,
    Pages,
)
from tests.access.asking import ask_admin
from tests.access.cells import Cells
from tests.access.principals import Need, People, Principal, staff
from tests.access.routes import control_plane
from tests.access.world import ABSENT_ID, ABSENT_UUID, World

pytestmark = [pytest.mark.django_db, pytest.mark.timeout(600)]

PASSWORDS = {"", "admin:password_change", "password_reset", "password_reset_done", "password_reset_confirm"}
"""In place of Django's own: tests/access/test_rest.py and tests/aigateway/signin."""
USUAL = ("changelist", "add", "change", "delete", "history")


def registered() -> Iterator[tuple[str, ModelAdmin]]:  # type: ignore[type-arg]
    for model, pages in admin.site._registry.items():
        yield model._meta.label_lower, pages


def _inlines(label: str, pages: ModelAdmin) -> Iterator[tuple[str, admin.options.InlineModelAdmin]]:  # type: ignore[type-arg]
    seen: dict[str, int] = {}
    for kind in pages.inlines:
        key = f"{label}/{kind.model._meta.label_lower}"
        seen[key] = seen.get(key, 0) + 1
        yield (key if seen[key] == 1 else f"{key}/{seen[key]}"), kind(pages.model, pages.admin_site)


def _everybody(people: People) -> Iterator[Principal]:
    for who in people.named:
        if who.key is None:  # a key opens no page of the admin
            yield who
    for who in people.one_permission():
        people.remember(who)
        yield who


def _request(who: Principal) -> HttpRequest:
    request = RequestFactory().get("/admin/")
    request.user = who.user or AnonymousUser()
    request.resolver_match = None
    return request


def test_every_model_page_action_inline_and_autocomplete_has_a_rule() -> None:
    assert {label for label, _ in registered()} == set(MODELS)
    assert {key for label, pages in registered() for key, _ in _inlines(label, pages)} == set(INLINES)
    names = {route.name for route in control_plane() if route.template.startswith("admin/")}
    known = {*SITE, *OTHER, *PASSWORDS, "admin:login", "admin:autocomplete", "admin:app_list", "admin:"}
    for label, rules in MODELS.items():
        known |= {f"admin:{label.replace('.', '_')}_{page}" for page in USUAL} | {f"admin:{name}" for name in rules.extra}
    assert names <= known, names - known
    for label, pages in registered():
        offered = {name for _, name, _ in pages._get_base_actions()}
        assert offered <= {*MODELS[label].actions, "delete_selected"}, (label, offered)


def _expected(rule: tuple[object, int], who: Principal) -> int:
    need, status = rule
    if not who.is_staff:
        return 302
    return status if need(who) else 403  # type: ignore[operator]


def _page_rules(rules: Pages, *, absent: bool) -> dict[str, dict[str, tuple[object, int]]]:
    """The usual pages, asked with GET and with an empty POST. Absent objects send who may look to the front page."""
    found = 302 if absent else 200
    look = {"GET": (rules.view, found)}
    return {
        "changelist": {**look, "GET": (rules.view, 200), "POST": (rules.view, 200)},
        "add": {"GET": (rules.add, 200), "POST": (rules.add, 200)},
        "change": {**look, "POST": (rules.change, found)},
        "delete": {"GET": (rules.delete, found), "POST": (rules.delete, found)},
        "history": {"GET": (staff, 302)} if absent else look,
    }


def _addresses(label: str, name: str, world: World, *, absent: bool) -> str | None:
    if f"admin:{label.replace('.', '_')}_{name}" not in {route.name for route in control_plane()}:
        return None
    args: list[object] = []
    if name in ("change", "delete", "history"):
        pk = world.row_of(label)
        args = [(ABSENT_UUID if hasattr(pk, "hex") and not isinstance(pk, int) else ABSENT_ID) if absent else pk]
    return reverse(f"admin:{label.replace('.', '_')}_{name}", args=args)


def test_S20_S21_S22_C01_pages_open_to_those_their_row_names(people: People, world: World) -> None:
    cells = Cells()
    asked: list[tuple[str, bool, str, str, tuple[Need, int]]] = []
    for label, rules in MODELS.items():
        for absent in (False, True):
            for name, by_method in _page_rules(rules, absent=absent).items():
                path = _addresses(label, name, world, absent=absent)
                if path is None or (absent and name in ("changelist", "add")):
                    continue
                if name == "change" and label in ITS_OWN_PAGE:
                    by_method = dict.fromkeys(by_method, (ITS_OWN_PAGE[label], 404 if absent else 200))
                if name == "add" and label in ADD_NEEDS:
                    by_method = dict.fromkeys(by_method, (ADD_NEEDS[label], 200))
                if name == "change" and label in NOTHING_TO_FILL_IN:
                    by_method = {**by_method, "POST": (rules.change, 302)}
                if label == "providers.routingconfiguration" and name == "changelist":
                    by_method = dict.fromkeys(by_method, (staff, 302))  # its only row's own page asks
                asked += [(label, absent, path, method, rule) for method, rule in by_method.items()]
    for who in _everybody(people):
        for label, absent, path, method, rule in asked:
            if absent and who.permissions and not any(name.startswith(label.split(".")[0]) for name in who.permissions):
                continue  # a permission of another app is asked about what is there, which says as much
            expected = _expected(rule, who)
            if label in OF_TEAMS and who.is_staff and not MODELS[label].view(who) and path.endswith("/history/"):
                expected = 302  # not in the list of those who see none: absent
            if label in FORM_OF_INLINE and method == "POST" and "/change/" in path and not absent and rule[0](who) and who.is_staff:
                expected = 200 if FORM_OF_INLINE[label](who) else 302
            if label in OF_TEAMS and not MODELS[label].view(who) and path.endswith("/delete/") and expected == 200:
                expected = 302
            if label in OF_TEAMS and absent and who.owns_team:
                expected = 404
            cells.check(f"{who} {method} {path}", ask_admin(path, method, who), expected)
    cells.verdict("admin pages")


def test_S20_S21_C01_buttons_and_pages_of_our_own(people: People, world: World) -> None:
    cells = Cells()
    by_name = {route.name: route.template for route in control_plane()}
    own = {f"admin:{name}": methods for rules in MODELS.values() for name, methods in rules.extra.items()} | OTHER
    for who in _everybody(people):
        for name, methods in own.items():
            path = world.address(by_name[name])
            for method, rule in methods.items():
                cells.check(f"{who} {method} {path}", ask_admin(path, method, who), _expected(rule, who))
        for name, methods in SITE.items() if not who.permissions else ():
            path = "/" + by_name[name].replace("<path:content_type_id>", "1").replace("<path:object_id>", "1")
            for method, rule in methods.items():
                cells.check(f"{who} {method} {path}", ask_admin(path, method, who), _expected(rule, who))
        for app in {label.split(".")[0] for label in MODELS}:
            shows = any(rules.shows(who) for label, rules in MODELS.items() if label.startswith(f"{app}."))
            expected = (200 if shows else 404) if who.is_staff else 302
            cells.check(f"{who} GET /admin/{app}/", ask_admin(f"/admin/{app}/", "GET", who), expected)
    cells.verdict("admin, other pages")


def test_S21_C01_list_actions_are_offered_to_those_their_row_names(people: People) -> None:
    cells = Cells()
    for who in _everybody(people):
        request = _request(who)
        for label, pages in registered():
            expected = {name for name, need in MODELS[label].actions.items() if need(who)}
            cells.check(f"{who} actions of {label}", set(pages.get_actions(request)), expected)
            cells.counted += len(MODELS[label].actions) - 1 if MODELS[label].actions else 0
    cells.verdict("admin, list actions")


def test_S22_C01_inlines_let_write_those_their_row_names(people: People) -> None:
    cells = Cells()
    for who in _everybody(people):
        request = _request(who)
        for label, pages in registered():
            for key, inline in _inlines(label, pages):
                rules = INLINES[key]
                for verb in ("view", "add", "change", "delete"):
                    allowed = bool(getattr(inline, f"has_{verb}_permission")(request, None))
                    cells.check(f"{who} {verb} {key}", allowed, bool(getattr(rules, verb)(who)))
    cells.verdict("admin, inlines")


def test_S20_C01_autocompletes_show_rows_to_those_who_may_view_them(people: People) -> None:
    cells = Cells()
    fields = [
        (pages.model._meta, field, MODELS[pages.model._meta.get_field(field).related_model._meta.label_lower])  # type: ignore[union-attr]
        for _, parent in registered()
        for pages in (parent, *(inline for _, inline in _inlines(parent.model._meta.label_lower, parent)))
        for field in pages.autocomplete_fields
    ]
    assert fields
    for who in _everybody(people):
        for meta, field, rules in fields:
            path = f"/admin/autocomplete/?app_label={meta.app_label}&model_name={meta.model_name}&field_name={field}&term=a"
            cells.check(f"{who} {path}", ask_admin(path, "GET", who), _expected((rules.view, 200), who))
    cells.verdict("admin, autocompletes")


def test_list_editable_is_used_nowhere() -> None:
    """S22: a list whose cells are a form is a second way to write, with rules of its own."""
    assert [label for label, pages in registered() if pages.list_editable] == []
