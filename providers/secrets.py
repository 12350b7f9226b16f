"""Envelope encryption of provider keys: every row has its own key, wrapped by the first key of the key ring.

A sealed value is bound to its place (table, row, field) and, where it is a key for somebody's server, to that server's origin
(scheme, host, port): copied elsewhere, or read beside another address, it does not open. Layout: version byte, length of the ring
key's id, the id, wrap nonce (12), wrapped row key (48), nonce (12), ciphertext. Version 1 knew no origins: it opens only where
none is asked for, and ``bound`` turns it into version 2.
"""

from __future__ import annotations

import base64
import binascii
import os
import secrets as random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from django.apps import apps
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db.models import Model, QuerySet
from django.utils.crypto import salted_hmac

from providers.fields import SealedField
from providers.upstream.errors import CredentialLocked
from providers.upstream.types import Secret

VERSION = 2
WITHOUT_ORIGIN = 1
KEY_BYTES = 32
NONCE_BYTES = 12
WRAPPED_BYTES = KEY_BYTES + 16
LAST4_FROM_LENGTH = 12
"""Shorter secrets show no characters at all: four of eleven would be a third of them."""


class KeyRingMissing(ImproperlyConfigured):
    """No key ring, but sealed rows exist: a new ring would make them unreadable for ever, so none is generated."""


@dataclass(frozen=True, slots=True)
class SealContext:
    """Where a sealed value lives, and the one origin it may be sent to (empty: it is not sent); part of the authenticated data."""

    table: str
    row_id: str
    field: str
    origin: str = ""

    def bound(self, purpose: str, version: int) -> bytes:
        place = (purpose, self.table, self.row_id, self.field)
        return "\0".join(place if version == WITHOUT_ORIGIN else (*place, self.origin, str(version))).encode()


@dataclass(frozen=True, slots=True, repr=False)
class KeyRing:
    """Key-encryption keys by id; the first one seals, all of them open."""

    first_id: str
    keys: dict[str, bytes]


@dataclass(frozen=True, slots=True)
class _Envelope:
    version: int
    key_id: str
    wrap_nonce: bytes
    wrapped_key: bytes
    nonce: bytes
    ciphertext: bytes

    def packed(self) -> bytes:
        key_id = self.key_id.encode()
        return bytes((self.version, len(key_id))) + key_id + self.wrap_nonce + self.wrapped_key + self.nonce + self.ciphertext


def _unpack(sealed: bytes) -> _Envelope:
    if len(sealed) < 2 or sealed[0] not in (WITHOUT_ORIGIN, VERSION):
        raise CredentialLocked("the stored value is not a sealed secret")
    start = 2 + sealed[1]
    wrapped = start + NONCE_BYTES
    nonce = wrapped + WRAPPED_BYTES
    return _Envelope(
        version=sealed[0],
        key_id=sealed[2:start].decode("ascii", "replace"),
        wrap_nonce=sealed[start:wrapped],
        wrapped_key=sealed[wrapped:nonce],
        nonce=sealed[nonce : nonce + NONCE_BYTES],
        ciphertext=sealed[nonce + NONCE_BYTES :],
    )


# --------------------------------------------------------------------------- the key ring


def parse_ring(text: str) -> KeyRing:
    """``id:base64,id:base64``. Raises ``ImproperlyConfigured``; the message never contains key material."""
    keys: dict[str, bytes] = {}
    for number, entry in enumerate(filter(None, (part.strip() for part in text.split(","))), start=1):
        key_id, separator, encoded = entry.partition(":")
        if not separator or not key_id.isascii() or not key_id.isalnum() or len(key_id) > 40 or key_id in keys:
            raise ImproperlyConfigured(f"key ring entry {number}: use 'id:base64' with a unique alphanumeric id")
        try:
            key = base64.b64decode(encoded.replace("-", "+").replace("_", "/"), validate=True)
        except (binascii.Error, ValueError) as error:
            raise ImproperlyConfigured(f"key ring entry {number}: the key is not base64") from error
        if len(key) != KEY_BYTES:
            raise ImproperlyConfigured(f"key ring entry {number}: the key has {len(key)} bytes, {KEY_BYTES} are needed")
        keys[key_id] = key
    if not keys:
        raise ImproperlyConfigured("the key ring is empty")
    return KeyRing(next(iter(keys)), keys)


def new_ring_entry(key_id: str) -> str:
    return f"{key_id}:{base64.b64encode(random.token_bytes(KEY_BYTES)).decode()}"


def key_ring() -> KeyRing | None:
    """The ring from ``settings.KEY_RING``, else from ``settings.KEY_RING_FILE``; ``None`` when there is neither."""
    if settings.KEY_RING:
        return parse_ring(settings.KEY_RING)
    path = Path(settings.KEY_RING_FILE)
    return parse_ring(path.read_text()) if path.exists() else None


def sealing_ring() -> KeyRing:
    """The ring to seal with. The very first seal of an installation without a ring generates one into the ring file."""
    ring = key_ring()
    if ring is not None:
        return ring
    if any(sealed_values(model, field.attname).exists() for model, field in sealed_fields()):
        raise KeyRingMissing("Sealed provider keys exist but the key ring is missing: restore it (AIGATEWAY_KEKS or the ring file).")
    write_ring_file(new_ring_entry("k1"), replace=False)
    return parse_ring(Path(settings.KEY_RING_FILE).read_text())


