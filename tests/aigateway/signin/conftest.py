"""People who sign in, by forms and tokens, from addresses of their own."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from aigateway.models import ExternalIdentity, SignIn
from aigateway.signin import openid, tokens
from aigateway.signin.key_sets import KeySets
from tests.aigateway.signin.issuer import AUDIENCE, SmallIssuer, running_issuer

PASSWORD = "a pass phrase of ours"


@pytest.fixture
def quick_hashes(settings: Any) -> None:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture
def admin_user(quick_hashes: None, db: None) -> User:
    return User.objects.create_superuser("admin", email="admin@example.org", password=PASSWORD)


@pytest.fixture
def ursula(quick_hashes: None, db: None) -> User:
    return User.objects.create_user("ursula", email="ursula@example.org", password=PASSWORD)


def sign_in(client: Client, name: str, password: str = PASSWORD, address: str = "192.0.2.1") -> Any:
    """Sends the form of the sign-in page: 302 is in, 200 is wrong, 429 is refused unseen."""
    return client.post("/admin/login/", {"username": name, "password": password}, REMOTE_ADDR=address)


def signed_in(name: str, address: str = "192.0.2.1") -> Client:
    client = Client(REMOTE_ADDR=address)
    assert sign_in(client, name, address=address).status_code == 302
    return client


def ask_token(client: Client, body: dict[str, Any], address: str = "192.0.2.1", **headers: str) -> Any:
    return client.post("/api/v1/ai/auth/token", body, content_type="application/json", REMOTE_ADDR=address, headers=headers)


def token_of(user: User, password: str = PASSWORD, **body: Any) -> dict[str, Any]:
    answer = ask_token(Client(), {"username": user.username, "password": password, **body})
    assert answer.status_code == 200, answer.content
    return answer.json()


def with_token(token: str, path: str = "/api/v1/ai/preferences") -> Any:
    return Client().get(path, headers={"Authorization": f"Bearer {token}"})


def live(user: User) -> int:
    return SignIn.objects.filter(user=user, ended_at=None).count()


@pytest.fixture
def issuer(monkeypatch: pytest.MonkeyPatch) -> Iterator[SmallIssuer]:
    """A running issuer nobody believes yet, and no keys remembered of others."""
    fresh = KeySets()
    monkeypatch.setattr(tokens, "KEY_SETS", fresh)
    monkeypatch.setattr(openid, "KEY_SETS", fresh)
    with running_issuer() as running:
        yield running


@pytest.fixture
def believe(issuer: SmallIssuer, settings: Any) -> Callable[..., None]:
    """Makes the gateway believe tokens of the issuer, with further members of its entry."""

    def configure(**members: Any) -> None:
        entry = {"issuer": issuer.url, "audience": AUDIENCE, "jwks_url": issuer.url + "/jwks", **members}
        settings.JWT_ISSUERS = json.dumps([entry])

    configure()
    return configure


def link(user: User, issuer: SmallIssuer, subject: str = "person-1") -> ExternalIdentity:
    return ExternalIdentity.objects.create(user=user, issuer=issuer.url, subject=subject)
