"""Where the gateway's own database, Redis and door are: places no provider may be at, whatever its row allows.

Services are compared as what they resolve to, so another spelling of the same place (127.0.0.2, [::ffff:127.0.0.1], a second name) is
the same place.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from threading import Lock
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.utils.crypto import salted_hmac

from providers.upstream.egress import THIS_MACHINE, canonical, host_name, is_literal, is_this_machine

GOOD_FOR_S = 60.0
POSTGRESQL_PORT, REDIS_PORT = 5432, 6379
_EVERYWHERE = ("", "0.0.0.0", "::")  # noqa: S104 - compared with, not bound to
Places = frozenset[tuple[str, int]]


@dataclass
class _Known:
    places: Places = frozenset()
    at: float | None = None


_known = _Known()
_resolving = Lock()


def own_addresses() -> Places:
    """(host or address, port) pairs for ``EgressPolicy.denied``, at most a minute old.

    May ask a name server: on an event loop use ``last_known``, after ``own_addresses`` was called beside it.
    """
    with _resolving:
        now = time.monotonic()
        if _known.at is None or now - _known.at > GOOD_FOR_S:
            _known.places = frozenset(place for service in _services() for place in _places_of(service))
            _known.at = now
        return _known.places


def last_known() -> Places:
    """The same without asking anybody."""
    return _known.places


def own_hop() -> str:
    """How this gateway signs what it sends on; the same in all of its processes."""
    return salted_hmac("providers.own_services.hop", "gateway", algorithm="sha256").hexdigest()[:16]


def forget() -> None:
    """For tests that change the settings."""
    _known.at = None


@dataclass(frozen=True, slots=True)
class _Service:
    """``host`` is empty for this machine. ``is_resolved``: it is where its name resolves to. ``is_anywhere_here``: if that is this
    machine, it may listen at all of its addresses."""

    host: str
    port: int
    is_resolved: bool = True
    is_anywhere_here: bool = True


def _services() -> Iterator[_Service]:
    if settings.REDIS_URL and not settings.REDIS_URL.startswith("unix:"):
        parts = urlsplit(settings.REDIS_URL)
        yield _Service(parts.hostname or "", parts.port or REDIS_PORT)
    yield from _databases(settings.DATABASES["default"])
    if settings.PORT:
        yield _Service("" if settings.HOST in _EVERYWHERE else settings.HOST, settings.PORT, is_anywhere_here=False)
    public = urlsplit(settings.PUBLIC_URL)
    if public.hostname:  # not resolved: its address may be an entrance that many services share
        yield _Service(public.hostname, public.port or (443 if public.scheme == "https" else 80), is_resolved=False)


def _databases(database: Mapping[str, Any]) -> Iterator[_Service]:
    if database["ENGINE"].endswith("sqlite3"):
        return
    options = database.get("OPTIONS") or {}
    named = ",".join(str(found) for found in (database.get("HOST"), options.get("host"), options.get("hostaddr")) if found)
    for host in named.split(","):
        is_socket = host.startswith(("/", "@"))
        yield _Service("" if is_socket else host.strip(), int(database.get("PORT") or POSTGRESQL_PORT))


def _places_of(service: _Service) -> Iterator[tuple[str, int]]:
    """The name, what it resolves to, and the whole machine where that is here."""
    if not service.host:
        yield THIS_MACHINE, service.port
        return
    name = host_name(service.host)
    yield name, service.port
    for address in _resolved(name) if service.is_resolved else ():
        yield address, service.port
        if service.is_anywhere_here and is_this_machine(address):
            yield THIS_MACHINE, service.port


def _resolved(name: str) -> set[str]:
    """Canonical addresses; none where the name cannot be resolved now."""
    if is_literal(name):
        return {canonical(name)}
    try:
        return {canonical(str(info[4][0])) for info in socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)}
    except (OSError, UnicodeError):
        return set()
