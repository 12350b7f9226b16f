"""Reads the environment and the files of the state folder that stand in for it on a first start."""

from __future__ import annotations

import base64
import ipaddress
import os
import re
import secrets
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured

from aigateway.start_values import listed
from providers.upstream.types import NamesInvalid

LOOPBACK_HOSTS = ("localhost", "127.0.0.1", "[::1]")
_ORIGIN = re.compile(r"https?://(?:[a-z0-9.-]+|\[[0-9a-f:.]+\])(?::\d{1,5})?")
WILDCARD_HOSTS = ("0.0.0.0", "::", "")  # noqa: S104 - compared with, not bound to


API_KEYS = "api_key"
SESSIONS = "session"
TOKENS = "jwt"
STRATEGIES = (API_KEYS, SESSIONS, TOKENS)
"""The ways to prove who one is, as ``AIGATEWAY_AUTH`` names them."""


def flag(name: str, *, default: bool = False) -> bool:
    value = os.environ.get(name, "").strip().lower()
    if not value:
        return default
    if value not in ("", "0", "1", "true", "false", "yes", "no"):
        raise ImproperlyConfigured(f"{name} is {value!r}: use 1 or 0")
    return value in ("1", "true", "yes")


def integer(name: str, default: int, *, minimum: int = 0) -> int:
    value = os.environ.get(name, "").strip()
    if not value:
        return default
    if not value.isdecimal() or int(value) < minimum:
        raise ImproperlyConfigured(f"{name} is {value!r}: use a whole number of at least {minimum}")
    return int(value)


def words(name: str) -> list[str]:
    try:
        return listed(os.environ.get(name, ""))
    except NamesInvalid as error:
        raise ImproperlyConfigured(f"{name}: {error}") from None


def origins(name: str) -> list[str]:
    """Origins as browsers send them, ``scheme://host`` with an optional port, or ``*`` alone."""
    given = words(name)
    for origin in given:
        if origin != "*" and _ORIGIN.fullmatch(origin) is None:
            raise ImproperlyConfigured(f"{name} names {origin!r}: use origins like https://app.example.org, without a path, or *")
    if "*" in given and len(given) > 1:
        raise ImproperlyConfigured(f"{name} has * beside others: use * alone, or name every origin")
    return given


def choices(name: str, known: Sequence[str]) -> tuple[str, ...]:
    """Some of ``known``, all of them when nothing is set."""
    given = words(name) or [*known]
    for word in given:
        if word not in known:
            raise ImproperlyConfigured(f"{name} has {word!r}: use some of {', '.join(known)}")
    return tuple(given)


def networks(name: str, default: str) -> list[str]:
    """Addresses and networks. One that cannot be read would otherwise be believed to protect and never match."""
    given = words(name) or default.split(",")
    for each in given:
        try:
            ipaddress.ip_network(each)
        except ValueError:
            if each != "*":  # a system check has more to say of it
                raise ImproperlyConfigured(f"{name} has {each!r}: use addresses or networks such as 172.30.83.0/24") from None
    return given


def stored_secret(path: Path, make: str) -> str:
    """The content of ``path``; created with ``make``, readable by its owner only, when it does not exist."""
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            return path.read_text().strip()
        with os.fdopen(handle, "w") as file:
            file.write(make)
    return path.read_text().strip()


def new_secret_key() -> str:
    return secrets.token_urlsafe(50)


def new_key_ring() -> str:
    """One random 256-bit key-encryption key in the form of ``AIGATEWAY_KEKS``: ``id:base64``."""
    return "k1:" + base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()


def allowed_hosts(host: str) -> list[str]:
    """Explicit list, else loopback names, plus this machine's names when the server listens on every address."""
    explicit = words("AIGATEWAY_ALLOWED_HOSTS")
    if explicit:
        return explicit
    hosts = [*LOOPBACK_HOSTS]
    if host in WILDCARD_HOSTS:
        name = socket.gethostname()
        hosts += [name, socket.getfqdn()]
        try:
            hosts += {info[4][0] for info in socket.getaddrinfo(name, None, socket.AF_INET)}  # type: ignore[misc]
        except OSError:
            return hosts
    elif host not in hosts:
        hosts.append(host)
    return hosts


def secrets_of(settings: Any) -> list[str]:
    """The secrets this process was started with, for whoever must keep them out of texts."""
    database = settings.DATABASES["default"]
    found = [settings.SECRET_KEY, str(database.get("PASSWORD") or ""), str(getattr(settings, "EMAIL_HOST_PASSWORD", "") or "")]
    found += [settings.SUBSCRIPTION_WEBHOOK_SECRET, settings.SUBSCRIPTION_ENDPOINT_TOKEN, settings.ALERT_WEBHOOK_SECRET]
    found += [entry.partition(":")[2] for entry in (settings.KEY_RING or "").split(",")]
    found += [unquote(urlsplit(url).password or "") for url in (settings.REDIS_URL, os.environ.get("DATABASE_URL")) if url]
    return [secret for secret in found if secret]
