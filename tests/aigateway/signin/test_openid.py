"""Signing in with OpenID Connect, against a small issuer on loopback."""

from __future__ import annotations

import json
import time
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from django.contrib.auth.models import Group, User
from django.core.exceptions import ImproperlyConfigured
from django.test import Client

from aigateway.models import ExternalIdentity, SignIn
from aigateway.signin import bounds, issuers
from tests.aigateway.signin.conftest import link, live, sign_in, signed_in
from tests.aigateway.signin.issuer import CLIENT_ID, CLIENT_SECRET, SmallIssuer, rsa_key

pytestmark = pytest.mark.django_db
START, CALLBACK = "/oidc/authenticate/", "/oidc/callback/"


@pytest.fixture
def on(issuer: SmallIssuer, settings: Any) -> Any:
    """OpenID Connect switched on; called again with further members."""
    base = dict(settings.OPENID)

    def configure(**members: Any) -> None:
        settings.OPENID = {**base, "issuer": issuer.url, "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET, **members}

    configure()
    return configure


def start(client: Client, **query: str) -> str:
    answer = client.get(START, query)
    assert answer.status_code == 302, answer.content
    return str(answer["Location"])


def come_back(client: Client, parameters: dict[str, str]) -> str:
    """Where the callback leads to, without following it."""
    answer = client.get(CALLBACK, parameters)
    assert answer.status_code == 302, answer.content
    return str(answer["Location"])


def attempt(issuer: SmallIssuer, client: Client | None = None, **changed: Any) -> tuple[Client, str]:
    client = client or Client()
    return client, come_back(client, issuer.authorize(start(client), **changed))


def is_in(client: Client) -> bool:
    return "_auth_user_id" in client.session


def said(client: Client) -> str:
    return client.get("/admin/login/").content.decode()


def test_R705_a_linked_person_signs_in(issuer: SmallIssuer, on: Any, ursula: User) -> None:
    link(ursula, issuer)
    client, place = attempt(issuer)
    assert place == "/account/"
    assert is_in(client)
    assert b"OpenID Connect" in client.get(place).content
    assert SignIn.objects.get().method == "openid"


def test_it_asks_with_pkce_state_and_nonce(issuer: SmallIssuer, on: Any) -> None:
    asked = parse_qs(urlsplit(start(Client())).query)
    assert asked["response_type"] == ["code"]
    assert asked["code_challenge_method"] == ["S256"]
    assert min(len(asked[name][0]) for name in ("state", "nonce", "code_challenge")) >= 32
    assert asked["redirect_uri"] == ["http://testserver/oidc/callback/"]


def test_the_sign_in_page_offers_it_only_where_it_is_on(issuer: SmallIssuer, on: Any, settings: Any, db: None) -> None:
    on(label="Example Login")
    assert "Sign in with Example Login" in said(Client())
    settings.OPENID = {**settings.OPENID, "issuer": ""}
    assert "Sign in with" not in said(Client())
    assert Client().get(START).status_code == 404
    assert Client().get(CALLBACK, {"code": "x", "state": "y"}).status_code == 404


@pytest.mark.parametrize(
    "changed",
    [
        {"nonce": "another"},
        {"nonce": None},
        {"aud": "another client"},
        {"aud": [CLIENT_ID, "another client"]},
        {"azp": "another client"},
        {"iss": "https://other.example.org"},
        {"exp": int(time.time()) - 60},
        {"nbf": int(time.time()) + 86_400},
        {"iat": None},
        {"sub": None},
        {"token": "not a token"},
        {"token": 7},
        {"key": rsa_key("thief")},
        {"algorithm": "RS512"},
        {"kid": "unknown", "key": rsa_key("k1")},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_S30_an_id_token_that_is_not_exactly_right_signs_nobody_in(
    issuer: SmallIssuer, on: Any, ursula: User, changed: dict[str, Any]
) -> None:
    link(ursula, issuer)
    client, place = attempt(issuer, **changed)
    assert (place, is_in(client)) == ("/admin/login/", False)
    assert "Signing in did not work" in said(client)


def test_S30_no_signature_and_the_public_key_as_a_secret_sign_nobody_in(issuer: SmallIssuer, on: Any, ursula: User) -> None:
    link(ursula, issuer)
    secret = rsa_key("k1").public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    for make in (lambda claims: issuer.confused(secret, **claims), lambda claims: issuer.token(algorithm="none", **claims)):
        client = Client()
        location = start(client)
        nonce = parse_qs(urlsplit(location).query)["nonce"][0]
        assert come_back(client, issuer.authorize(location, token=make({"aud": CLIENT_ID, "nonce": nonce}))) == "/admin/login/"
        assert not is_in(client)


def test_S30_a_state_of_another_browser_signs_nobody_in_or_out(issuer: SmallIssuer, on: Any, ursula: User, admin_user: User) -> None:
    link(ursula, issuer)
    thief = issuer.authorize(start(Client()))
    victim = signed_in("admin")
    for parameters in (thief, {"code": "x", "state": "y"}, {"error": "access_denied"}, {"error": "x", "state": thief["state"]}, {}):
        assert come_back(victim, parameters) == "/admin/login/"
        assert victim.session["_auth_user_id"] == str(admin_user.pk)
    assert "/token" not in issuer.asked


def test_S30_an_answer_is_good_once(issuer: SmallIssuer, on: Any, ursula: User) -> None:
    link(ursula, issuer)
    client = Client()
    parameters = issuer.authorize(start(client))
    assert come_back(client, parameters) == "/account/"
    client.post("/account/sign-out/")
    assert come_back(client, parameters) == "/admin/login/"
    assert not is_in(client)


def test_S31_an_inactive_user_is_kept_out_and_put_out(issuer: SmallIssuer, on: Any, ursula: User) -> None:
    link(ursula, issuer)
    client, _ = attempt(issuer)
    ursula.is_active = False
    ursula.save()
    assert client.get("/account/").status_code == 302
    client, place = attempt(issuer)
    assert (place, is_in(client)) == ("/admin/login/", False)


def test_R705_strangers_are_refused_unless_accounts_are_made(issuer: SmallIssuer, on: Any, ursula: User) -> None:
    claims = {"preferred_username": "ursula", "email": ursula.email, "email_verified": True}
    client, place = attempt(issuer, **claims)
    assert place == "/admin/login/"
    assert "external identity" in said(client)
    on(create_users=True)
    client, place = attempt(issuer, **claims)
    assert place == "/account/"
    made = ExternalIdentity.objects.get().user
    assert made != ursula
    assert (made.is_staff, made.is_superuser, made.has_usable_password()) == (False, False, False)


@pytest.mark.parametrize(
    ("claims", "admitted"),
    [
        ({"email": "ada@example.org", "email_verified": True}, True),
        ({"email": "ada@EXAMPLE.org", "email_verified": True}, True),
        ({"email": "ada@example.org", "email_verified": False}, False),
        ({"email": "ada@example.org", "email_verified": "true"}, False),
        ({"email": "ada@example.org"}, False),
        ({"email": "ada@example.org.evil.example", "email_verified": True}, False),
        ({"email": "ada@evil.example@example.org", "email_verified": True}, False),
        ({}, False),
    ],
    ids=str,
)
def test_R705_a_domain_needs_a_verified_address(issuer: SmallIssuer, on: Any, db: None, claims: dict[str, Any], admitted: bool) -> None:
    on(create_users=True, admit_domains=["example.org"])
    _, place = attempt(issuer, **claims)
    assert (place == "/account/") is admitted


def test_R705_groups_decide_who_comes_in_and_what_they_are(issuer: SmallIssuer, on: Any, ursula: User) -> None:
    link(ursula, issuer)
    money, kept = Group.objects.create(name="money"), Group.objects.create(name="kept")
    ursula.groups.add(kept)
    on(admit_groups=["gateway"], groups=json.dumps({"clerks": "money"}), staff=["clerks"])
    _, place = attempt(issuer, groups=["clerks"])
    assert place == "/admin/login/"
    attempt(issuer, groups=["gateway", "clerks"])
    ursula.refresh_from_db()
    assert ({*ursula.groups.all()}, ursula.is_staff, ursula.is_superuser) == ({kept, money}, True, False)
    attempt(issuer, groups=["gateway"])
    ursula.refresh_from_db()
    assert ({*ursula.groups.all()}, ursula.is_staff) == ({kept}, False)


@pytest.mark.parametrize(
    "bad", ["https://evil.example/", "//evil.example", "/\\evil.example", "javascript:alert(1)", "http:///evil.example"]
)
def test_next_stays_here(issuer: SmallIssuer, on: Any, ursula: User, bad: str) -> None:
    link(ursula, issuer)
    client = Client()
    assert come_back(client, issuer.authorize(start(client, next=bad))) == "/account/"
    client = Client()
    assert come_back(client, issuer.authorize(start(client, next="/admin/?x=1"))) == "/admin/?x=1"


def test_a_sign_in_has_a_session_of_its_own(issuer: SmallIssuer, on: Any, ursula: User, admin_user: User) -> None:
    link(ursula, issuer)
    client = Client()
    location = start(client)
    before = client.session.session_key
    come_back(client, issuer.authorize(location))
    assert client.session.session_key != before
    assert client.session["_auth_user_id"] == str(ursula.pk)
    other = signed_in("admin")
    come_back(other, issuer.authorize(start(other)))
    assert other.session["_auth_user_id"] == str(ursula.pk)
    assert live(admin_user) == 0


def test_nothing_of_the_issuers_is_kept(issuer: SmallIssuer, on: Any, ursula: User) -> None:
    link(ursula, issuer)
    client, _ = attempt(issuer)
    assert {"oidc_access_token", "oidc_id_token"}.isdisjoint(client.session.keys())
    assert not client.session["oidc_states"]


def test_signing_out_ends_the_session(issuer: SmallIssuer, on: Any, ursula: User) -> None:
    link(ursula, issuer)
    client, _ = attempt(issuer)
    client.post("/account/sign-out/")
    assert client.get("/account/").status_code == 302
    assert live(ursula) == 0


def test_an_issuer_that_is_away_is_said_to_be(issuer: SmallIssuer, on: Any, ursula: User) -> None:
    link(ursula, issuer)
    issuer.answers["/.well-known/openid-configuration"] = (500, {})
    client = Client()
    assert client.get(START)["Location"] == "/admin/login/"
    assert "cannot be reached right now" in said(client)
    del issuer.answers["/.well-known/openid-configuration"]
    location = start(client)
    issuer.answers["/token"] = (503, {})
    assert come_back(client, issuer.authorize(location)) == "/admin/login/"


def test_R705_passwords_stay_as_break_glass_for_superusers(
    issuer: SmallIssuer, on: Any, admin_user: User, ursula: User, settings: Any
) -> None:
    settings.PASSWORD_LOGIN = False
    ursula.is_staff = True
    ursula.save()
    page = said(Client())
    assert 'name="password"' not in page
    assert 'name="password"' in Client().get("/admin/login/?password=1").content.decode()
    assert sign_in(Client(), "ursula").status_code == 200
    assert sign_in(Client(), "admin").status_code == 302


def test_starting_is_bounded_by_address(issuer: SmallIssuer, on: Any) -> None:
    statuses = [Client().get(START).status_code for _ in range(bounds.OPENID_ADDRESS.tries + 2)]
    assert statuses == [302] * bounds.OPENID_ADDRESS.tries + [429] * 2


def test_switched_off_its_sessions_are_over(issuer: SmallIssuer, on: Any, ursula: User) -> None:
    link(ursula, issuer)
    client, _ = attempt(issuer)
    on(issuer="")
    assert client.get("/account/").status_code == 302


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ({"client_id": ""}, "AIGATEWAY_OIDC_CLIENT_ID is not set"),
        ({"client_secret": ""}, "AIGATEWAY_OIDC_CLIENT_SECRET is not set"),
        ({"issuer": "http://idp.example.org"}, "must be https"),
        ({"groups": "[]"}, "AIGATEWAY_OIDC_GROUPS is not a JSON object"),
        ({"algorithms": ["HS256"]}, "shared secret"),
    ],
)
def test_a_wrong_setting_is_refused_by_name(on: Any, members: dict[str, Any], said: str) -> None:
    on(**members)
    with pytest.raises(ImproperlyConfigured, match="AIGATEWAY_OIDC") as refused:
        issuers.openid_issuer()
    assert said in str(refused.value)
