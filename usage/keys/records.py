"""Who a key belongs to and which budgets bind it. Synchronous ORM: callers on an event loop use a thread."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from usage.keys.scopes import effective
from usage.models import ApiKey


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """What the data plane caches of a key. Revoked and expired keys are records too; the caller decides."""

    key_id: str
    user_id: int
    username: str
    is_active: bool
    is_staff: bool
    is_superuser: bool
    secret_sha256: bytes = field(repr=False)
    expires_at: datetime | None
    revoked_at: datetime | None
    scopes: frozenset[str]
    allowed_models: tuple[str, ...]
    allowed_contexts: tuple[str, ...]


def load_key(key_id: str) -> KeyRecord | None:
    """The key with this public id; ``None`` if there is none. Raises ``django.db.Error`` when that cannot be known."""
    key = ApiKey.objects.select_related("user").filter(pk=key_id).first()
    if key is None:
        return None
    return KeyRecord(
        key_id=key.pk,
        user_id=key.user.pk,
        username=key.user.get_username(),
        is_active=key.user.is_active,
        is_staff=key.user.is_staff,
        is_superuser=key.user.is_superuser,
        secret_sha256=bytes(key.secret_sha256),
        expires_at=key.expires_at,
        revoked_at=key.revoked_at,
        scopes=effective(key.scopes),
        allowed_models=tuple(key.allowed_models),
        allowed_contexts=tuple(key.allowed_contexts),
    )


def touch_keys(ids: Iterable[str], now: datetime) -> None:
    """Records the last use. Not a configuration change: no version moves and nothing is audited."""
    ApiKey.objects.filter(pk__in=[*ids]).update(last_used_at=now)
