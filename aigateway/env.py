"""Reads the environment and the files of the state folder that stand in for it on a first start."""

from __future__ import annotations

import base64
import os
import secrets
import socket
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured

from providers.upstream.types import NamesInvalid, split_names

LOOPBACK_HOSTS = ("localhost", "127.0.0.1", "[::1]")
WILDCARD_HOSTS = ("0.0.0.0", "::", "")  # noqa: S104 - compared with, not bound to


def flag(name: str) -> bool:
    value = os.environ.get(name, "").strip().lower()
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
    """With commas, one a line, or as a JSON list. A host such as ``[::1]`` is no JSON."""
    text = os.environ.get(name, "").strip()
    if text.startswith("[") and text[1:].lstrip().startswith(('"', "]")):
        try:
            return split_names(text)
        except NamesInvalid as error:
            raise ImproperlyConfigured(f"{name}: {error}") from None
    return [word.strip() for line in text.splitlines() for word in line.split(",") if word.strip()]


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
