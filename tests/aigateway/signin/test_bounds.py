"""Signing in by password: what is wrong too often is refused unseen, and nobody is shut out from elsewhere."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import close_old_connections
from django.test import Client

from aigateway.models import TryCount
from aigateway.signin import bounds, hashing, origin
from aigateway.signin.bounds import TooManyTries
from tests.aigateway.signin.conftest import PASSWORD, ask_token, sign_in, signed_in
from usage.keys.actions import create_api_key

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Moves the database's clock, as these bounds see it."""
    real, ahead = bounds.clock.database_now, [timedelta()]
    monkeypatch.setattr(bounds.clock, "database_now", lambda: real() + ahead[0])

    def move(**by: float) -> datetime:
        ahead[0] += timedelta(**by)
        return bounds.clock.database_now()

    return move


def wrong(name: str = "admin", address: str = "192.0.2.1") -> int:
    return sign_in(Client(), name, "wrong", address).status_code


def test_C23_25_names_from_one_address_are_bounded(admin_user: User) -> None:
    statuses = [wrong(f"user{number}") for number in range(25)]
    assert statuses == [200] * 20 + [429] * 5


def test_C23_many_addresses_on_one_name_are_slowed_down_ever_more(admin_user: User, later: Any) -> None:
    statuses = [wrong(address=f"198.51.100.{number}") for number in range(15)]
    assert statuses == [200] * 10 + [429] * 5
    waits = []
    for number in range(5):
        with pytest.raises(TooManyTries) as refused:
            bounds.count_try([bounds.NAME.bucket("admin")])
        waits.append(refused.value.wait_s)
        later(seconds=refused.value.wait_s)
        assert wrong(address=f"203.0.113.{number}") == 200
    assert waits == [1, 2, 4, 8, 16]


def test_C23_the_wait_of_a_name_ends_growing_at_five_minutes(admin_user: User, later: Any) -> None:
    bucket = bounds.NAME.bucket("admin")
    bounds.count_try([bucket])
    TryCount.objects.update(count=1000)
    with pytest.raises(TooManyTries) as refused:
        bounds.count_try([bucket])
    assert refused.value.wait_s == 300


def test_C23_a_browser_that_signed_in_before_is_not_held_up_from_elsewhere(admin_user: User) -> None:
    known = signed_in("admin", "203.0.113.7")
    known.post("/admin/logout/")
    for number in range(20):
        wrong(address=f"198.51.100.{number}")
    assert sign_in(Client(), "admin", address="198.51.100.99").status_code == 429
    assert sign_in(known, "admin", address="198.51.100.99").status_code == 302, "its cookie is known, wherever it is"


def test_C23_not_even_from_its_own_address(admin_user: User) -> None:
    known = signed_in("admin")
    known.post("/admin/logout/")
    for number in range(25):
        wrong("admin" if number < 6 else f"user{number}")
    assert sign_in(Client(), "admin").status_code == 429
    assert sign_in(known, "admin").status_code == 302


def test_C23_an_address_that_signed_in_before_passes_what_others_fill(admin_user: User) -> None:
    signed_in("admin", "203.0.113.7")
    for number in range(20):
        wrong(address=f"198.51.100.{number}")
    assert sign_in(Client(), "admin", address="203.0.113.7").status_code == 302


def test_C23_a_forged_or_borrowed_cookie_is_no_pass(admin_user: User, ursula: User) -> None:
    others = Client()
    ursula.is_staff = True
    ursula.save()
    sign_in(others, "ursula", address="203.0.113.7")
    forged = Client()
    forged.cookies[origin.COOKIE] = others.cookies[origin.COOKIE].value[:-2] + "xx"
    for number in range(10):
        wrong(address=f"198.51.100.{number}")
    assert sign_in(others, "admin", "wrong").status_code == 429
    assert sign_in(forged, "admin", "wrong").status_code == 429


def test_C23_a_stolen_cookie_has_a_bound_of_its_own(admin_user: User) -> None:
    known = signed_in("admin")
    known.post("/admin/logout/")
    assert [sign_in(known, "admin", "wrong").status_code for _ in range(12)] == [200] * 10 + [429] * 2


def test_the_cookie_is_for_the_server_only(admin_user: User) -> None:
    cookie = signed_in("admin").cookies[origin.COOKIE]
    assert (cookie["httponly"], cookie["samesite"]) == (True, "Lax")


