"""Every write to API keys. Each owns its transaction, announces itself and is audited."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from django.contrib.auth.models import AbstractBaseUser
from django.db import IntegrityError, transaction
from django.utils import timezone

from providers.models import ConfigVersion
from usage.errors import ActionRefused
from usage.keys import form
from usage.models import ApiKey


def create_api_key(
    user: AbstractBaseUser,
    name: str,
    *,
    secret: str | None = None,
    allowed_models: Iterable[str] = (),
    allowed_contexts: Iterable[str] = (),
    expires_at: datetime | None = None,
) -> tuple[ApiKey, str]:
    """Makes a key and returns it with its plaintext, which is stored nowhere and cannot be had again.

    ``secret`` is a plaintext chosen by the caller. Raises ``ActionRefused`` when it is unusable or taken.
    """
    plaintext = form.new_key() if secret is None else secret
    key_id = form.lookup_id(plaintext)
    if key_id is None:
        raise ActionRefused(f"A key is {form.FOREIGN_KEY_MIN} to {form.KEY_MAX} printable ASCII characters without spaces.")
    key = ApiKey(
        id=key_id,
        user_id=user.pk,
        name=name,
        secret_sha256=form.sha256(plaintext),
        allowed_models=[*allowed_models],
        allowed_contexts=[*allowed_contexts],
        expires_at=expires_at,
    )
    try:
        with transaction.atomic():
            key.save(force_insert=True)
            ConfigVersion.bump(f"key:{key_id}")
    except IntegrityError as error:
        raise ActionRefused("This key exists already.") from error
    return key, plaintext


def update_api_key(
    key: ApiKey, *, name: str, allowed_models: Iterable[str], allowed_contexts: Iterable[str], expires_at: datetime | None
) -> ApiKey:
    """Changes what a key may do, at once and everywhere."""
    with transaction.atomic():
        key = ApiKey.objects.select_for_update().get(pk=key.pk)
        key.name = name
        key.allowed_models = [*allowed_models]
        key.allowed_contexts = [*allowed_contexts]
        key.expires_at = expires_at
        key.save(update_fields=["name", "allowed_models", "allowed_contexts", "expires_at"])
        ConfigVersion.bump(f"key:{key.pk}")
    return key


def revoke_api_key(key: ApiKey) -> ApiKey:
    """Ends a key for good. Revoking it again keeps the first date."""
    with transaction.atomic():
        key = ApiKey.objects.select_for_update().get(pk=key.pk)
        if key.revoked_at is None:
            key.revoked_at = timezone.now()
            key.save(update_fields=["revoked_at"])
            ConfigVersion.bump(f"key:{key.pk}")
    return key
