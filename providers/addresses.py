"""Which base URLs a provider may have. The dial-time guard in ``upstream.egress`` stays the one that decides for names."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from django.core.exceptions import ValidationError

from providers.own_services import own_addresses
from providers.upstream.egress import BASE_QUERY, AddressClass, EgressPolicy, classify, host_and_port, is_literal
from providers.upstream.errors import EgressDenied, OwnService

_HOST_NAME = re.compile(r"(?=.{1,253}$)[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9])?)*")
_LOOKS_NUMERIC = re.compile(r"(^|\.)(0x[0-9a-f]*|[0-9]+)$")
_PATH = re.compile(r"(/[A-Za-z0-9_~:.-]+)*")


@dataclass(frozen=True, slots=True)
class CheckedAddress:
    """A base URL in its one canonical form: lower-case host, no trailing slash, at most Azure's ``?api-version=``."""

    url: str
    allow_private: bool


def check_base_url(url: str, *, allow_private: bool, is_superuser: bool) -> CheckedAddress:
    """Raises ``ValidationError`` on ``base_url`` or ``allow_private``.

    https is required unless the address is private. A literal private or loopback address, or localhost, typed by a
    superuser switches ``allow_private`` on; metadata and link-local addresses are refused for everybody.
    """
    address, asks, query = url.strip().partition("?")
    if asks and not BASE_QUERY.fullmatch(query):
        raise _refused("The only query a base URL may have is Azure's ?api-version=...")
    scheme, host, port, path = _split(address)
    is_private = _is_private(host)
    if (is_private or allow_private) and not is_superuser:
        raise ValidationError({"base_url": ["Only a superuser may point the gateway at a private address."]})
    allow_private = allow_private or is_private
    if scheme == "http" and not allow_private:
        raise ValidationError(
            {"base_url": ["Use https, so that the key is not sent in clear. For a host in your own network switch 'private address' on."]}
        )
    authority = f"[{host}]" if ":" in host else host
    address = f"{scheme}://{authority}{f':{port}' if port else ''}{path}"
    _check_not_own(address, host)
    return CheckedAddress(f"{address}{asks}{query}", allow_private)


def _check_not_own(address: str, host: str) -> None:
    """What can be told without asking a name server; names are checked when they are dialled."""
    places = ("127.0.0.1", "::1") if host == "localhost" else (host,)
    port = host_and_port(address)[1]
    try:
        for place in places:
            EgressPolicy(denied=own_addresses()).check_address(host, port, place)
    except OwnService:
        raise _refused("This is an address of the gateway itself, of its database or of its Redis.") from None
    except EgressDenied:
        return


def _split(url: str) -> tuple[str, str, int | None, str]:
    if not url.isascii() or not url.isprintable() or any(sign in url for sign in " \\@?#%"):
        raise _refused("No user name, fragment, blanks, backslashes, per cent signs or non-ASCII characters in the base URL.")
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").lower(), parts.port
    except ValueError as error:
        raise _refused("This is not a URL.") from error
    if parts.scheme.lower() not in ("http", "https") or not host or port == 0:
        raise _refused("Write the base URL as https://host/path, with the API version in the path.")
    path = parts.path.rstrip("/")
    if not _PATH.fullmatch(path) or any(segment in (".", "..") for segment in path.split("/")):
        raise _refused("The path of the base URL may have letters, digits and . _ ~ : - only, without '..'.")
    return parts.scheme.lower(), host, port, path


def _is_private(host: str) -> bool:
    """Whether the host as written is a private place; raises for addresses the gateway must never dial."""
    if not is_literal(host):
        if _LOOKS_NUMERIC.search(host) or not _HOST_NAME.fullmatch(host):
            raise _refused("Write the host as a name, or as an ordinary IPv4 or IPv6 address.")
        return host == "localhost" or host.endswith(".localhost")
    verdict = classify(host)
    if verdict in (AddressClass.BLOCKED, AddressClass.RESERVED):
        raise _refused("The gateway never dials this address: it is a link-local, metadata, multicast or reserved one.")
    return verdict in (AddressClass.PRIVATE, AddressClass.LOOPBACK)


def _refused(message: str) -> ValidationError:
    return ValidationError({"base_url": [message]})
