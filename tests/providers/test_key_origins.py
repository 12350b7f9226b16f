"""A stored provider key goes only to the address it was entered for, by whichever way its row or its provider's row changes (C01, R708)."""

from __future__ import annotations

import importlib
import io
from datetime import timedelta

import pytest
from auditlog.models import LogEntry
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from django.apps import apps
from django.core.management import call_command
from django.urls import reverse

from providers import actions, secrets
from providers.audit import SYSTEM
from providers.health import check
from providers.models import Credential, Provider
from providers.registry import build_snapshot, locked_credentials, open_credential, provider_spec
from providers.upstream.egress import origin_of
from providers.upstream.errors import CredentialLocked, EgressDenied
from providers.upstream.types import Secret
from tests.providers.conftest import CANARY, api, browser, make_provider
from tests.providers.test_actions import refused_field

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]

HERE = "https://api.example.org/v1"
ELSEWHERE = [
    "https://evil.example/v1",
    "http://api.example.org/v1",
    "https://api.example.org:8443/v1",
    "https://api.example.org.evil.example/v1",
]
SAME_PLACE = ["https://api.example.org/v2", "https://API.example.org/v1", "https://api.example.org:443/v1", "https://api.example.org"]


def moved(provider: Provider, base_url: str) -> Provider:
    provider.base_url, provider.allow_private = base_url, base_url.startswith("http:")
    return provider


# --------------------------------------------------------------------------- one spelling


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://api.example.org/v1", "https://api.example.org:443"),
        ("HTTPS://API.Example.ORG.:443/v1/", "https://api.example.org:443"),
        ("http://api.example.org", "http://api.example.org:80"),
        ("https://bücher.example/v1", "https://xn--bcher-kva.example:443"),
        ("https://xn--bcher-kva.example/v1", "https://xn--bcher-kva.example:443"),
        ("http://[0:0:0:0:0:0:0:1]:8000/v1", "http://[::1]:8000"),
        ("http://[::FFFF:10.0.0.1]/v1", "http://[::ffff:a00:1]:80"),
    ],
)
def test_C01_an_origin_has_one_spelling(url: str, origin: str) -> None:
    assert origin_of(url) == origin


@pytest.mark.parametrize("url", ["", "ftp://a.example", "https://", "https://u:p@a.example", "https://a.example:99999", "//a.example"])
def test_C01_what_leads_nowhere_has_no_origin(url: str) -> None:
    with pytest.raises(EgressDenied):
        origin_of(url)


# --------------------------------------------------------------------------- by the front door


@pytest.mark.parametrize("base_url", ELSEWHERE)
def test_C01_a_provider_that_moves_needs_its_key_anew(base_url: str) -> None:
    provider = make_provider(HERE)
    assert refused_field(lambda: actions.update_provider(moved(provider, base_url), SYSTEM)) == "api_key"
    assert Provider.objects.get().base_url == HERE
    actions.update_provider(moved(provider, base_url), SYSTEM, Secret("another-key-0123456789"))
    assert open_credential(Credential.objects.get()).reveal() == "another-key-0123456789"
    assert Credential.objects.get().origin == origin_of(base_url)


@pytest.mark.parametrize("base_url", SAME_PLACE)
def test_C01_another_path_of_the_same_place_keeps_the_key(base_url: str) -> None:
    provider = make_provider(HERE)
    actions.update_provider(moved(provider, base_url), SYSTEM)
    assert open_credential(Credential.objects.get()).reveal() == CANARY


def test_C01_a_provider_may_move_without_its_key() -> None:
    provider = make_provider(HERE)
    actions.update_provider(moved(provider, ELSEWHERE[0]), SYSTEM, drops_key=True)
    assert not Credential.objects.exists()
    actions.update_provider(moved(provider, HERE), SYSTEM)


def test_C01_the_admin_page_asks_for_the_key_at_its_field(superuser) -> None:
    provider = make_provider(HERE)
    page = reverse("admin:providers_provider_change", args=[provider.pk])
    form = browser(superuser).get(page).context["adminform"].form
    sent = {name: form[name].value() for name in form.fields if form[name].value() not in (None, False)}
    sent |= {"deployments-TOTAL_FORMS": 0, "deployments-INITIAL_FORMS": 0, "base_url": ELSEWHERE[0]}
    refused = browser(superuser).post(page, sent)
    assert "The stored key was entered for https://api.example.org:443" in str(refused.context["adminform"].form.errors["api_key"])
    assert Provider.objects.get().base_url == HERE
    assert browser(superuser).post(page, sent | {"api_key": "another-key-0123456789"}).status_code == 302
    assert open_credential(Credential.objects.get()).reveal() == "another-key-0123456789"


