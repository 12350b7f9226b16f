"""System checks of this project: mistakes that would otherwise show in production. Ids are stable."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import redis
from django.conf import settings
from django.contrib import admin
from django.core.checks import CheckMessage, Error, Tags, register
from django.core.checks import Warning as Caution
from django.core.exceptions import ImproperlyConfigured
from django.db import connections

from aigateway import env
from providers.secrets import parse_ring
from usage.limits import evicting_policy

POSTGRESQL_MIN = 140_000
STATE_FOLDER_MODE = 0o077
WEBHOOK_SECRET_MIN = 16
REDIS_S = 2.0


@register(Tags.security)
def debug_stays_at_home(**_: Any) -> list[CheckMessage]:
    """Debug pages show settings and source, so they are for loopback only."""
    if settings.DEBUG and settings.HOST not in (*env.LOOPBACK_HOSTS, "::1"):
        hint = "Unset AIGATEWAY_DEV, or set HOST=127.0.0.1."
        return [Error(f"AIGATEWAY_DEV is on while HOST={settings.HOST} can be reached by others.", hint=hint, id="aigateway.E001")]
    return []


@register(Tags.security)
def key_ring_is_well_formed(**_: Any) -> list[CheckMessage]:
    try:
        if settings.KEY_RING is not None:
            parse_ring(settings.KEY_RING)
    except ImproperlyConfigured as error:
        return [Error(f"AIGATEWAY_KEKS: {error}.", hint="docs/configuration.md says how to make an entry.", id="aigateway.E002")]
    return []


@register(Tags.security)
def alerts_are_signed(**_: Any) -> list[CheckMessage]:
    if settings.ALERT_WEBHOOK_URL and len(settings.ALERT_WEBHOOK_SECRET) < WEBHOOK_SECRET_MIN:
        hint = f"Set AIGATEWAY_ALERT_WEBHOOK_SECRET to at least {WEBHOOK_SECRET_MIN} characters; the receiver checks signatures with it."
        return [Error("Alerts would be sent without a signature anybody could trust.", hint=hint, id="aigateway.E006")]
    return []


@register(Tags.admin)
def admin_lists_are_not_editable(**_: Any) -> list[CheckMessage]:
    """Rows typed over in a list skip the rules of our actions, and forged forms have changed rows nobody saw."""
    return [
        Error(f"{type(model_admin).__name__} uses list_editable.", hint="Edit on the row's own page.", obj=model, id="aigateway.E003")
        for model, model_admin in admin.site._registry.items()
        if model_admin.list_editable
    ]


@register(Tags.admin)
def admin_actions_ask(**_: Any) -> list[CheckMessage]:
    """Django offers an action that names no permission to everybody who may see the list (C01); so do libraries."""
    return [
        Error(
            f"The action {name} of {type(page).__name__} asks for nothing but looking.",
            hint="Give it permissions=[...] other than view.",
            obj=model,
            id="aigateway.E008",
        )
        for model, page in admin.site._registry.items()
        for function, name, _description in page._get_base_actions()  # type: ignore[attr-defined]  # its own actions and those of the whole site
        if not {*getattr(function, "allowed_permissions", ())} - {"view"}
    ]


@register(Tags.database)
def database_is_supported(databases: Sequence[str] | None = None, **_: Any) -> list[CheckMessage]:
    messages: list[CheckMessage] = []
    for alias in databases or ():
        connection = connections[alias]
        if connection.vendor not in ("postgresql", "sqlite"):
            messages.append(Error(f"{connection.vendor} is not supported.", hint="Use PostgreSQL or SQLite.", id="aigateway.E004"))
        elif connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute("SHOW server_version_num")
                version = int(cursor.fetchone()[0])
            if version < POSTGRESQL_MIN:
                messages.append(Error(f"PostgreSQL {version // 10000} is too old.", hint="Use 14 or newer.", id="aigateway.E005"))
    return messages


@register(Tags.security, deploy=True)
def state_is_private(**_: Any) -> list[CheckMessage]:
    """The state folder may hold the secret key, the key ring and the database."""
    folder = Path(settings.VAR_DIR)
    if folder.exists() and folder.stat().st_mode & STATE_FOLDER_MODE:
        return [Caution(f"{folder} can be read by other users of this machine.", hint=f"chmod 700 {folder}", id="aigateway.W001")]
    return []


@register(Tags.security, deploy=True)
def public_address_is_encrypted(**_: Any) -> list[CheckMessage]:
    if not settings.PUBLIC_URL.startswith("https://"):
        hint = "Set AIGATEWAY_PUBLIC_URL to the address people use, behind a proxy that ends TLS."
        return [Caution("AIGATEWAY_PUBLIC_URL is not an https address: keys would travel in clear.", hint=hint, id="aigateway.W002")]
    return []


@register(Tags.caches, deploy=True)
def redis_keeps_its_counters(**_: Any) -> list[CheckMessage]:
    """I06: a counter that was dropped begins anew, so a rate limit lets more in. ``allkeys-*`` drops Celery's queue as well.

    Nothing is said of a Redis that cannot be reached now: readiness tells.
    """
    if settings.REDIS_URL is None:
        return []
    try:
        with redis.Redis.from_url(settings.REDIS_URL, socket_connect_timeout=REDIS_S, socket_timeout=REDIS_S, retry=None) as client:
            policy = evicting_policy(client)
    except (redis.RedisError, OSError):
        return []
    if policy is None:
        return []
    hint = "Set maxmemory-policy to noeviction or volatile-ttl, or maxmemory to 0."
    if policy.startswith("allkeys"):
        return [Error(f"Redis drops rate limits and queued tasks when it is full ({policy}).", hint=hint, id="aigateway.E007")]
    return [Caution(f"Redis drops rate limits in use when it is full ({policy}).", hint=hint, id="aigateway.W003")]
