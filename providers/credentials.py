"""Provider keys: stored for one origin (scheme, host, port), and asked for again when a provider moves to another."""

from __future__ import annotations

import re

from django.core.exceptions import ValidationError
from django.db import transaction

from providers import secrets
from providers.audit import SUPERUSERS_ONLY, Actor, changing, record
from providers.models import ConfigVersion, Credential, Provider
from providers.upstream.egress import origin_of
from providers.upstream.errors import CredentialLocked, EgressDenied
from providers.upstream.types import Secret

SECRET_CHARS_MAX = 4096
_HEADER_SAFE = re.compile(r"[\x21-\x7e]+")


def _refuse(message: str) -> ValidationError:
    return ValidationError({"api_key": [message]})


def set_credential(provider_id: int, secret: Secret, actor: Actor) -> Credential:
    """Replaces the provider's keys by this one. Calls already on their way finish with the old key."""
    with changing(actor):
        provider = Provider.objects.select_for_update().get(pk=provider_id, deleted_at=None)
        return store_secret(provider, secret, actor)


def delete_credential(provider_id: int, actor: Actor) -> None:
    """Destroys every key of the provider."""
    if not actor.is_superuser:
        raise _refuse(SUPERUSERS_ONLY)
    with changing(actor):
        for credential in Credential.objects.select_for_update().filter(provider_id=provider_id):
            credential.delete()


def store_secret(provider: Provider, secret: Secret, actor: Actor) -> Credential:
    """Seals the key for the address the provider has now. The caller owns the transaction and holds the provider's row."""
    clean = check_secret(secret, actor)
    origin = origin_of(provider.base_url)
    for old in provider.credentials.all():
        old.delete()
    credential = Credential(provider=provider, fingerprint=secrets.fingerprint(clean), last4=secrets.last4(clean), origin=origin)
    credential.sealed_secret = secrets.seal(clean, secrets.context_of(Credential, credential.pk, "sealed_secret", origin))
    credential.save(force_insert=True)
    return credential


def check_secret(secret: Secret, actor: Actor) -> Secret:
    """The key without surrounding blanks; refused when it cannot stand in a header. The message never repeats it."""
    if not actor.is_superuser:
        raise _refuse(SUPERUSERS_ONLY)
    value = secret.reveal().strip()
    if not value or len(value) > SECRET_CHARS_MAX:
        raise _refuse(f"A key has 1 to {SECRET_CHARS_MAX} characters.")
    if not _HEADER_SAFE.fullmatch(value):
        raise _refuse("A key has no blanks, line breaks or characters outside ASCII. Paste it again.")
    return Secret(value)


# --------------------------------------------------------------------------- the address a key belongs to


def is_elsewhere(provider: Provider, credential: Credential) -> bool:
    """Whether the stored key was entered for another address than the provider has now."""
    try:
        return credential.origin != origin_of(provider.base_url)
    except EgressDenied:
        return True


def check_stored_keys(provider: Provider) -> None:
    """Refuses, on ``api_key``, a provider whose address is not the one its stored key was entered for."""
    for credential in Credential.objects.filter(provider_id=provider.pk):
        if is_elsewhere(provider, credential):
            belongs = f"was entered for {credential.origin}" if credential.origin else "is bound to no address yet"
            raise _refuse(f"The stored key {belongs} and goes nowhere else. Enter the key for the new address as well.")


def bind_old_keys() -> tuple[tuple[str, str], ...]:
    """Binds keys from before keys knew addresses to the address their provider has now; whoever calls this vouches for the addresses.

    Provider and origin of each key that was bound. What the ring cannot open stays as it is.
    """
    done: list[tuple[str, str]] = []
    for credential in Credential.objects.filter(provider__deleted_at=None).select_related("provider").order_by("provider__slug"):
        if not secrets.is_without_origin(credential.sealed_secret):
            continue
        try:
            origin = origin_of(credential.provider.base_url)
            sealed = secrets.bound(credential.sealed_secret, secrets.context_of(Credential, credential.pk, "sealed_secret", origin))
        except (CredentialLocked, EgressDenied):
            continue
        with transaction.atomic():
            # Conditional: a key replaced meanwhile is bound already.
            old = Credential.objects.filter(pk=credential.pk, sealed_secret=bytes(credential.sealed_secret))
            if old.update(sealed_secret=sealed, origin=origin):
                done.append((credential.provider.slug, origin))
                record(Credential.objects.get(pk=credential.pk), {"origin": ["", origin]})
                ConfigVersion.bump("registry")
    return tuple(done)
