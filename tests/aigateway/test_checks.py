from __future__ import annotations

import base64
from pathlib import Path

import pytest
from django.contrib import admin
from django.db import connection, connections

from aigateway import checks
from providers.models import Route

pytestmark = pytest.mark.both_databases


def _ids(messages) -> list[str]:
    return [message.id for message in messages]


@pytest.mark.parametrize(("debug", "host", "found"), [
    (True, "0.0.0.0", ["aigateway.E001"]),
    (True, "192.0.2.1", ["aigateway.E001"]),
    (True, "127.0.0.1", []),
    (True, "::1", []),
    (False, "0.0.0.0", []),
])  # fmt: skip
def test_S14_debug_pages_are_for_loopback_only(settings, debug: bool, host: str, found: list[str]) -> None:
    settings.DEBUG, settings.HOST = debug, host
    assert _ids(checks.debug_stays_at_home()) == found


KEY = base64.b64encode(b"k" * 32).decode()


@pytest.mark.parametrize(("ring", "found"), [
    (None, []),
    (f"k1:{KEY}", []),
    (f"k2:{KEY},k1:{KEY}", []),
    (f"k1:{KEY},k1:{KEY}", ["aigateway.E002"]),
    (KEY, ["aigateway.E002"]),
    ("k1:short", ["aigateway.E002"]),
    ("k1:" + base64.b64encode(b"k" * 16).decode(), ["aigateway.E002"]),
])  # fmt: skip
def test_a_malformed_key_ring_is_reported_without_its_keys(settings, ring: str | None, found: list[str]) -> None:
    settings.KEY_RING = ring
    messages = checks.key_ring_is_well_formed()
    assert _ids(messages) == found
    assert all(KEY not in str(message) and "short" not in str(message) for message in messages)


def test_S22_an_editable_admin_list_is_refused(monkeypatch) -> None:
    class EditableAdmin(admin.ModelAdmin):
        list_editable = ("enabled",)

    assert checks.admin_lists_are_not_editable() == []
    monkeypatch.setitem(admin.site._registry, Route, EditableAdmin(Route, admin.site))
    assert _ids(checks.admin_lists_are_not_editable()) == ["aigateway.E003"]


@pytest.mark.django_db
def test_the_database_of_this_run_is_supported_and_an_old_one_is_not(monkeypatch) -> None:
    assert checks.database_is_supported(databases=["default"]) == []
    monkeypatch.setattr(checks, "POSTGRESQL_MIN", 990_000)
    assert _ids(checks.database_is_supported(databases=["default"])) == (["aigateway.E005"] if connection.vendor == "postgresql" else [])
    monkeypatch.setattr(type(connections["default"]), "vendor", "oracle")
    assert _ids(checks.database_is_supported(databases=["default"])) == ["aigateway.E004"]


def test_a_state_folder_others_can_read_is_reported(settings, tmp_path: Path) -> None:
    settings.VAR_DIR = tmp_path
    tmp_path.chmod(0o700)
    assert checks.state_is_private() == []
    tmp_path.chmod(0o755)
    assert _ids(checks.state_is_private()) == ["aigateway.W001"]


@pytest.mark.parametrize(
    ("url", "found"), [("https://gateway.example.org", []), ("http://gateway.example.org", ["aigateway.W002"]), ("", ["aigateway.W002"])]
)
def test_an_address_without_encryption_is_reported(settings, url: str, found: list[str]) -> None:
    settings.PUBLIC_URL = url
    assert _ids(checks.public_address_is_encrypted()) == found


@pytest.mark.parametrize(("behind", "trusted", "host", "found"), [
    (True, ["*"], "127.0.0.1", ["aigateway.E009"]),
    (True, ["0.0.0.0/0"], "127.0.0.1", ["aigateway.E009"]),
    (True, ["10.0.0.1", "::/0"], "127.0.0.1", ["aigateway.E009"]),
    (True, ["127.0.0.1", "::1"], "0.0.0.0", ["aigateway.W004"]),
    (True, ["127.0.0.1", "::1"], "127.0.0.1", []),
    (True, ["172.30.83.0/24"], "0.0.0.0", []),
    (False, ["*"], "0.0.0.0", []),
])  # fmt: skip
def test_C23_it_is_told_when_a_proxys_word_is_anybodys_or_nobodys(
    settings, behind: bool, trusted: list[str], host: str, found: list[str]
) -> None:
    settings.BEHIND_PROXY, settings.FORWARDED_ALLOW_IPS, settings.HOST = behind, trusted, host
    assert _ids(checks.proxies_are_named()) == found


def test_a_wrong_issuer_is_told_at_start(settings) -> None:
    assert checks.issuers_are_well_formed() == []
    settings.JWT_ISSUERS = "[{}]"
    settings.OPENID = {**settings.OPENID, "issuer": "https://id.example.org"}
    messages = checks.issuers_are_well_formed()
    assert _ids(messages) == ["aigateway.E010"] * 2
    assert ["AIGATEWAY_JWT_ISSUERS" in messages[0].msg, "AIGATEWAY_OIDC_CLIENT_ID" in messages[1].msg] == [True, True]
