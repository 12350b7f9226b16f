"""Sessions: seen by their person, ended by him, by a superuser, by a new password and by time."""

from __future__ import annotations

import time
from typing import Any

import pytest
from auditlog.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.contrib.sessions.models import Session
from django.test import Client
from django.utils import timezone

from aigateway.models import AccessState, SignIn, TryCount
from aigateway.signin import pruning, standing
from aigateway.signin.session_store import SEEN_AT, SIGNED_IN_AT
from tests.aigateway.signin.conftest import PASSWORD, ask_token, live, sign_in, signed_in, token_of, with_token
from usage.keys.actions import create_api_key

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]
SESSIONS = "/api/v1/ai/sessions"
NEW = "quite another pass phrase"


def is_in(client: Client) -> bool:
    return client.get("/account/").status_code == 200


def aged(client: Client, **ages: int) -> None:
    """As if the session had begun, or had been seen, so many seconds ago."""
    session = client.session
    for name, seconds in ages.items():
        session[name] = int(time.time()) - seconds
    session.save()


def test_a_person_sees_where_he_is_signed_in(admin_user: User) -> None:
    laptop = signed_in("admin", "192.0.2.1")
    phone = Client(REMOTE_ADDR="198.51.100.2", HTTP_USER_AGENT="Phone\x85 1.0")
    sign_in(phone, "admin", address="198.51.100.2")
    token_of(admin_user)
    answer = laptop.get(SESSIONS)
    assert answer["Cache-Control"] == "private, no-store"
    shown = {(row["kind"], row["address"], row["device"], row["current"]) for row in answer.json()}
    assert shown == {
        ("session", "192.0.2.1", "", True),
        ("session", "198.51.100.2", "Phone 1.0", False),
        ("token", "192.0.2.1", "", False),
    }
    page = laptop.get("/account/").content.decode()
    assert "Phone 1.0" in page
    for secret in Session.objects.values_list("session_key", flat=True):
        assert secret not in answer.content.decode() + page


def test_one_session_is_ended_at_once(admin_user: User) -> None:
    laptop, phone = signed_in("admin"), signed_in("admin", "198.51.100.2")
    other = next(row for row in laptop.get(SESSIONS).json() if not row["current"])
    assert laptop.delete(f"{SESSIONS}/{other['id']}").status_code == 204
    assert (is_in(laptop), is_in(phone)) == (True, False)
    assert laptop.delete(f"{SESSIONS}/{other['id']}").status_code == 404
    noted = LogEntry.objects.get_for_object(admin_user).get(changes__has_key="sign_ins")
    assert (noted.actor, noted.changes["sign_ins"]) == (admin_user, ["browser from 198.51.100.2", "ended by its person"])


def test_the_page_ends_one_and_all_others(admin_user: User) -> None:
    laptop, phone, tablet = signed_in("admin"), signed_in("admin"), signed_in("admin")
    ended = SignIn.objects.get(session_key=phone.session.session_key)
    assert laptop.post(f"/account/sessions/{ended.pk}/end/").status_code == 302
    assert (is_in(phone), is_in(tablet)) == (False, True)
    token = token_of(admin_user)["access_token"]
    laptop.post("/account/sessions/end/")
    assert (is_in(laptop), is_in(tablet), with_token(token).status_code) == (True, False, 401)


def test_nobody_ends_the_sessions_of_others(admin_user: User, ursula: User) -> None:
    ursula.is_staff = True
    ursula.save()
    mine, hers, his = token_of(ursula), signed_in("ursula"), signed_in("admin")
    theirs = SignIn.objects.get(user=admin_user)
    assert hers.delete(f"{SESSIONS}/{theirs.pk}").status_code == 404
    assert hers.post(f"/account/sessions/{theirs.pk}/end/").status_code == 404
    assert hers.get(f"/api/v1/ai/admin/users/{admin_user.pk}/sessions").status_code == 403
    for client in (Client(), Client(headers={"Authorization": f"Bearer {mine['access_token']}"})):
        path = f"/api/v1/ai/admin/users/{admin_user.pk}/sessions"
        assert {client.get(path).status_code, client.delete(path).status_code} <= {401, 403}
    assert is_in(his)


@pytest.mark.parametrize("kind", ["key", "token"])
def test_neither_key_nor_token_manages_sessions_not_even_a_superusers(admin_user: User, kind: str) -> None:
    credential = create_api_key(admin_user, "laptop")[1] if kind == "key" else token_of(admin_user)["access_token"]
    client = Client(headers={"Authorization": f"Bearer {credential}"})
    for path in (SESSIONS, f"/api/v1/ai/admin/users/{admin_user.pk}/sessions"):
        assert (client.get(path).status_code, client.delete(path).status_code) == (403, 403)


def test_a_superuser_sees_and_ends_those_of_others(admin_user: User, ursula: User) -> None:
    token = token_of(ursula)["access_token"]
    admin = signed_in("admin")
    path = f"/api/v1/ai/admin/users/{ursula.pk}/sessions"
    assert [row["kind"] for row in admin.get(path).json()] == ["token"]
    assert admin.delete(path).status_code == 204
    assert with_token(token).status_code == 401
    entry = LogEntry.objects.get_for_object(ursula).get(changes__has_key="epoch")
    assert (entry.actor, entry.changes["epoch"]) == (admin_user, [0, 1])


