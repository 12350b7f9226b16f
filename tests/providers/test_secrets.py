from __future__ import annotations

import base64
import io
import stat

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.core.management.base import CommandError
from hypothesis import given
from hypothesis import strategies as st

from providers import secrets
from providers.models import Credential
from providers.registry import open_credential
from providers.secrets import SealContext
from providers.upstream.errors import CredentialLocked
from providers.upstream.types import Secret
from tests.providers.conftest import CANARY, make_provider

PLACE = SealContext("providers_credential", "1", "sealed_secret")
# Fixed, not generated: test ids are made of them, and parallel workers must agree on ids.
RING_A = "a1:" + base64.urlsafe_b64encode(bytes(range(32))).decode()
RING_B = "b2:" + base64.urlsafe_b64encode(bytes(range(32, 64))).decode()


@pytest.fixture
def ring_a(settings):
    settings.KEY_RING = RING_A


@pytest.mark.parametrize("text", ["k", CANARY, "long-enough-ключ", "x" * 4000])
def test_a_sealed_secret_opens_to_itself_and_its_ciphertext_hides_it(ring_a, text):
    sealed = secrets.seal(Secret(text), PLACE)
    assert secrets.open_sealed(sealed, PLACE).reveal() == text
    assert len(text) == 1 or text.encode() not in sealed


def test_two_seals_of_one_secret_differ(ring_a):
    assert secrets.seal(Secret(CANARY), PLACE) != secrets.seal(Secret(CANARY), PLACE)


@pytest.mark.parametrize(
    "elsewhere",
    [
        SealContext("usage_apikey", "1", "sealed_secret"),
        SealContext("providers_credential", "2", "sealed_secret"),
        SealContext("providers_credential", "1", "other"),
    ],
)
def test_a_sealed_secret_copied_to_another_place_does_not_open(ring_a, elsewhere):
    sealed = secrets.seal(Secret(CANARY), PLACE)
    with pytest.raises(CredentialLocked):
        secrets.open_sealed(sealed, elsewhere)
    with pytest.raises(CredentialLocked):
        secrets.rewrapped(sealed, elsewhere)


def test_every_flipped_byte_is_noticed(ring_a):
    sealed = secrets.seal(Secret(CANARY), PLACE)
    for position in range(len(sealed)):
        altered = bytearray(sealed)
        altered[position] ^= 1
        with pytest.raises(CredentialLocked):
            secrets.open_sealed(bytes(altered), PLACE)


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_locked_and_never_crash(garbage):
    with pytest.raises(CredentialLocked):
        secrets.open_sealed(garbage, PLACE)


def test_another_ring_locks_the_secret_and_says_nothing_about_it(ring_a, settings):
    sealed = secrets.seal(Secret(CANARY), PLACE)
    settings.KEY_RING = RING_B
    with pytest.raises(CredentialLocked) as refusal:
        secrets.open_sealed(sealed, PLACE)
    assert CANARY not in repr(refusal.value)


def test_the_same_id_with_another_key_locks_the_secret(ring_a, settings):
    sealed = secrets.seal(Secret(CANARY), PLACE)
    settings.KEY_RING = secrets.new_ring_entry("a1")
    with pytest.raises(CredentialLocked):
        secrets.open_sealed(sealed, PLACE)


def test_an_older_key_of_the_ring_still_opens(ring_a, settings):
    sealed = secrets.seal(Secret(CANARY), PLACE)
    settings.KEY_RING = f"{RING_B},{RING_A}"
    assert secrets.open_sealed(sealed, PLACE).reveal() == CANARY
    assert secrets.ring_key_id(secrets.seal(Secret(CANARY), PLACE)) == "b2"


@pytest.mark.django_db
def test_the_first_seal_generates_a_ring_file_only_its_owner_may_read(key_ring):
    make_provider()
    assert stat.S_IMODE(key_ring.stat().st_mode) == 0o600
    assert open_credential(Credential.objects.get()).reveal() == CANARY


@pytest.mark.django_db
def test_a_lost_ring_is_never_replaced_by_a_new_one(key_ring):
    make_provider()
    key_ring.unlink()
    with pytest.raises(secrets.KeyRingMissing):
        make_provider(label="Another")
    assert not key_ring.exists()


