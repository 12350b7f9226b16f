"""The gateway's own access tokens: short, for one user, and over when their sign-in or the password is."""

from __future__ import annotations

import base64
import json
import time
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from django.conf import settings
from django.contrib.auth.models import User
from django.db import OperationalError
from django.test import Client

from aigateway import env
from aigateway.models import SignIn
from aigateway.signin import own_tokens, standing, tokens
from tests.aigateway.signin.conftest import PASSWORD, ask_token, live, sign_in, signed_in, token_of, with_token

pytestmark = pytest.mark.django_db


def code_of(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def key() -> Any:
    return own_tokens._key(settings.SECRET_KEY)


def forged(user: User, *, algorithm: str = "EdDSA", signer: Any = None, headers: dict[str, Any] | None = None, **changed: Any) -> str:
    """A token as the gateway makes them, with some claims changed."""
    good = token_of(user)["access_token"]
    claims = jwt.decode(good, options={"verify_signature": False}) | changed
    claims = {name: value for name, value in claims.items() if value is not None}
    return jwt.encode(claims, signer if signer is not None else key(), algorithm, headers=headers or {"kid": own_tokens._kid(key())})


def refresh(renewal: str) -> Any:
    return Client().post("/api/v1/ai/auth/token/refresh", {"refresh_token": renewal}, content_type="application/json")


def test_R705_a_password_gives_a_short_token_that_works_on_rest(ursula: User) -> None:
    issued = token_of(ursula)
    assert (issued["token_type"], issued["expires_in"]) == ("Bearer", 600)
    assert issued["scopes"] == ["inference", "own_preferences", "own_usage"]
    assert with_token(issued["access_token"]).status_code == 200


def test_R705_a_session_gives_one_too_and_no_refresh_token(admin_user: User) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(admin_user)
    assert code_of(ask_token(client, {})) == (403, "csrf_failed")
    client = signed_in("admin")
    issued = ask_token(client, {})
    assert "refresh_token" not in issued.json()
    assert "no-store" in issued["Cache-Control"]
    assert with_token(issued.json()["access_token"]).status_code == 200


def test_it_says_all_that_must_be_said(ursula: User) -> None:
    claims = jwt.decode(token_of(ursula)["access_token"], options={"verify_signature": False})
    assert {"iss", "aud", "sub", "iat", "nbf", "exp", "jti", "epoch", "scope"} <= set(claims)
    assert claims["exp"] - claims["iat"] <= 600
    assert ursula.username not in json.dumps(claims)


@pytest.mark.parametrize(
    "changed",
    [
        {"exp": int(time.time()) - 60},
        {"nbf": int(time.time()) + 86_400},
        {"iat": int(time.time()) + 86_400},
        {"aud": "somebody else"},
        {"iss": "somebody else"},
        {"sub": "0"},
        {"aud": None},
        {"iss": None},
        {"exp": None},
        {"nbf": None},
        {"jti": None},
        {"epoch": None},
        {"epoch": 7},
        {"proof": "x" * 43},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_S30_expired_early_foreign_and_incomplete_tokens_are_refused(ursula: User, changed: dict[str, Any]) -> None:
    assert with_token(forged(ursula)).status_code == 200
    assert code_of(with_token(forged(ursula, **changed))) == (401, "invalid_token")


def test_S30_a_clock_may_be_30_seconds_off(ursula: User) -> None:
    assert with_token(forged(ursula, nbf=int(time.time()) + 25, iat=int(time.time()) + 25)).status_code == 200
    assert with_token(forged(ursula, exp=int(time.time()) - 25)).status_code == 200


def test_S30_no_algorithm_but_ours(ursula: User) -> None:
    public = key().public_key()
    raw = public.public_bytes(Encoding.Raw, PublicFormat.Raw)
    pem = base64.b64encode(public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
    for secret in (raw, pem, settings.SECRET_KEY.encode()):
        assert code_of(with_token(forged(ursula, algorithm="HS256", signer=secret))) == (401, "invalid_token")
    assert code_of(with_token(forged(ursula, algorithm="none", signer=""))) == (401, "invalid_token")
    unsigned = forged(ursula).rsplit(".", 1)[0]
    header = base64.urlsafe_b64encode(b'{"alg":"none","typ":"JWT"}').rstrip(b"=").decode()
    for token in (unsigned + ".AAAA", header + "." + unsigned.split(".")[1] + ".AAAA"):
        assert code_of(with_token(token)) == (401, "invalid_token")


def test_S30_another_key_and_an_unknown_kid_are_refused(ursula: User) -> None:
    other = own_tokens._key("another secret key of nobody")
    assert code_of(with_token(forged(ursula, signer=other))) == (401, "invalid_token")
    for kid in ("nobody's", "../../etc/passwd", "' OR 1=1"):
        assert code_of(with_token(forged(ursula, headers={"kid": kid}))) == (401, "invalid_token")
    assert code_of(with_token(forged(ursula, headers={"kid": own_tokens._kid(key()), "crit": ["exp"], "exp": 1}))) == (401, "invalid_token")


def test_S30_duplicate_claims_and_large_tokens_are_refused(ursula: User) -> None:
    good = token_of(ursula)["access_token"]
    claims = base64.urlsafe_b64decode(good.split(".")[1] + "==")
    twice = claims[:-1] + b',"sub":"1"}'
    signed = jwt.api_jws.encode(twice, key(), "EdDSA", headers={"kid": own_tokens._kid(key())})
    assert code_of(with_token(signed)) == (401, "invalid_token")
    large = forged(ursula, padding="x" * 8000)
    with pytest.raises(tokens.TokenRefused, match="too long"):
        tokens.prove(large)
    for number in (1_000_000, 8193):
        with pytest.raises(tokens.TokenRefused):
            tokens.prove("eyJ" + "A" * number + ".AAAA.AAAA")


@pytest.mark.parametrize("text", ["eyJ.eyJ.", "eyJ..", "eyJ=.eyJ=.A", "eyJhbGciOiJFZERTQSJ9.W10.AAAA", "eyJbW1tb.eyJ.A", "eyJ\u0430.a.b"])
def test_S30_what_is_no_token_is_refused_as_one(db: None, text: str) -> None:
    with pytest.raises(tokens.TokenRefused):
        tokens.prove(text)


@pytest.mark.both_databases
@pytest.mark.parametrize("how", ["deactivate", "password", "sql", "delete", "everywhere", "this one"])
def test_S31_it_does_not_outlive_the_user(ursula: User, how: str) -> None:
    issued = token_of(ursula)
    assert with_token(issued["access_token"]).status_code == 200
    if how == "deactivate":
        ursula.is_active = False
        ursula.save()
    elif how == "password":
        ursula.set_password("another pass phrase")
        ursula.save()
    elif how == "sql":
        User.objects.filter(pk=ursula.pk).update(password="whatever")
    elif how == "delete":
        ursula.delete()
    elif how == "everywhere":
        standing.end_everything(ursula, "test")
    else:
        standing.end(SignIn.objects.get())
    assert code_of(with_token(issued["access_token"])) == (401, "invalid_token")
    if how != "sql":
        assert code_of(refresh(issued["refresh_token"])) == (401, "invalid_token")


def test_S31_an_account_that_is_switched_on_again_has_no_old_tokens(ursula: User) -> None:
    issued = token_of(ursula)
    for active in (False, True):
        ursula.is_active = active
        ursula.save()
    assert code_of(with_token(issued["access_token"])) == (401, "invalid_token")
    assert code_of(refresh(issued["refresh_token"])) == (401, "invalid_token")


@pytest.mark.both_databases
def test_S31_a_refresh_token_is_good_once_and_used_twice_it_ends_the_chain(ursula: User) -> None:
    first = token_of(ursula, scopes=["own_preferences"])
    second = refresh(first["refresh_token"]).json()
    assert second["scopes"] == ["own_preferences"]
    assert with_token(second["access_token"]).status_code == 200
    assert code_of(refresh(first["refresh_token"])) == (401, "invalid_token")
    assert code_of(refresh(second["refresh_token"])) == (401, "invalid_token")
    assert code_of(with_token(second["access_token"])) == (401, "invalid_token")
    assert live(ursula) == 0


def test_S31_inactive_users_refresh_nothing_even_where_nobody_noticed(ursula: User) -> None:
    issued = token_of(ursula)
    User.objects.filter(pk=ursula.pk).update(is_active=False)
    assert code_of(refresh(issued["refresh_token"])) == (401, "invalid_token")


def test_S31_a_chain_ends_after_twelve_hours(ursula: User) -> None:
    issued = token_of(ursula)
    SignIn.objects.update(signed_in_at="2026-01-01T00:00:00Z")
    assert code_of(refresh(issued["refresh_token"])) == (401, "invalid_token")


def test_a_chain_can_be_ended_by_who_holds_it(ursula: User) -> None:
    issued = token_of(ursula)
    for renewal, is_good in ((issued["refresh_token"] + "x", True), ("gr_x_y", True), (issued["refresh_token"], False)):
        answer = Client().post("/api/v1/ai/auth/token/revoke", {"refresh_token": renewal}, content_type="application/json")
        assert answer.status_code == 204
        assert (with_token(issued["access_token"]).status_code == 200) is is_good
    assert code_of(refresh(issued["refresh_token"])) == (401, "invalid_token")


@pytest.mark.parametrize("renewal", ["", "gr_", "gr_x_y", "gr_" + "0" * 32 + "_x", "x" * 200])
def test_anything_else_is_no_refresh_token(db: None, renewal: str) -> None:
    assert refresh(renewal).status_code in (400, 401)


def test_signing_out_ends_the_tokens_of_the_session(admin_user: User) -> None:
    client = signed_in("admin")
    token = ask_token(client, {}).json()["access_token"]
    client.post("/admin/logout/")
    assert code_of(with_token(token)) == (401, "invalid_token")


def test_wrong_password_inactive_user_and_nobody_read_alike(ursula: User) -> None:
    User.objects.create_user("idle", password=PASSWORD, is_active=False)
    answers = [
        ask_token(Client(), {"username": name, "password": password}).json()["error"]
        for name, password in (("ursula", "wrong"), ("nobody", PASSWORD), ("idle", PASSWORD))
    ]
    assert len({(answer["code"], answer["message"]) for answer in answers}) == 1


def test_R705_strategies_are_switchable(ursula: User, settings: Any) -> None:
    issued = token_of(ursula)
    settings.TOKEN_BY_PASSWORD = False
    assert code_of(ask_token(Client(), {"username": "ursula", "password": PASSWORD})) == (401, "password_login_off")
    settings.AUTH = (env.API_KEYS, env.SESSIONS)
    assert ask_token(Client(), {"username": "ursula", "password": PASSWORD}).status_code == 404
    assert refresh(issued["refresh_token"]).status_code == 404


def test_R705_without_passwords_only_superusers_have_theirs(ursula: User, admin_user: User, settings: Any) -> None:
    settings.PASSWORD_LOGIN = False
    assert ask_token(Client(), {"username": "ursula", "password": PASSWORD}).status_code == 401
    assert sign_in(Client(), "admin").status_code == 302


def test_no_answer_with_a_token_is_kept_for_a_repeated_request(admin_user: User) -> None:
    client = signed_in("admin")
    first, second = (ask_token(client, {}, **{"Idempotency-Key": "once"}).json()["access_token"] for _ in range(2))
    assert first != second


def test_a_database_that_is_away_is_503(ursula: User, monkeypatch: pytest.MonkeyPatch) -> None:
    token = token_of(ursula)["access_token"]

    def away(*_: Any) -> None:
        raise OperationalError

    monkeypatch.setattr(own_tokens, "user_of", away)
    assert code_of(with_token(token)) == (503, "access_unknown")


def test_a_token_and_a_key_in_two_headers_are_refused(ursula: User) -> None:
    token = token_of(ursula)["access_token"]
    answer = Client().get("/api/v1/ai/preferences", headers={"Authorization": f"Bearer {token}", "X-API-Key": "gw_other"})
    assert code_of(answer) == (401, "ambiguous_api_key")


def test_a_superusers_token_administers_nothing_unless_it_says_so(admin_user: User) -> None:
    narrow, wide = token_of(admin_user)["access_token"], token_of(admin_user, scopes=["providers_read"])["access_token"]
    path = "/api/v1/ai/admin/providers"
    assert code_of(with_token(narrow, path)) == (403, "scope_missing")
    assert with_token(wide, path).status_code == 200
    assert code_of(with_token(wide)) == (403, "scope_missing")


def test_a_scope_gives_no_right_its_user_lacks(ursula: User) -> None:
    token = token_of(ursula, scopes=["manage_providers", "nonsense"])["access_token"]
    assert with_token(token, "/api/v1/ai/admin/providers").status_code == 403
