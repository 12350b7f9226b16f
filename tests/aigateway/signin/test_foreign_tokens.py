"""Tokens of issuers the operator named: believed for what they were made for, by keys fetched within bounds."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jwt
import pytest
from auditlog.models import LogEntry
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from django.contrib.auth.models import Group, User
from django.core.exceptions import ImproperlyConfigured

from aigateway.models import ExternalIdentity
from aigateway.signin import issuers, tokens
from aigateway.signin.jose import KeysUnknown, TokenRefused
from aigateway.signin.key_sets import KeySets
from providers.models import ConfigVersion
from tests.aigateway.signin.conftest import link, with_token
from tests.aigateway.signin.issuer import AUDIENCE, SmallIssuer, public_jwk, rsa_key

pytestmark = pytest.mark.django_db
Believe = Callable[..., None]


def code_of(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


@pytest.fixture
def linked(ursula: User, issuer: SmallIssuer, believe: Believe) -> User:
    link(ursula, issuer)
    return ursula


def why(token: str) -> str:
    with pytest.raises(TokenRefused) as refused:
        tokens.prove(token)
    return refused.value.why


def test_R705_a_good_token_of_a_linked_person_works(linked: User, issuer: SmallIssuer) -> None:
    assert with_token(issuer.token()).status_code == 200
    assert issuer.asked == {"/jwks": 1}
    assert with_token(issuer.token()).status_code == 200
    assert issuer.asked == {"/jwks": 1}, "keys are kept"


def test_R705_keys_are_found_by_discovery_as_well(linked: User, issuer: SmallIssuer, believe: Believe) -> None:
    believe(jwks_url="")
    assert with_token(issuer.token()).status_code == 200


def test_discovery_of_another_issuer_is_not_believed(linked: User, issuer: SmallIssuer, believe: Believe) -> None:
    believe(jwks_url="")
    issuer.answers["/.well-known/openid-configuration"] = {"issuer": "https://other.example.org", "jwks_uri": issuer.url + "/jwks"}
    assert code_of(with_token(issuer.token())) == (503, "access_unknown")


@pytest.mark.parametrize(
    "changed",
    [
        {"exp": int(time.time()) - 60},
        {"nbf": int(time.time()) + 86_400},
        {"aud": "another service"},
        {"aud": ["another service"]},
        {"aud": None},
        {"exp": None},
        {"nbf": None},
        {"sub": None},
        {"sub": ""},
        {"sub": 7},
        {"exp": "soon"},
        {"iss": "https://nobody.example.org"},
        {"iss": None},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_S30_expired_early_foreign_and_incomplete_tokens_are_refused(linked: User, issuer: SmallIssuer, changed: dict[str, Any]) -> None:
    assert code_of(with_token(issuer.token(**changed))) == (401, "invalid_token")


def test_S30_issuers_without_nbf_can_be_named_so(linked: User, issuer: SmallIssuer, believe: Believe) -> None:
    believe(require_nbf=False)
    assert with_token(issuer.token(nbf=None)).status_code == 200
    assert with_token(issuer.token(nbf=int(time.time()) + 86_400)).status_code == 401


def test_S30_a_public_key_is_no_shared_secret(linked: User, issuer: SmallIssuer) -> None:
    public = rsa_key("k1").public_key()
    for form in (PublicFormat.SubjectPublicKeyInfo, PublicFormat.PKCS1):
        secret = public.public_bytes(Encoding.DER, form)
        assert why(issuer.confused(secret)) == "algorithm"
    assert why(issuer.confused(json.dumps(public_jwk()).encode())) == "algorithm"
    header, claims, _ = issuer.token().split(".")
    unsigned = base64.urlsafe_b64encode(b'{"alg":"none","kid":"k1"}').rstrip(b"=").decode()
    assert why(f"{unsigned}.{claims}.AAAA") == "algorithm"
    assert why(f"{header}.{claims}.AAAA") == "InvalidSignatureError"


def test_S30_algorithms_and_keys_are_those_of_the_issuer(linked: User, issuer: SmallIssuer, believe: Believe) -> None:
    assert why(issuer.token(algorithm="RS512")) == "algorithm of this issuer"
    believe(algorithms=["RS256", "RS512", "ES256"])
    assert why(issuer.token(algorithm="RS512")) == "algorithm of this key"
    assert why(issuer.token(algorithm="ES256", key=ec.generate_private_key(ec.SECP256R1()))) == "algorithm of this key"


def test_S30_the_header_chooses_no_key(linked: User, issuer: SmallIssuer) -> None:
    thief = rsa_key("thief")
    for headers in ({"jwk": public_jwk("thief")}, {"jku": issuer.url + "/other"}, {"x5u": issuer.url + "/other"}):
        assert why(issuer.token(key=thief, headers=headers)) == "InvalidSignatureError"
    assert set(issuer.asked) == {"/jwks"}
    assert why(issuer.token(headers={"crit": ["exp"]})) == "header"
    assert why(issuer.token(headers={"typ": "logout+jwt"})) == "header"


def test_S30_kids_can_be_named(linked: User, issuer: SmallIssuer, believe: Believe) -> None:
    issuer.keys.append(public_jwk("k2"))
    assert with_token(issuer.token(kid="k2")).status_code == 200
    believe(kids=["k1"])
    assert why(issuer.token(kid="k2")) == "kid is not on the list"
    assert with_token(issuer.token()).status_code == 200


def test_S30_duplicate_claims_are_refused(linked: User, issuer: SmallIssuer) -> None:
    body = json.dumps(issuer.claims(sub="nobody"))[:-1].encode() + b', "sub": "person-1"}'
    assert why(jwt.api_jws.encode(body, rsa_key("k1"), "RS256", headers={"kid": "k1"})) == "not plain JSON"
    assert why(issuer.token(padding="x" * 9000)) == "too long"


def test_S30_useless_keys_are_no_keys(linked: User, issuer: SmallIssuer) -> None:
    shared = base64.urlsafe_b64encode(b"x" * 32).decode()
    issuer.keys = [
        {"kty": "oct", "k": shared, "kid": "k1", "alg": "RS256"},
        {**public_jwk(), "kid": "k2", "use": "enc"},
        {**public_jwk(), "kid": "k3", "d": "AQAB"},
        {**public_jwk("short"), "kid": "k4"},
        {**public_jwk(), "kid": 5},
        "no key",
    ]
    assert [why(issuer.token(kid=kid)) for kid in ("k1", "k2", "k3")] == ["kid is unknown"] * 3
    assert why(issuer.token(kid="k4", key=rsa_key("k1"))) == "key is too short"


def test_S30_an_unknown_kid_is_asked_for_once_a_minute(linked: User, issuer: SmallIssuer, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(tokens, "KEY_SETS", KeySets(lambda: now[0]))
    assert with_token(issuer.token()).status_code == 200
    for number in range(20):
        why(issuer.token(kid=f"unknown-{number}", key=rsa_key("k1")))
    assert issuer.asked["/jwks"] == 1
    now[0] += 61
    issuer.keys.append(public_jwk("k2"))
    assert with_token(issuer.token(kid="k2")).status_code == 200, "a new key of the issuer works within a minute"
    assert issuer.asked["/jwks"] == 2


def test_S30_many_at_once_ask_the_issuer_once(linked: User, issuer: SmallIssuer) -> None:
    token = issuer.token()
    with ThreadPoolExecutor(10) as pool:
        assert len({proven.claims["sub"] for proven in pool.map(tokens.prove, [token] * 30)}) == 1
    assert issuer.asked == {"/jwks": 1}


@pytest.mark.parametrize(
    "answer",
    [(500, {}), (302, {}), (200, b"x" * 300_000), (200, b"[]"), (200, {"keys": 1}), (200, {"keys": [{}] * 51}), (200, b'{"a":1,"a":2}')],
)
def test_an_issuer_that_answers_nonsense_is_503_and_asked_once_a_minute(linked: User, issuer: SmallIssuer, answer: Any) -> None:
    issuer.answers["/jwks"] = answer
    for _ in range(3):
        assert code_of(with_token(issuer.token())) == (503, "access_unknown")
    assert issuer.asked == {"/jwks": 1}


def test_keys_outlast_an_issuer_that_is_away_for_an_hour(linked: User, issuer: SmallIssuer, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(tokens, "KEY_SETS", KeySets(lambda: now[0]))
    tokens.prove(issuer.token())
    issuer.answers["/jwks"] = (500, {})
    now[0] += 3000
    tokens.prove(issuer.token())
    now[0] += 601
    with pytest.raises(KeysUnknown):
        tokens.prove(issuer.token())


def test_keys_come_from_no_private_place_but_the_one_that_was_named(linked: User, issuer: SmallIssuer, believe: Believe) -> None:
    believe(jwks_url="")
    port = int(issuer.url.rsplit(":", 1)[1])
    discovered = {"issuer": issuer.url, "jwks_uri": f"http://localhost:{port}/jwks"}
    issuer.answers["/.well-known/openid-configuration"] = discovered
    assert code_of(with_token(issuer.token())) == (503, "access_unknown")
    assert "/jwks" not in issuer.asked


# --------------------------------------------------------------------------- who it is


def test_R705_a_name_or_an_address_is_nobodys_proof(ursula: User, issuer: SmallIssuer, believe: Believe) -> None:
    claims = {"preferred_username": "ursula", "email": ursula.email, "email_verified": True}
    assert code_of(with_token(issuer.token(**claims))) == (401, "not_admitted")
    believe(create_users=True)
    assert with_token(issuer.token(**claims)).status_code == 200
    made = ExternalIdentity.objects.get().user
    assert made != ursula
    assert made.username.startswith("ursula-")
    assert (made.is_staff, made.is_superuser, made.has_usable_password()) == (False, False, False)
    assert LogEntry.objects.get_for_object(ExternalIdentity.objects.get()).count() == 1


def test_the_same_subject_of_another_issuer_is_somebody_else(ursula: User, issuer: SmallIssuer, believe: Believe) -> None:
    ExternalIdentity.objects.create(user=ursula, issuer="https://other.example.org", subject="person-1")
    assert code_of(with_token(issuer.token())) == (401, "not_admitted")
    assert code_of(with_token(issuer.token(sub="PERSON-1"))) == (401, "not_admitted")


def test_S31_inactive_users_are_refused(linked: User, issuer: SmallIssuer) -> None:
    User.objects.update(is_active=False)
    assert code_of(with_token(issuer.token())) == (401, "not_admitted")


def test_R705_groups_follow_the_claim_within_the_mapped_set(linked: User, issuer: SmallIssuer, believe: Believe) -> None:
    local, finance, team = (Group.objects.create(name=name) for name in ("local", "money", "team a"))
    linked.groups.add(local, team)
    believe(groups={"gw-finance": "money", "gw-team": "team a", "gw-none": "no such group"})
    with_token(issuer.token(groups=["gw-finance", "gw-none", "local", 7]))
    assert {*linked.groups.all()} == {local, finance}
    with_token(issuer.token(groups="gw-team"))
    assert {*linked.groups.all()} == {local, team}
    noted = [entry.changes["groups"] for entry in LogEntry.objects.get_for_object(linked).order_by("id") if "groups" in entry.changes]
    assert noted[-1][1] == "local, team a", "what a claim does is in the audit log"
    before = ConfigVersion.current()
    with_token(issuer.token(groups="gw-team"))
    assert ConfigVersion.current() == before


def test_R705_no_claim_gives_rights_unless_a_mapping_names_it(linked: User, issuer: SmallIssuer, believe: Believe) -> None:
    bold = {"is_staff": True, "is_superuser": True, "groups": ["admins"], "roles": ["admins"]}
    with_token(issuer.token(**bold))
    linked.refresh_from_db()
    assert (linked.is_staff, linked.is_superuser) == (False, False)
    believe(staff=["admins"], groups_claim="realm.roles")
    with_token(issuer.token(realm={"roles": ["admins"]}))
    linked.refresh_from_db()
    assert (linked.is_staff, linked.is_superuser) == (True, False)
    with_token(issuer.token())
    linked.refresh_from_db()
    assert linked.is_staff is False


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("{", "is not a JSON array"),
        ("{}", "is not a JSON array"),
        ("[{}]", "needs an issuer and an audience"),
        ('[{"issuer": "https://a.example", "audience": ""}]', "audience is empty"),
        ('[{"issuer": "http://a.example", "audience": "x"}]', "must be https"),
        ('[{"issuer": "https://a.example", "audience": "x", "algorithms": ["HS256"]}]', "shared secret"),
        ('[{"issuer": "https://a.example", "audience": "x", "algorithms": ["none"]}]', "shared secret"),
        ('[{"issuer": "https://a.example", "audience": "x", "algorithms": []}]', "algorithms must be"),
        ('[{"issuer": "https://a.example", "audience": "x", "jwks": "y"}]', "means nothing here"),
        ('[{"issuer": "https://a.example", "audience": "x", "groups": ["y"]}]', "must be an object of texts"),
        ('[{"issuer": "https://a.example", "audience": "x", "create_users": 1}]', "must be true or false"),
        ('[{"issuer": "https://a.example", "audience": "x"}, {"issuer": "https://a.example", "audience": "y"}]', "twice"),
        ('[{"issuer": "https://u:p@a.example", "audience": "x"}]', "without credentials"),
    ],
)
def test_a_wrong_entry_is_refused_by_name(settings: Any, entry: str, said: str) -> None:
    settings.JWT_ISSUERS = entry
    with pytest.raises(ImproperlyConfigured, match="AIGATEWAY_JWT_ISSUERS") as refused:
        issuers.token_issuers()
    assert said in str(refused.value)


def test_the_defaults_of_an_entry_are_narrow(settings: Any) -> None:
    settings.JWT_ISSUERS = json.dumps([{"issuer": "https://a.example", "audience": AUDIENCE}])
    entry = issuers.token_issuers()["https://a.example"]
    assert (entry.create_users, entry.staff, entry.superusers, entry.require_nbf) == (False, (), (), True)
    assert entry.scopes == ("inference", "own_preferences", "own_usage")
