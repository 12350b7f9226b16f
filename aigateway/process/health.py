"""Liveness and readiness, for orchestrators and balancers. No secret, no address, no version in the answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import ClassVar, Final

import redis
from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, DatabaseError, connections
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, JsonResponse
from django.http.response import HttpResponseBase
from django.views.decorators.http import require_safe

from aigateway import stopping
from aigateway.api.private import PRIVATE
from providers.registry import locked_credentials
from usage.limits import COMMAND_S, CONNECT_S, evicting_policy

DATABASE_CHECKOUT_S = 1.0


class State(StrEnum):
    OK = "ok"
    UNREACHABLE = "unreachable"
    UNMIGRATED = "unmigrated"
    UNKNOWN = "unknown"
    NOT_CONFIGURED = "not_configured"
    EVICTS = "evicts_counters"
    LOCKED = "locked"


@dataclass(frozen=True, slots=True)
class Readiness:
    """``redis`` holds only what may be lost, so its absence, or that it drops counters when full, degrades and nothing more.
    ``credentials`` are locked when the key ring cannot open one of them: calls that need it fail, the rest goes on (I19).
    """

    database: State
    migrations: State
    redis: State
    credentials: State

    @property
    def is_ready(self) -> bool:
        return self.database is State.OK and self.migrations is State.OK

    @property
    def word(self) -> str:
        if not self.is_ready:
            return "unready"
        return "degraded" if self.redis in (State.UNREACHABLE, State.EVICTS) or self.credentials is State.LOCKED else "ready"


class _Migrated:
    """Remembers that the schema was complete: it never goes back while this code runs."""

    seen: ClassVar[bool] = False


class ProbeMiddleware:
    """Answers probes before anybody looks at their ``Host`` or scheme: orchestrators ask by address and in plain HTTP (C07)."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        probe = PROBES.get(request.path_info)
        if probe is None:
            return self.get_response(request)
        answer = probe(request)
        answer[PRIVATE[0]] = PRIVATE[1]
        return answer


@require_safe
def healthz(request: HttpRequest) -> JsonResponse:  # noqa: ARG001 - the framework's signature
    """The process answers; depends on nothing else."""
    return JsonResponse({"status": "alive"})


@require_safe
def readyz(request: HttpRequest) -> JsonResponse:  # noqa: ARG001 - the framework's signature
    """200 when requests can be served (``ready`` or ``degraded``), else 503; each check by name. A process told to stop is not ready."""
    if stopping.PROCESS.begun and not stopping.PROCESS.replaced:
        return JsonResponse({"status": "stopping", "checks": {}}, status=503)
    found = readiness()
    return JsonResponse({"status": found.word, "checks": asdict(found)}, status=200 if found.is_ready else 503)


PROBES: Final = {"/healthz": healthz, "/readyz": readyz, "/api/health": readyz}


def readiness() -> Readiness:
    try:
        _ask_database()
        migrations = _migrations()
        credentials = _credentials() if migrations is State.OK else State.UNKNOWN
    except DatabaseError:
        return Readiness(State.UNREACHABLE, State.UNKNOWN, _redis(), State.UNKNOWN)
    return Readiness(State.OK, migrations, _redis(), credentials)


def _ask_database() -> None:
    """One round trip. Where a pool is in use, waits for a connection for a second and not for the pool's own patience."""
    connection = connections[DEFAULT_DB_ALIAS]
    pool = getattr(connection, "pool", None)
    if connection.connection is None and pool is not None:
        pool.open()
        with connection.wrap_database_errors, pool.connection(timeout=DATABASE_CHECKOUT_S) as direct:
            direct.execute("SELECT 1")
            return
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")


def _migrations() -> State:
    if not _Migrated.seen:
        executor = MigrationExecutor(connections[DEFAULT_DB_ALIAS])
        _Migrated.seen = not executor.migration_plan(executor.loader.graph.leaf_nodes())
    return State.OK if _Migrated.seen else State.UNMIGRATED


def _credentials() -> State:
    return State.LOCKED if locked_credentials() else State.OK


def _redis() -> State:
    if settings.REDIS_URL is None:
        return State.NOT_CONFIGURED
    client = redis.Redis.from_url(settings.REDIS_URL, socket_connect_timeout=CONNECT_S, socket_timeout=COMMAND_S, retry=None)
    try:
        return State.OK if evicting_policy(client) is None else State.EVICTS
    except (redis.RedisError, OSError):
        return State.UNREACHABLE
    finally:
        client.close()
