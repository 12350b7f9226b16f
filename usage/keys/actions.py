"""Every write to API keys. Each owns its transaction, announces itself and is audited."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.utils import timezone

from providers.models import ConfigVersion
from usage.errors import ActionRefused
from usage.keys import form
from usage.keys.names import checked_contexts, checked_models
from usage.keys.scopes import DEFAULT_SCOPES, checked_scopes
from usage.models import ApiKey


def create_api_key(
    user: User,
    name: str,
    *,
    secret: str | None = None,
    scopes: Iterable[str] = DEFAULT_SCOPES,
    actor: User | None = None,
    allowed_models: str | Iterable[str] = (),
    allowed_contexts: str | Iterable[str] = (),
    expires_at: datetime | None = None,
) -> tuple[ApiKey, str]:
    """Makes a key and returns it with its plaintext, which is stored nowhere and cannot be had again.

    ``secret`` is a plaintext chosen by the caller; ``actor`` is who makes the key, ``None`` the gateway itself. Raises
    ``ActionRefused`` when the plaintext is unusable or taken, a scope may not be given, or a name matches nothing.
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
        scopes=checked_scopes(scopes, user, actor),
        allowed_models=checked_models(allowed_models),
        allowed_contexts=checked_contexts(allowed_contexts),
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
    key: ApiKey,
    *,
    name: str,
    allowed_models: str | Iterable[str],
    allowed_contexts: str | Iterable[str],
    expires_at: datetime | None,
    scopes: Iterable[str] | None = None,
    actor: User | None = None,
) -> ApiKey:
    """Changes what a key may do, at once and everywhere. ``scopes`` ``None`` leaves them. Raises ``ActionRefused``."""
    with transaction.atomic():
        key = ApiKey.objects.select_for_update(of=("self",)).select_related("user").get(pk=key.pk)
        if scopes is not None:
            key.scopes = checked_scopes(scopes, key.user, actor, kept=key.scopes)
        key.name = name
        key.allowed_models = checked_models(allowed_models, kept=key.allowed_models)
        key.allowed_contexts = checked_contexts(allowed_contexts, kept=key.allowed_contexts)
        key.expires_at = expires_at
        key.save(update_fields=["name", "scopes", "allowed_models", "allowed_contexts", "expires_at"])
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
