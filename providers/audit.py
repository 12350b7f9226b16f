"""Names the person behind a write in the audit log, also where no session middleware did, and announces the write."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from auditlog.context import auditlog_value, set_actor
from django.contrib.auth.models import AnonymousUser, User
from django.db import transaction

from providers.models import ConfigVersion

SUPERUSERS_ONLY = "Only a superuser may set this."


@dataclass(frozen=True, slots=True)
class Actor:
    """Who asks for a write. Only superusers may set secrets and addresses."""

    user: User | None
    is_superuser: bool

    @classmethod
    def of(cls, user: User | AnonymousUser) -> Actor:
        if isinstance(user, AnonymousUser):
            return cls(None, is_superuser=False)
        return cls(user, is_superuser=user.is_active and user.is_superuser)


SYSTEM = Actor(None, is_superuser=True)
"""The installation itself: first start, tasks, commands."""


@contextmanager
def audited(actor: Actor) -> Iterator[None]:
    """Audit entries written inside carry ``actor``.

    auditlog's own context does not nest: it forgets the outer one and then leaks its signal receiver. So the outer value,
    set by the middleware, is put back afterwards and its remote address kept.
    """
    origin: dict[str, Any] = auditlog_value.get(None) or {}
    token = auditlog_value.set(origin)
    try:
        with set_actor(actor.user, origin.get("remote_addr"), origin.get("remote_port")):
            yield
    finally:
        auditlog_value.reset(token)


@contextmanager
def changing(actor: Actor) -> Iterator[None]:
    """A write to the configuration: one transaction with its audit entries and the new version the data plane waits for."""
    with transaction.atomic(), audited(actor):
        yield
        ConfigVersion.bump("registry")