def test_a_ring_file_that_appears_meanwhile_wins(key_ring):
    key_ring.write_text(RING_A)
    secrets.write_ring_file(RING_B, replace=False)
    assert key_ring.read_text() == RING_A
    assert [file.name for file in key_ring.parent.iterdir()] == ["keks"]


@pytest.mark.parametrize(
    "text", ["", "nokey", "a b:AAAA", "k1:not base64!", "k1:AAAA", f"{RING_A},{RING_A}", ":" + RING_A.partition(":")[2]]
)
def test_a_malformed_ring_is_refused_without_showing_its_keys(text):
    with pytest.raises(ImproperlyConfigured) as refusal:
        secrets.parse_ring(text)
    encoded = RING_A.partition(":")[2]
    assert encoded not in str(refusal.value)


def test_the_ring_never_prints_its_keys():
    ring = secrets.parse_ring(RING_A)
    assert "keys" not in repr(ring)


@given(st.text(min_size=1, max_size=60))
def test_S11_at_most_four_characters_are_shown_and_none_of_short_secrets(text):
    shown = secrets.last4(Secret(text))
    assert shown == (text[-4:] if len(text) >= 12 else "")


def test_the_fingerprint_tells_secrets_apart_and_contains_nothing_of_them():
    first, second = secrets.fingerprint(Secret(CANARY)), secrets.fingerprint(Secret(CANARY + "x"))
    assert first != second
    assert len(first) == 12
    assert int(first, 16) >= 0
    assert first == secrets.fingerprint(Secret(CANARY))


# --------------------------------------------------------------------------- rotation


def rotate(**options) -> str:
    out = io.StringIO()
    call_command("rotate_kek", stdout=out, **options)
    return out.getvalue()


@pytest.mark.django_db
def test_rotation_moves_every_secret_to_the_first_key_and_proves_it(settings):
    settings.KEY_RING = RING_A
    for number in range(5):
        make_provider(label=f"Provider {number}", key=f"{CANARY}{number}")
    settings.KEY_RING = f"{RING_B},{RING_A}"
    said = rotate(batch_size=2)
    assert "5 secrets moved to key b2, 5 are on it, 0 on another" in said
    settings.KEY_RING = RING_B
    assert sorted(open_credential(row).reveal() for row in Credential.objects.all()) == [f"{CANARY}{number}" for number in range(5)]
    assert "0 secrets moved" in rotate()


@pytest.mark.django_db
def test_rotation_keeps_the_ciphertext_and_changes_only_the_wrapping(settings):
    settings.KEY_RING = RING_A
    make_provider()
    before = bytes(Credential.objects.get().sealed_secret)
    settings.KEY_RING = f"{RING_B},{RING_A}"
    rotate()
    after = bytes(Credential.objects.get().sealed_secret)
    assert after != before
    assert after[-len(CANARY) :] == before[-len(CANARY) :]


@pytest.mark.django_db
def test_rotation_with_a_lost_key_fails_and_touches_nothing_it_cannot_open(settings):
    settings.KEY_RING = RING_A
    make_provider()
    before = bytes(Credential.objects.get().sealed_secret)
    settings.KEY_RING = RING_B
    with pytest.raises(CommandError, match="1 secrets could not be opened"):
        rotate()
    assert bytes(Credential.objects.get().sealed_secret) == before


@pytest.mark.django_db
def test_a_new_key_can_be_put_in_front_of_the_ring_file(key_ring):
    make_provider()
    said = rotate(add_key="k2")
    assert "1 secrets moved to key k2" in said
    assert key_ring.read_text().startswith("k2:")
    assert stat.S_IMODE(key_ring.stat().st_mode) == 0o600
    assert open_credential(Credential.objects.get()).reveal() == CANARY


@pytest.mark.django_db
def test_a_key_is_not_added_to_a_ring_of_the_environment(settings, ring_a):
    with pytest.raises(CommandError, match="AIGATEWAY_KEKS"):
        rotate(add_key="k2")