def write_ring_file(text: str, *, replace: bool) -> None:
    """Writes the ring file whole or not at all, readable by its owner only. Without ``replace`` an existing file wins."""
    path = Path(settings.KEY_RING_FILE)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{random.token_hex(4)}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if replace:
            os.replace(draft, path)
            return
        try:
            os.link(draft, path)
        except FileExistsError:
            return
    finally:
        draft.unlink(missing_ok=True)


# --------------------------------------------------------------------------- seal and open


def seal(secret: Secret, context: SealContext) -> bytes:
    """Encrypts for ``context``. Raises ``KeyRingMissing`` when there is no ring and none may be generated."""
    ring = sealing_ring()
    row_key = random.token_bytes(KEY_BYTES)
    nonce = random.token_bytes(NONCE_BYTES)
    ciphertext = AESGCM(row_key).encrypt(nonce, secret.reveal().encode(), context.bound("secret", VERSION))
    return _wrapped(ring, row_key, _Envelope(VERSION, "", b"", b"", nonce, ciphertext), context)


def open_sealed(sealed: bytes, context: SealContext) -> Secret:
    """Decrypts a value sealed for ``context``. Raises ``CredentialLocked`` when the ring cannot open it, or not for this origin."""
    envelope = _unpacked_for(sealed, context)
    row_key = _row_key(envelope, context)
    try:
        return Secret(AESGCM(row_key).decrypt(envelope.nonce, envelope.ciphertext, context.bound("secret", envelope.version)).decode())
    except InvalidTag as error:
        raise CredentialLocked("the sealed secret does not belong to this row or was altered") from error


def rewrapped(sealed: bytes, context: SealContext) -> bytes:
    """The same secret under the ring's first key; the ciphertext stays. Raises ``CredentialLocked``."""
    envelope = _unpacked_for(sealed, context)
    return _wrapped(sealing_ring(), _row_key(envelope, context), envelope, context)


def is_without_origin(sealed: bytes) -> bool:
    """Whether the value dates from before sealed values knew origins."""
    return _unpack(bytes(sealed)).version == WITHOUT_ORIGIN


def bound(sealed: bytes, context: SealContext) -> bytes:
    """A value of version 1 sealed again for ``context.origin``, on the caller's word that it belongs there. Raises ``CredentialLocked``."""
    nowhere = replace(context, origin="")
    if not is_without_origin(sealed):
        raise CredentialLocked("the sealed secret is bound already")
    return seal(open_sealed(sealed, nowhere), context)


def _unpacked_for(sealed: bytes, context: SealContext) -> _Envelope:
    envelope = _unpack(bytes(sealed))
    if context.origin and envelope.version == WITHOUT_ORIGIN:
        raise CredentialLocked("the sealed secret is bound to no address")
    return envelope


def ring_key_id(sealed: bytes) -> str:
    """The id of the ring key that wraps this value."""
    return _unpack(bytes(sealed)).key_id


def _wrapped(ring: KeyRing, row_key: bytes, envelope: _Envelope, context: SealContext) -> bytes:
    wrap_nonce = random.token_bytes(NONCE_BYTES)
    wrapped_key = AESGCM(ring.keys[ring.first_id]).encrypt(wrap_nonce, row_key, context.bound("key", envelope.version))
    return replace(envelope, key_id=ring.first_id, wrap_nonce=wrap_nonce, wrapped_key=wrapped_key).packed()


def _row_key(envelope: _Envelope, context: SealContext) -> bytes:
    try:
        ring = key_ring()
    except (ImproperlyConfigured, OSError) as error:
        raise CredentialLocked("the key ring cannot be read") from error
    key = ring.keys.get(envelope.key_id) if ring else None
    if key is None:
        raise CredentialLocked("the key ring lacks the key that sealed this secret")
    try:
        return AESGCM(key).decrypt(envelope.wrap_nonce, envelope.wrapped_key, context.bound("key", envelope.version))
    except (InvalidTag, ValueError) as error:
        raise CredentialLocked("the key ring's key does not fit this secret") from error


# --------------------------------------------------------------------------- what may be shown, and where sealed values are


def fingerprint(secret: Secret) -> str:
    """Twelve hex digits of an HMAC: tells two secrets apart and says nothing about either."""
    return salted_hmac("providers.secrets.fingerprint", secret.reveal(), algorithm="sha256").hexdigest()[:12]


def last4(secret: Secret) -> str:
    """The last four characters, or nothing for short secrets."""
    value = secret.reveal()
    return value[-4:] if len(value) >= LAST4_FROM_LENGTH else ""


def sealed_fields() -> Iterator[tuple[type[Model], SealedField]]:
    """Every sealed field of every installed model."""
    for model in apps.get_models():
        for field in model._meta.get_fields():
            if isinstance(field, SealedField):
                yield model, field


def sealed_values(model: type[Model], field: str) -> QuerySet[Any]:
    """The rows that hold something sealed; an empty value holds nothing."""
    return model._default_manager.exclude(**{field: b""})


def context_of(model: type[Model], row_id: object, field: str, origin: str = "") -> SealContext:
    return SealContext(model._meta.db_table, str(row_id), field, origin)
