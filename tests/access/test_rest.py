"""S20, S21, C01: every address of the REST surface, asked by everybody, about what is theirs, what is not and what is absent."""

from __future__ import annotations

import pytest
from django.core.cache import cache
from django.test import Client

from tests.access.asking import ask_rest
from tests.access.cells import Cells
from tests.access.principals import People, Principal, in_session
from tests.access.rest_rules import METHODS, OF_PASSWORDS, OPEN, ROUTES, SIGNED_IN
from tests.access.routes import API, rest
from tests.access.world import World
from tests.undone import undone

pytestmark = pytest.mark.timeout(600)


def test_every_address_has_a_rule_and_every_rule_an_address() -> None:
    found = {key for _, key in rest()}
    assert found == {*ROUTES, *OPEN, *SIGNED_IN}


ASKS_WHAT_IS_OPEN = ("anonymous", "user", "superuser")
"""What knows nobody's data is asked by three; the document alone takes most of a second to make."""


def _is_about_something(template: str) -> bool:
    return "<" in template


def _ask(client: Client, path: str, method: str, who: Principal) -> int:
    headers = {"Authorization": f"Bearer {who.key}"} if who.key else {}
    cache.clear()
    with undone():
        body = b"{}" if method in ("POST", "PUT", "PATCH") else b""
        answer = client.generic(method, path, body, "application/json", headers=headers)
        if answer.streaming:
            b"".join(answer.streaming_content)
    return answer.status_code


def _client_of(who: Principal) -> Client:
    client = Client(raise_request_exception=False)
    if who.user is not None and who.key is None:
        client.force_login(who.user)
    return client


@pytest.mark.django_db
def test_S20_S21_C01_C22_named_principals_get_what_their_row_says(people: People, world: World) -> None:
    cells = Cells()
    for who in people.named:
        client = _client_of(who)
        for route, key in rest():
            if key in SIGNED_IN:
                continue
            if key in OPEN and who.name not in ASKS_WHAT_IS_OPEN:
                continue
            for absent in (False, True) if _is_about_something(route.template) else (False,):
                path = world.address(route.template, absent=absent)
                for method in METHODS:
                    if key.startswith("account/"):
                        client = _client_of(who)  # signing out forgets the cookie
                    expected = OPEN[key].get(method, 405) if key in OPEN else ROUTES[key].expected(method, who, absent=absent)
                    cells.check(f"{who} {method} {path}", _ask(client, path, method, who), expected)
    cells.verdict("REST, named principals")


@pytest.mark.django_db
def test_S20_S21_C01_staff_with_one_permission_gets_what_its_row_says(people: People, world: World) -> None:
    cells = Cells()
    guarded = [(route, ROUTES[key]) for route, key in rest() if route.template == API + key and not ROUTES[key].refused]
    for who in people.one_permission():
        people.remember(who)
        for route, row in guarded:
            path = world.address(route.template)
            for method in (*row.offers, "POST" if "PUT" in row.offers else "PUT"):
                cells.check(f"{who} {method} {path}", ask_rest(path, method, who), row.expected(method, who))
    cells.verdict("REST, staff with one permission each")


@pytest.mark.django_db
def test_S20_what_belongs_to_somebody_else_is_as_absent(people: People, world: World) -> None:
    by_name = {who.name: who for who in people.named}
    cells = Cells()
    for name in ("user", "user's key"):
        who = by_name[name]
        client = _client_of(who)
        cells.check(f"{name} deletes another's", _ask(client, "/api/v1/ai/preferences/others", "DELETE", who), 404)
        headers = {"Authorization": f"Bearer {who.key}"} if who.key else {}
        listed = client.get("/api/v1/ai/preferences", headers=headers).json()["results"]
        cells.check(f"{name} lists", [row["context"] for row in listed], ["default", "writing"])
        own = client.get("/api/v1/ai/usage?start=2026-10-01&end=2026-11-01", headers=headers).json()["totals"]["requests"]
        cells.check(f"{name} sees the own calls", own, 1)
    for name in ("other user", "other user's key"):
        who = by_name[name]
        headers = {"Authorization": f"Bearer {who.key}"} if who.key else {}
        seen = _client_of(who).get("/api/v1/ai/usage?start=2026-10-01&end=2026-11-01", headers=headers).json()["totals"]["requests"]
        cells.check(f"{name} sees no other's calls", seen, 0)
        cells.check(f"{name} has no other's limits", _client_of(who).get("/api/v1/ai/quota", headers=headers).json()["limits"], [])
    cells.verdict("REST, own and foreign")


@pytest.mark.django_db
def test_S20_pages_of_sign_in_are_for_whoever_signed_in(people: People, world: World) -> None:
    cells = Cells()
    for who in people.named:
        for key, offers in SIGNED_IN.items():
            for method in METHODS:
                expected = offers.get(method, 405) if in_session(who) else 302
                cells.check(f"{who} {method} /{key}", _ask(_client_of(who), world.address(key), method, who), expected)
        for key in OF_PASSWORDS:
            cells.check(f"{who} /{key}", _ask(_client_of(who), world.address(key), "GET", who), 404)
    cells.verdict("pages of sign-in")
