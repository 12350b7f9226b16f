"""Every write to API keys. Each owns its transaction, announces itself, is audited and keeps the one rule of rights.

A key can do what its owner can, so it is as good as the account.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.db import IntegrityError, transaction
from django.utils import timezone

from providers import rights
from providers.audit import SYSTEM, Actor, audited
from providers.models import ConfigVersion
from usage import teams
from usage.errors import ActionRefused
from usage.keys import form
from usage.keys.names import checked_contexts, checked_models
from usage.keys.scopes import DEFAULT_SCOPES, checked_scopes
from usage.models import ApiKey

FOR_YOURSELF = "You make keys for yourself; for others a superuser does, or the owner of their team."


def create_api_key(
    user: User,
    name: str,
    *,
    secret: str | None = None,
    scopes: Iterable[str] = DEFAULT_SCOPES,
    allowed_models: str | Iterable[str] = (),
    allowed_contexts: str | Iterable[str] = (),
    expires_at: datetime | None = None,
    actor: Actor = SYSTEM,
) -> tuple[ApiKey, str]:
    """Makes a key and returns it with its plaintext, which is stored nowhere and cannot be had again.

    ``secret`` is a plaintext chosen by the caller. Raises ``ActionRefused`` when it is unusable or taken, a scope may not be given
    or a name matches nothing, ``PermissionDenied`` when the actor may not make keys for this user.
    """
    check_maker(user, actor)
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
        with transaction.atomic(), audited(actor):
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
    actor: Actor = SYSTEM,
) -> ApiKey:
    """Changes what a key may do, at once and everywhere. Its owner stays; ``scopes`` ``None`` leaves them.

    Raises ``PermissionDenied`` and ``ActionRefused``.
    """
    with transaction.atomic(), audited(actor):
        key = _locked(key, actor)
        if scopes is not None:
            key.scopes = checked_scopes(scopes, key.user, actor, kept=key.scopes)
        key.name = name
        key.allowed_models = checked_models(allowed_models, kept=key.allowed_models)
        key.allowed_contexts = checked_contexts(allowed_contexts, kept=key.allowed_contexts)
        key.expires_at = expires_at
        key.save(update_fields=["name", "scopes", "allowed_models", "allowed_contexts", "expires_at"])
        ConfigVersion.bump(f"key:{key.pk}")
    return key


def revoke_api_key(key: ApiKey, *, actor: Actor = SYSTEM) -> ApiKey:
    """Ends a key for good. Revoking it again keeps the first date. Raises ``PermissionDenied``."""
    with transaction.atomic(), audited(actor):
        key = _locked(key, actor)
        if key.revoked_at is None:
            key.revoked_at = timezone.now()
            key.save(update_fields=["revoked_at"])
            ConfigVersion.bump(f"key:{key.pk}")
    return key


def check_maker(user: User, actor: Actor) -> None:
    """Raises ``PermissionDenied`` unless the actor may make keys for ``user``."""
    is_own = actor.user is not None and user.pk == actor.user.pk
    if not actor.is_superuser and not is_own and not teams.manages(actor, user):
        raise PermissionDenied(FOR_YOURSELF)


def _locked(key: ApiKey, actor: Actor) -> ApiKey:
    """The key as it is now. Raises ``PermissionDenied`` when its account may do more than the actor."""
    found = ApiKey.objects.select_for_update(of=("self",)).select_related("user").get(pk=key.pk)
    rights.check_account(found.user, actor)
    return found