@pytest.mark.parametrize("method", ["patch", "put"])
def test_C01_so_does_the_REST_interface(superuser, method: str) -> None:
    provider = make_provider(HERE)
    url = f"/api/v1/ai/admin/providers/{provider.pk}"
    body = {"base_url": ELSEWHERE[0], "kind": provider.kind, "label": provider.label}
    refused = getattr(api(superuser), method)(url, body, format="json")
    assert refused.status_code == 400
    assert "api_key" in str(refused.json()["error"])
    assert Provider.objects.get().base_url == HERE
    assert getattr(api(superuser), method)(url, body | {"api_key": "another-key-0123456789"}, format="json").status_code == 200
    assert getattr(api(superuser), method)(url, body | {"base_url": HERE, "api_key": None}, format="json").status_code == 200
    assert not Credential.objects.exists()


# --------------------------------------------------------------------------- by the side door


def assert_locked(provider_id: int) -> None:
    provider = Provider.objects.get(pk=provider_id)
    spec = provider_spec(provider)
    assert (spec.credentials, spec.credential_locked) == ((), True)
    with pytest.raises(CredentialLocked):
        open_credential(Credential.objects.get(provider=provider))
    assert provider.slug in locked_credentials()


@pytest.mark.parametrize("base_url", [*ELSEWHERE, "nonsense", "", "https://user@api.example.org/v1"])
def test_C01_a_row_that_was_changed_by_hand_gets_no_key(base_url: str) -> None:
    provider = make_provider(HERE)
    Provider.objects.filter(pk=provider.pk).update(base_url=base_url)
    assert_locked(provider.pk)
    Credential.objects.update(origin=base_url[:300])
    assert_locked(provider.pk)
    Provider.objects.filter(pk=provider.pk).update(base_url=HERE)
    assert [ref.secret.reveal() for ref in provider_spec(Provider.objects.get()).credentials] == [CANARY]


def test_C01_swapped_rows_and_columns_open_for_nobody() -> None:
    mine = make_provider(HERE)
    other = make_provider("https://evil.example/v1", label="Other", key="another-key-0123456789")
    a, b = Credential.objects.get(provider=mine), Credential.objects.get(provider=other)
    Credential.objects.filter(pk=a.pk).update(provider=other)
    Credential.objects.filter(pk=b.pk).update(provider=mine)
    assert_locked(mine.pk)
    assert_locked(other.pk)
    Credential.objects.filter(pk=a.pk).update(provider=mine, sealed_secret=b.sealed_secret, origin=b.origin)
    Credential.objects.filter(pk=b.pk).update(provider=other, sealed_secret=a.sealed_secret, origin=a.origin)
    assert_locked(mine.pk)
    assert_locked(other.pk)


def test_C01_a_dump_with_another_address_gets_no_key(tmp_path) -> None:
    provider = make_provider(HERE)
    dump = tmp_path / "dump.json"
    call_command("dumpdata", "providers.provider", "providers.credential", output=str(dump))
    dump.write_text(dump.read_text().replace("api.example.org", "evil.example"))
    call_command("loaddata", str(dump), verbosity=0)
    assert Provider.objects.get().base_url == "https://evil.example/v1"
    assert Credential.objects.get().origin == "https://evil.example:443"
    assert_locked(provider.pk)


def test_C01_the_key_of_a_changed_row_is_not_sent(upstream, superuser) -> None:
    provider = make_provider(HERE, kind="mistral")
    Provider.objects.filter(pk=provider.pk).update(base_url=upstream.base_url, allow_private=True)
    assert check(Provider.objects.get()).error_code == "credential_locked"
    assert upstream.asked == []
    assert all(not target.provider.credentials for target in build_snapshot().targets.values())
    page = browser(superuser).get(reverse("admin:providers_provider_change", args=[provider.pk])).content.decode()
    assert "needs key" in page
    assert "It goes to that address only" in page
    assert "needs key" in browser(superuser).get(reverse("admin:providers_provider_changelist")).content.decode()