def test_C23_the_right_password_gives_its_try_back_and_not_those_of_others(admin_user: User) -> None:
    for number in range(19):
        wrong(f"user{number}")
    for _ in range(3):
        signed_in("admin")
    assert [wrong("x"), wrong("y")] == [200, 429]


def test_C23_all_together_are_bounded(admin_user: User) -> None:
    for _ in range(120):
        bounds.count_try([bounds.OVERALL.bucket()])
    assert wrong("anybody", "198.51.100.1") == 429


def test_C23_what_is_refused_counts_nothing_and_the_bound_ends(admin_user: User, later: Any) -> None:
    for number in range(30):
        wrong(f"user{number}")
    later(minutes=15, seconds=1)
    assert sign_in(Client(), "admin").status_code == 302


def test_C23_an_ipv6_customer_is_one_address(admin_user: User) -> None:
    statuses = {wrong(f"user{number}", f"2001:db8:1:2::{number:x}") for number in range(1, 22)}
    assert statuses == {200, 429}
    assert wrong("other", "2001:db8:1:3::1") == 200


def test_C23_api_failures_never_count_against_a_sign_in(admin_user: User) -> None:
    for _ in range(30):
        assert Client().get("/api/v1/ai/preferences", headers={"X-API-Key": "gw_wrong_wrong"}).status_code == 401
        assert Client().get("/api/v1/ai/preferences", headers={"Authorization": "Bearer eyJh.eyJh.x"}).status_code == 401
    assert not TryCount.objects.exists()
    assert sign_in(Client(), "admin").status_code == 302


def test_C23_the_endpoint_for_tokens_shares_the_bounds_of_the_page(admin_user: User) -> None:
    for _ in range(5):
        assert ask_token(Client(), {"username": "admin", "password": "wrong"}).status_code == 401
    refused = ask_token(Client(), {"username": "admin", "password": PASSWORD})
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "rate_limited")
    assert int(refused["Retry-After"]) > 600
    assert sign_in(Client(), "admin").status_code == 429


def test_a_refusal_names_the_wait_and_is_not_kept(admin_user: User) -> None:
    for _ in range(5):
        wrong()
    refused = sign_in(Client(), "admin")
    assert (refused.status_code, refused["Cache-Control"]) == (429, "private, no-store")
    assert 0 < int(refused["Retry-After"]) <= 900
    assert b"Try again in 15 minutes" in refused.content


def test_nothing_typed_as_a_name_is_stored(admin_user: User) -> None:
    wrong("a password typed as a name")
    assert "password" not in " ".join(TryCount.objects.values_list("bucket", flat=True))


@pytest.mark.parametrize("name", ["x" * 5000, "nul\x00", "\ud800", ""])
def test_odd_names_are_wrong_and_nothing_else(admin_user: User, name: str) -> None:
    assert ask_token(Client(), {"username": name, "password": "wrong"}).status_code in (400, 401)


def test_C23_busy_hashing_sends_away_at_once(admin_user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashing, "WAIT_S", 0.01)
    with hashing.slot(), hashing.slot():
        page = sign_in(Client(), "admin")
        endpoint = ask_token(Client(), {"username": "admin", "password": PASSWORD})
    assert (page.status_code, page["Retry-After"]) == (503, "2")
    assert (endpoint.status_code, endpoint.json()["error"]["code"]) == (503, "sign_in_busy")
    assert not TryCount.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_C23_twenty_at_once_pass_no_bound_that_twenty_in_turn_would_not(admin_user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashing, "WAIT_S", 60)

    def one(_: int) -> int:
        try:
            return wrong()
        finally:
            close_old_connections()

    with ThreadPoolExecutor(20) as pool:
        statuses = sorted(pool.map(one, range(20)))
    assert statuses == [200] * 5 + [429] * 15


def test_hashes_run_behind_everything_else() -> None:
    assert hashing._threads.submit(hashing.os.getpriority, hashing.os.PRIO_PROCESS, 0).result() == hashing.NICENESS


def test_a_key_that_works_does_not_open_the_sign_in_page(admin_user: User) -> None:
    _, key = create_api_key(admin_user, "laptop")
    assert ask_token(Client(), {}, **{"X-API-Key": key}).status_code == 401
