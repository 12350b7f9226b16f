"""Names the person behind a write in the audit log, also where no session middleware did, and announces the write."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from auditlog import get_logentry_model
from auditlog.context import auditlog_value
from celery import current_task
from django.contrib.auth.models import AnonymousUser, User
from django.db import models, transaction

from providers.models import ConfigVersion

SUPERUSERS_ONLY = "Only a superuser may set this."
BY = "by"
"""Where an entry keeps by what way the write came, if by no page: an API key, a command, a task, a webhook."""
HIDDEN = "***"


@dataclass(frozen=True, slots=True)
class Actor:
    """Who asks for a write. Only superusers may set secrets and addresses. ``by`` names the way when it is no page."""

    user: User | None
    is_superuser: bool
    by: str = ""

    @classmethod
    def of(cls, user: User | AnonymousUser) -> Actor:
        if isinstance(user, AnonymousUser):
            return cls(None, is_superuser=False)
        return cls(user, is_superuser=user.is_active and user.is_superuser)


SYSTEM = Actor(None, is_superuser=True)
"""The installation itself: first start, tasks, commands."""


@contextmanager
def audited(actor: Actor) -> Iterator[None]:
    """Audit entries written inside carry ``actor``, and the remote address of the request around them.

    auditlog's own context manager does not nest: it forgets the outer values. Whoever a request named stays named while the
    installation acts in it.
    """
    origin: dict[str, Any] = auditlog_value.get(None) or {}
    token = auditlog_value.set({**origin, "actor": actor.user or origin.get("actor"), **_way(actor.by or _way_of(origin))})
    try:
        yield
    finally:
        auditlog_value.reset(token)


@contextmanager
def requested(user: User | None, remote_address: str | None, request_id: str) -> Iterator[None]:
    """What a request says of every entry written for it."""
    token = auditlog_value.set({"actor": user, "remote_addr": remote_address, "cid": request_id or None})
    try:
        yield
    finally:
        auditlog_value.reset(token)


def acting(user: User, by: str) -> None:
    """From now on this request acts for ``user``: authentication says so once it knows, later than the middleware looked."""
    origin = auditlog_value.get(None)
    if origin is not None:  # the value of this request alone, gone with it
        origin.update({"actor": user, **_way(by)})


def _way(by: str) -> dict[str, Any]:
    return {"additional_data": {BY: by}} if by else {}


def _way_of(origin: Mapping[str, Any]) -> str:
    return str((origin.get("additional_data") or {}).get(BY, ""))


def name_origin(*, instance: Any, **_: Any) -> None:
    """Receiver: completes an audit entry that is about to be stored. One for all, so that no request can lose its own."""
    if not instance._state.adding:
        return
    origin: dict[str, Any] = auditlog_value.get(None) or {}
    actor = origin.get("actor")
    if isinstance(actor, User) and instance.actor is None:
        instance.actor, instance.actor_email = actor, actor.email
    instance.remote_addr = instance.remote_addr or origin.get("remote_addr")
    instance.cid = instance.cid or origin.get("cid")
    by = _way_of(origin) or ("" if instance.actor else _process())
    if by:
        instance.additional_data = {**(instance.additional_data or {}), BY: by}


def _process() -> str:
    """What this process does, for writes that nobody asked for over HTTP."""
    if current_task:
        return f"task {current_task.name}"
    is_command = Path(sys.argv[0]).name == "manage.py" and len(sys.argv) > 1
    return f"command {sys.argv[1]}" if is_command else "system"


def connect() -> None:
    """Once, at start."""
    models.signals.pre_save.connect(name_origin, sender=get_logentry_model(), dispatch_uid="providers.audit")


def hidden(value: str) -> str:  # noqa: ARG001 - auditlog's signature
    """What the audit log keeps of a secret: that it changed."""
    return HIDDEN


def record(instance: models.Model, changes: Mapping[str, Any]) -> None:
    """An entry of its own, for what no field of the row tells. The caller owns the transaction: without the entry, no write."""
    entries = get_logentry_model()
    entries.objects.log_create(instance, action=entries.Action.UPDATE, changes=dict(changes))


@contextmanager
def changing(actor: Actor) -> Iterator[None]:
    """A write to the configuration: one transaction with its audit entries and the new version the data plane waits for."""
    with transaction.atomic(), audited(actor):
        yield
        ConfigVersion.bump("registry")
