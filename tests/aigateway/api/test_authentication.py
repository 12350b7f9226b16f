"""Who is calling: keys in two headers, sessions with CSRF, and what is said when nobody can know."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import InterfaceError, OperationalError
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries
from rest_framework.test import APIClient

from aigateway.api import authentication
from usage.keys import form
from usage.keys.actions import create_api_key, revoke_api_key
from usage.models import ApiKey

URL = "/api/v1/ai/preferences"

pytestmark = pytest.mark.django_db


@pytest.fixture
def ada() -> User:
    return User.objects.create_user("ada", password="a long password")


@pytest.fixture
def issued(ada: User) -> tuple[ApiKey, str]:
    return create_api_key(ada, "laptop")


def with_headers(**headers: str) -> Any:
    return APIClient().get(URL, headers={name.replace("_", "-"): value for name, value in headers.items()})


def code_of(response: Any) -> tuple[int, str]:
    return response.status_code, response.json()["error"]["code"]


def test_both_headers_carry_a_key(issued: tuple[ApiKey, str]) -> None:
    _, plaintext = issued
    assert with_headers(Authorization=f"Bearer {plaintext}").status_code == 200
    assert with_headers(Authorization=f"bearer  {plaintext} ").status_code == 200
    assert with_headers(X_API_Key=plaintext).status_code == 200
    assert with_headers(Authorization=f"Bearer {plaintext}", X_API_Key=plaintext).status_code == 200


def test_two_different_keys_are_refused(issued: tuple[ApiKey, str]) -> None:
    assert code_of(with_headers(Authorization=f"Bearer {issued[1]}", X_API_Key="gw_other")) == (401, "ambiguous_api_key")


@pytest.mark.parametrize(
    "sent",
    [
        "gw_",
        "x",
        "' OR '1'='1",
        "gw_aaaaaaaaaaaa_" + "b" * 43,
        "gw_aaaaaaaaaaaa_" + "b" * 42,
        "ä" * 10,
        "x" * 5000,
    ],
)
def test_S17_anything_else_is_an_invalid_key(issued: tuple[ApiKey, str], sent: str) -> None:
    assert code_of(with_headers(X_API_Key=sent)) == (401, "invalid_api_key")
    assert code_of(with_headers(Authorization=f"Bearer {sent}")) == (401, "invalid_api_key")


def test_S30_what_looks_like_a_token_is_an_invalid_one(issued: tuple[ApiKey, str]) -> None:
    sent = "eyJhbGciOiJub25lIn0.e30."
    assert code_of(with_headers(X_API_Key=sent)) == (401, "invalid_token")
    assert code_of(with_headers(Authorization=f"Bearer {sent}")) == (401, "invalid_token")


def test_the_right_id_with_a_wrong_secret_is_invalid(issued: tuple[ApiKey, str]) -> None:
    key, plaintext = issued
    other = form.new_key()
    forged = f"gw_{key.pk}_{other.rsplit('_', 1)[1][-43:].rjust(43, 'x')}"
    assert forged != plaintext
    assert code_of(with_headers(X_API_Key=forged)) == (401, "invalid_api_key")


def _expire(key: ApiKey) -> None:
    ApiKey.objects.filter(pk=key.pk).update(expires_at=timezone.now() - timedelta(seconds=1))


def _revoke(key: ApiKey) -> None:
    revoke_api_key(key)


def _deactivate(key: ApiKey) -> None:
    User.objects.filter(pk=key.user_id).update(is_active=False)


def _delete(key: ApiKey) -> None:
    key.delete()


@pytest.mark.parametrize("end", [_expire, _revoke, _deactivate, _delete])
def test_a_key_that_ended_is_refused_at_once_without_saying_why(issued: tuple[ApiKey, str], end: Callable[[ApiKey], None]) -> None:
    key, plaintext = issued
    before = with_headers(X_API_Key=plaintext)
    end(key)
    after = with_headers(X_API_Key=plaintext)
    unknown = with_headers(X_API_Key=form.new_key())
    assert before.status_code == 200
    assert code_of(after) == (401, "invalid_api_key")
    assert after.json()["error"]["message"] == unknown.json()["error"]["message"]


def test_a_key_that_expires_later_works(issued: tuple[ApiKey, str]) -> None:
    ApiKey.objects.update(expires_at=timezone.now() + timedelta(minutes=1))
    assert with_headers(X_API_Key=issued[1]).status_code == 200


def test_S16_unknown_ids_cost_the_same_query_and_comparison(
    issued: tuple[ApiKey, str], django_assert_num_queries: DjangoAssertNumQueries, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[bytes] = []

    def matches(stored: bytes, plaintext: str) -> bool:
        compared.append(stored)
        return form.compare_digest(stored, form.sha256(plaintext))

    monkeypatch.setattr(authentication.keys, "matches", matches)
    for sent in ("short", form.new_key(), f"gw_{issued[0].pk}_{'x' * 43}"):
        with django_assert_num_queries(1):
            assert with_headers(X_API_Key=sent).status_code == 401
    assert [len(stored) for stored in compared] == [32, 32, 32]


@pytest.mark.parametrize("error", [OperationalError("host=secret"), InterfaceError("host=secret")])
def test_I07_a_database_that_is_away_is_503_and_never_401(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def away(key_id: str | None) -> ApiKey | None:
        raise error

    monkeypatch.setattr(authentication, "_find", away)
    response = with_headers(X_API_Key=form.new_key())
    assert code_of(response) == (503, "access_unknown")
    assert response["Retry-After"] == "2"
    assert b"secret" not in response.content


def test_other_schemes_are_no_key() -> None:
    response = with_headers(Authorization="Basic YTpi")
    assert code_of(response) == (401, "missing_api_key")
    assert response["WWW-Authenticate"] == 'Bearer realm="ai gateway"'


def test_the_key_never_comes_back(issued: tuple[ApiKey, str]) -> None:
    wrong = f"{issued[1][:-1]}{'a' if issued[1][-1] != 'a' else 'b'}"
    assert wrong.encode() not in with_headers(X_API_Key=wrong).content


def test_a_session_reads_without_and_writes_with_a_csrf_token(ada: User) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(ada)
    assert client.get(URL).status_code == 200
    refused = client.delete(URL)
    assert code_of(refused) == (403, "csrf_failed")
    token = "a" * 32
    client.cookies["csrftoken"] = token
    assert code_of(client.delete(URL, headers={"X-CSRFToken": token})) == (404, "preference_absent")


def test_a_key_needs_no_csrf_token(issued: tuple[ApiKey, str]) -> None:
    client = APIClient(enforce_csrf_checks=True)
    assert code_of(client.delete(URL, headers={"X-API-Key": issued[1]})) == (404, "preference_absent")


def test_a_bad_key_is_not_rescued_by_a_good_session(ada: User) -> None:
    client = Client()
    client.force_login(ada)
    assert code_of(client.get(URL, headers={"X-API-Key": form.new_key()})) == (401, "invalid_api_key")


def test_the_session_of_a_deactivated_user_is_none(ada: User) -> None:
    client = Client()
    client.force_login(ada)
    User.objects.update(is_active=False)
    assert code_of(client.get(URL)) == (401, "missing_api_key")