def test_C01_key_and_address_of_a_snapshot_come_from_the_same_row() -> None:
    provider = make_provider(HERE)
    stale = Provider.objects.prefetch_related("credentials").get()
    list(stale.credentials.all())
    actions.update_provider(moved(provider, ELSEWHERE[0]), SYSTEM, Secret("another-key-0123456789"))
    spec = provider_spec(stale)
    assert (spec.base_url, [ref.secret.reveal() for ref in spec.credentials]) == (HERE, [CANARY])
    stale.base_url = ELSEWHERE[0]
    assert provider_spec(stale).credentials == ()


def test_C01_rotation_keeps_what_a_key_is_bound_to(settings) -> None:
    settings.KEY_RING = secrets.new_ring_entry("a1")
    provider = make_provider(HERE)
    settings.KEY_RING = f"{secrets.new_ring_entry('b2')},{settings.KEY_RING}"
    Provider.objects.update(base_url=ELSEWHERE[0])
    call_command("rotate_kek", stdout=io.StringIO())
    assert secrets.ring_key_id(Credential.objects.get().sealed_secret) == "b2"
    assert_locked(provider.pk)
    Provider.objects.update(base_url=HERE)
    assert open_credential(Credential.objects.get()).reveal() == CANARY


# --------------------------------------------------------------------------- installations from before


def sealed_as_before(secret: str, row_id: object) -> bytes:
    """A value of version 1, made by its layout and not by today's code."""
    ring = secrets.sealing_ring()
    place = f"\0providers_credential\0{row_id}\0sealed_secret"
    row_key, wrap_nonce, nonce = b"r" * 32, b"w" * 12, b"n" * 12
    wrapped = AESGCM(ring.keys[ring.first_id]).encrypt(wrap_nonce, row_key, f"key{place}".encode())
    ciphertext = AESGCM(row_key).encrypt(nonce, secret.encode(), f"secret{place}".encode())
    return bytes((1, len(ring.first_id))) + ring.first_id.encode() + wrap_nonce + wrapped + nonce + ciphertext


def old_provider() -> Provider:
    provider = make_provider(HERE)
    credential = Credential.objects.get()
    Credential.objects.update(sealed_secret=sealed_as_before(CANARY, credential.pk), origin="")
    return provider


def migrate() -> None:
    importlib.import_module("providers.migrations.0009_key_origin").bind_keys(apps, None)


def test_C01_a_key_bound_to_no_address_opens_for_none_until_the_migration_binds_it() -> None:
    provider = old_provider()
    assert_locked(provider.pk)
    migrate()
    assert Credential.objects.get().origin == "https://api.example.org:443"
    assert open_credential(Credential.objects.get()).reveal() == CANARY
    Provider.objects.update(base_url=ELSEWHERE[0])
    assert_locked(provider.pk)


def test_C01_the_migration_binds_a_key_to_the_address_the_audit_log_says_it_was_entered_for() -> None:
    provider = old_provider()
    Credential.objects.update(origin="https://api.example.org:443")
    provider.base_url = ELSEWHERE[0]
    provider.save()  # as older versions allowed: the audit log has it
    LogEntry.objects.filter(object_pk=str(provider.pk)).update(timestamp=Credential.objects.get().created_at + timedelta(seconds=1))
    LogEntry.objects.filter(object_pk=str(provider.pk), action=LogEntry.Action.CREATE).delete()
    migrate()
    assert Credential.objects.get().origin == "https://api.example.org:443"
    assert_locked(provider.pk)


def test_C01_an_old_value_that_is_put_back_opens_no_more_and_rotation_does_not_bind_it_unasked() -> None:
    provider = old_provider()
    old = bytes(Credential.objects.get().sealed_secret)
    migrate()
    Credential.objects.update(sealed_secret=old)
    Provider.objects.update(base_url=ELSEWHERE[0])
    assert_locked(provider.pk)
    call_command("rotate_kek", stdout=io.StringIO())
    assert_locked(provider.pk)


def test_C01_a_migration_without_the_ring_leaves_the_key_unbound_for_the_command_that_says_what_it_binds(key_ring) -> None:
    provider = old_provider()
    ring = key_ring.read_text()
    key_ring.unlink()
    migrate()
    key_ring.write_text(ring)
    assert_locked(provider.pk)
    said = io.StringIO()
    call_command("rotate_kek", bind_keys=True, stdout=said)
    assert "The key of example is bound to https://api.example.org:443." in said.getvalue()
    assert open_credential(Credential.objects.get()).reveal() == CANARY