def test_the_admin_page_is_for_superusers_and_ends_what_is_selected(admin_user: User, ursula: User) -> None:
    ursula.is_staff = True
    ursula.save()
    ursula.user_permissions.set(Permission.objects.filter(content_type__app_label="aigateway"))
    hers = signed_in("ursula")
    for name in ("signin", "externalidentity"):
        assert hers.get(f"/admin/aigateway/{name}/").status_code == 403
    admin = signed_in("admin")
    assert admin.get("/admin/aigateway/signin/").status_code == 200
    chosen = {"action": "end_selected", "_selected_action": [str(SignIn.objects.get(user=ursula).pk)]}
    admin.post("/admin/aigateway/signin/", chosen)
    assert (is_in(hers), is_in(admin)) == (False, True)


def test_S31_a_new_password_ends_all_other_sessions_and_tokens(admin_user: User) -> None:
    laptop, phone, token = signed_in("admin"), signed_in("admin"), token_of(admin_user)["access_token"]
    body = {"old_password": PASSWORD, "new_password1": NEW, "new_password2": NEW}
    before = laptop.session.session_key
    assert laptop.post("/admin/password_change/", body).status_code == 302
    assert (is_in(laptop), is_in(phone), with_token(token).status_code) == (True, False, 401)
    assert laptop.session.session_key != before
    assert [row["current"] for row in laptop.get(SESSIONS).json()] == [True]


@pytest.mark.parametrize("how", ["command", "deactivate"])
def test_S31_so_does_any_other_way_of_changing_it(ursula: User, how: str) -> None:
    ursula.is_staff = True
    ursula.save()
    client = signed_in("ursula")
    if how == "command":
        ursula.set_password(NEW)
    else:
        ursula.is_active = False
    ursula.save()
    assert not is_in(client)
    assert live(ursula) == 0
    assert Session.objects.count() == 0
    assert AccessState.objects.get().epoch == 1


def test_a_user_saved_for_another_reason_keeps_his_sessions(admin_user: User) -> None:
    client = signed_in("admin")
    admin_user.refresh_from_db()
    admin_user.first_name = "Ada"
    admin_user.save()
    assert is_in(client)


def test_S31_the_old_password_is_not_guessed_from_an_open_session(admin_user: User) -> None:
    client = signed_in("admin")
    body = {"old_password": "wrong", "new_password1": NEW, "new_password2": NEW}
    assert [client.post("/admin/password_change/", body).status_code for _ in range(11)] == [200] * 10 + [429]


def test_a_session_ends_when_it_is_idle_or_old(admin_user: User, settings: Any) -> None:
    client = signed_in("admin")
    aged(client, **{SEEN_AT: settings.SESSION_IDLE_S - 5})
    assert is_in(client)
    aged(client, **{SEEN_AT: settings.SESSION_IDLE_S + 5})
    assert not is_in(client)
    client = signed_in("admin")
    aged(client, **{SIGNED_IN_AT: settings.SESSION_MAX_S + 5})
    assert not is_in(client)
    assert live(admin_user) == 0


@pytest.mark.parametrize(("told", "kept"), [("", None), ("fe80::1%eth0", "fe80::1"), ("/run/socket", None), ("2001:DB8::1", "2001:db8::1")])
def test_an_address_that_is_none_is_unknown(admin_user: User, told: str, kept: str | None) -> None:
    signed_in("admin", told)
    assert SignIn.objects.get().address == kept


def test_being_seen_is_written_now_and_then(admin_user: User) -> None:
    client = signed_in("admin")
    SignIn.objects.update(seen_at="2026-01-01T00:00:00Z")
    assert is_in(client)
    assert SignIn.objects.get().seen_at.year == 2026
    aged(client, **{SEEN_AT: 120})
    assert is_in(client)
    assert (timezone.now() - SignIn.objects.get().seen_at).total_seconds() < 60


def test_a_session_from_before_these_rules_is_signed_out(admin_user: User) -> None:
    client = signed_in("admin")
    session = client.session
    del session[SIGNED_IN_AT]
    session.save()
    assert not is_in(client)


def test_a_sign_in_has_a_new_session_key(admin_user: User) -> None:
    client = Client()
    session = client.session
    session["seen"] = "before"
    session.save()
    client.cookies["sessionid"] = session.session_key
    sign_in(client, "admin")
    assert client.session.session_key != session.session_key
    assert not Session.objects.filter(session_key=session.session_key).exists()


def test_the_session_cookie_is_for_the_server_only(admin_user: User) -> None:
    cookie = signed_in("admin").cookies["sessionid"]
    assert (cookie["httponly"], cookie["samesite"]) == (True, "Lax")


def test_signing_out_is_an_act_of_ones_own(admin_user: User) -> None:
    client = signed_in("admin")
    assert client.get("/account/sign-out/").status_code == 405
    assert is_in(client)
    client.post("/account/sign-out/")
    assert not is_in(client)


def test_what_is_over_is_forgotten(admin_user: User) -> None:
    signed_in("admin")
    sign_in(Client(), "admin", "wrong")
    for model, field in ((SignIn, "seen_at"), (TryCount, "last_at")):
        model.objects.update(**{field: "2020-01-01T00:00:00Z"})
    pruning.prune()
    assert (SignIn.objects.count(), TryCount.objects.count()) == (0, 0)


def test_a_token_for_a_session_that_was_ended_is_not_made(admin_user: User) -> None:
    client = signed_in("admin")
    standing.end_everything(admin_user, "test")
    assert ask_token(client, {}).status_code == 401
