"""Passwords: which are refused, and how a forgotten one is replaced."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.contrib.auth.password_validation import validate_password
from django.core import mail
from django.core.exceptions import ValidationError
from django.test import Client

from aigateway.process import bootstrap
from aigateway.signin import resets
from tests.aigateway.signin.conftest import PASSWORD, live, sign_in, signed_in

pytestmark = pytest.mark.django_db
RESET = "/admin/password_reset/"
NEW = "quite another pass phrase"


@pytest.fixture
def mailing(settings: Any, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Mail is configured; what a worker would do is done when a test says so."""
    settings.EMAIL_URL = "memory"
    settings.EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
    settings.PUBLIC_URL = "https://gateway.example.org"
    asked: list[tuple[str, str]] = []
    monkeypatch.setattr(resets.current_app, "send_task", lambda name, args, expires: asked.append(tuple(args)))
    return asked


def link_for(email: str, asked: list[tuple[str, str]]) -> str:
    assert Client().post(RESET, {"email": email}).status_code == 302
    resets.send(*asked[-1])
    found = re.search(r"https://gateway\.example\.org(/admin/reset/\S+)", mail.outbox[-1].body)
    assert found is not None
    return found.group(1)


def follow(link: str, password: str = NEW) -> tuple[Client, int]:
    client = Client()
    page = client.get(link)
    if page.status_code != 302:
        return client, page.status_code
    return client, client.post(page["Location"], {"new_password1": password, "new_password2": password}).status_code


@pytest.mark.parametrize("weak", ["tiny", "password1234", "123456789012345", "administrator"])
def test_a_weak_first_password_is_refused_by_name(quick_hashes: None, monkeypatch: pytest.MonkeyPatch, weak: str) -> None:
    monkeypatch.setenv("AIGATEWAY_ADMIN_PASSWORD", weak)
    monkeypatch.setenv("AIGATEWAY_ADMIN_USERNAME", "administrator")
    with pytest.raises(bootstrap.SeedRefused, match="AIGATEWAY_ADMIN_PASSWORD") as refused:
        bootstrap.seed(None)
    assert weak not in str(refused.value)
    assert not User.objects.exists()


def test_the_page_holds_a_new_password_to_the_rules(admin_user: User) -> None:
    client = signed_in("admin")
    body = {"old_password": PASSWORD, "new_password1": "123456789012", "new_password2": "123456789012"}
    assert client.post("/admin/password_change/", body).status_code == 200
    with pytest.raises(ValidationError):
        validate_password("admin-admin", admin_user)


def test_a_forgotten_password_is_replaced_once(admin_user: User, mailing: list[tuple[str, str]]) -> None:
    session = signed_in("admin")
    link = link_for(admin_user.email, mailing)
    assert follow(link)[1] == 302
    assert sign_in(Client(), "admin", NEW).status_code == 302
    assert session.get("/account/").status_code == 302, "the sessions of the old password are over"
    assert live(admin_user) == 1
    assert follow(link, "and one more pass phrase")[1] == 200, "a page that says it was used"
    assert sign_in(Client(), "admin", NEW).status_code == 302


def test_a_link_ends_after_an_hour(admin_user: User, mailing: list[tuple[str, str]], settings: Any) -> None:
    assert settings.PASSWORD_RESET_TIMEOUT == 3600
    link = link_for(admin_user.email, mailing)
    settings.PASSWORD_RESET_TIMEOUT = -1
    assert follow(link)[1] == 200
    assert sign_in(Client(), "admin", NEW).status_code == 200


def test_nobody_learns_who_is_known(admin_user: User, mailing: list[tuple[str, str]]) -> None:
    queries = []
    for email in (admin_user.email, "nobody@example.org"):
        answer = Client().post(RESET, {"email": email})
        queries.append((answer.status_code, answer["Location"], answer.content))
    assert queries[0] == queries[1]
    assert [email for email, _ in mailing] == [admin_user.email, "nobody@example.org"]
    resets.send(*mailing[1])
    assert mail.outbox == []


def test_asking_is_bounded(admin_user: User, mailing: list[tuple[str, str]]) -> None:
    statuses = [Client().post(RESET, {"email": admin_user.email}).status_code for _ in range(5)]
    assert statuses == [302] * 3 + [429] * 2
    assert len(mailing) == 3


def test_a_forged_host_does_not_come_into_the_link(admin_user: User, mailing: list[tuple[str, str]]) -> None:
    assert Client().post(RESET, {"email": admin_user.email}, HTTP_HOST="evil.example").status_code == 400
    assert mailing == []


def test_without_mail_there_is_no_page(admin_user: User, settings: Any) -> None:
    assert Client().get(RESET).status_code == 404
    assert "password_reset" not in Client().get("/admin/login/").content.decode()
    settings.EMAIL_URL = "memory"
    assert RESET in Client().get("/admin/login/").content.decode()


def test_users_without_a_password_get_no_link(admin_user: User, mailing: list[tuple[str, str]]) -> None:
    User.objects.create_user("idp", email="idp@example.org")
    User.objects.create_user("idle", email="idle@example.org", password=PASSWORD, is_active=False)
    for email in ("idp@example.org", "idle@example.org"):
        resets.send(email, "https://gateway.example.org")
    assert mail.outbox == []
