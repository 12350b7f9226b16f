"""Which addresses the gateway may dial (faults.md, "Egress"), and the two clients' guards that enforce it.

Everything that opens a socket to a provider goes through here: ``GuardedResolver`` for aiohttp (data plane),
``guarded_session`` for requests (control plane).
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any
from urllib.parse import urlsplit

import requests
from aiohttp.abc import AbstractResolver, ResolveResult
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, PoolManager
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError

from providers.upstream.errors import EgressDenied
from providers.upstream.types import ProviderSpec

DNS_TIMEOUT_S = 1.0


class AddressClass(StrEnum):
    """``BLOCKED`` wins over every flag; ``RESERVED`` is what nobody needs and so nobody gets."""

    PUBLIC = "public"
    PRIVATE = "private"
    LOOPBACK = "loopback"
    RESERVED = "reserved"
    BLOCKED = "blocked"


# Worst last: an address that embeds another one counts as the worse of the two.
_SEVERITY = (AddressClass.PUBLIC, AddressClass.PRIVATE, AddressClass.LOOPBACK, AddressClass.RESERVED, AddressClass.BLOCKED)

# First match wins, so exact addresses stand before their networks. IANA special-purpose registries, plus the metadata
# services of AWS, Azure, Alibaba, Oracle and Google.
_V4_TABLE: tuple[tuple[IPv4Network, AddressClass], ...] = tuple(
    (IPv4Network(network), kind)
    for kind, networks in (
        (AddressClass.BLOCKED, "100.100.100.200/32 168.63.129.16/32 192.0.0.192/32 0.0.0.0/8 169.254.0.0/16 224.0.0.0/4 240.0.0.0/4"),
        (AddressClass.LOOPBACK, "127.0.0.0/8"),
        (AddressClass.PRIVATE, "10.0.0.0/8 172.16.0.0/12 192.168.0.0/16 100.64.0.0/10"),
        (AddressClass.RESERVED, "192.0.0.0/24 192.0.2.0/24 192.88.99.0/24 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24"),
    )
    for network in networks.split()
)
_V6_TABLE: tuple[tuple[IPv6Network, AddressClass], ...] = tuple(
    (IPv6Network(network), kind)
    for kind, networks in (
        (AddressClass.BLOCKED, "::/128 fd00:ec2::254/128 fd20:ce::254/128 fe80::/10 ff00::/8"),
        (AddressClass.LOOPBACK, "::1/128"),
        (AddressClass.PRIVATE, "fc00::/7"),
        (AddressClass.RESERVED, "2001::/23 2001:db8::/32 2002::/16 3fff::/20"),
        (AddressClass.PUBLIC, "2000::/3"),
    )
    for network in networks.split()
)
_MAPPED = IPv6Network("::ffff:0:0/96")
_COMPATIBLE = IPv6Network("::/96")
_TRANSLATED = IPv6Network("::ffff:0:0:0/96")
_NAT64 = IPv6Network("64:ff9b::/96")
_NAT64_LOCAL = IPv6Network("64:ff9b:1::/48")
_SIX_TO_FOUR = IPv6Network("2002::/16")
_TEREDO = IPv6Network("2001::/32")
_ISATAP = (0x00005EFE, 0x02005EFE)


@lru_cache(maxsize=4096)
def classify(address: str) -> AddressClass:
    """The class of a literal IP address; what is no canonical literal is ``BLOCKED``.

    Embedded IPv4 addresses (mapped, compatible, translated, NAT64, 6to4, Teredo, ISATAP) are unwrapped first. Names such as
    ``2130706433`` or ``0x7f.1`` are no literals: they reach this function as what they resolve to.
    """
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return AddressClass.BLOCKED
    return _classify_v4(parsed) if isinstance(parsed, IPv4Address) else _classify_v6(parsed)


def _classify_v4(address: IPv4Address) -> AddressClass:
    return next((kind for network, kind in _V4_TABLE if address in network), AddressClass.PUBLIC)


def _classify_v6(address: IPv6Address) -> AddressClass:
    value = int(address)
    low = IPv4Address(value & 0xFFFFFFFF)
    if address in _MAPPED or address in _NAT64:
        return _classify_v4(low)
    if address in _COMPATIBLE and value > 1:
        return _worst(AddressClass.RESERVED, _classify_v4(low))
    if address in _TRANSLATED:
        return _worst(AddressClass.RESERVED, _classify_v4(low))
    own = next((kind for network, kind in _V6_TABLE if address in network), AddressClass.RESERVED)
    return _worst(own, *(_classify_v4(inner) for inner in _embedded(address)))


def _embedded(address: IPv6Address) -> list[IPv4Address]:
    value = int(address)
    if address in _SIX_TO_FOUR:
        return [IPv4Address(value >> 80 & 0xFFFFFFFF)]
    if address in _TEREDO:
        return [IPv4Address(value >> 64 & 0xFFFFFFFF), IPv4Address(value & 0xFFFFFFFF ^ 0xFFFFFFFF)]
    if address in _NAT64_LOCAL:  # RFC 6052 with a /48 prefix: 16 bits, a zero octet, 16 bits
        return [IPv4Address((value >> 64 & 0xFFFF) << 16 | value >> 40 & 0xFFFF), IPv4Address(value & 0xFFFFFFFF)]
    if value >> 32 & 0xFFFFFFFF in _ISATAP:
        return [IPv4Address(value & 0xFFFFFFFF)]
    return []


def _worst(*kinds: AddressClass) -> AddressClass:
    return max(kinds, key=_SEVERITY.index)


# --------------------------------------------------------------------------- policy


@dataclass(frozen=True, slots=True)
class EgressPolicy:
    """Private and loopback addresses are open only for the exact (host, port) pairs of ``private_allowed``.

    ``denied`` (the gateway's own database, Redis and the like, by host name or address) and ``BLOCKED`` win over that.
    """

    private_allowed: frozenset[tuple[str, int]] = frozenset()
    denied: frozenset[tuple[str, int]] = frozenset()

    @classmethod
    def for_providers(cls, providers: Iterable[ProviderSpec], denied: frozenset[tuple[str, int]] = frozenset()) -> EgressPolicy:
        """What these providers' own rows say; a base URL that cannot be parsed allows nothing."""
        return cls.for_base_urls((spec.base_url for spec in providers if spec.allow_private), denied)

    @classmethod
    def for_base_urls(cls, base_urls: Iterable[str], denied: frozenset[tuple[str, int]] = frozenset()) -> EgressPolicy:
        allowed = set()
        for base_url in base_urls:
            try:
                allowed.add(host_and_port(base_url))
            except EgressDenied:
                continue
        return cls(frozenset(allowed), denied)

    def check_address(self, host: str, port: int, address: str) -> None:
        """Raises ``EgressDenied`` unless ``host:port`` may be dialled at ``address``. Names the class, never the address."""
        kind = classify(address)
        name = host.lower().rstrip(".")
        if (name, port) in self.denied or (address, port) in self.denied:
            raise EgressDenied(f"{name}:{port} belongs to the gateway itself")
        if kind is AddressClass.PUBLIC:
            return
        if kind in (AddressClass.PRIVATE, AddressClass.LOOPBACK) and (name, port) in self.private_allowed:
            return
        raise EgressDenied(f"{name}:{port} is at a {kind.value} address")

    def check_literal(self, url: str) -> None:
        """Checks a URL whose host is a literal address: clients skip their resolver for those. Names pass to the resolver.

        The same verdict for the same policy and URL, so a permission is remembered: this runs at every call.
        """
        _check_literal(self, url)


@lru_cache(maxsize=1024)
def _check_literal(policy: EgressPolicy, url: str) -> None:
    host, port = host_and_port(url)
    if is_literal(host):
        policy.check_address(host, port, host)


def is_literal(host: str) -> bool:
    try:
        ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


def host_and_port(url: str) -> tuple[str, int]:
    """Host (lower case, no brackets, no trailing dot) and port of an http(s) URL; raises ``EgressDenied`` for anything else."""
    try:
        parts = urlsplit(url)
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme, 0)
    except ValueError:
        raise EgressDenied("the URL cannot be parsed") from None
    host = (parts.hostname or "").rstrip(".")
    if not host or not port or parts.username is not None or parts.password is not None:
        raise EgressDenied("the URL must be http or https, with a host and without credentials")
    return host, port


# The one query a base URL may have: Azure's, which belongs to every call below it.
BASE_QUERY = re.compile(r"api-version=[A-Za-z0-9.-]{1,40}")


@lru_cache(maxsize=1024)
def join_url(base_url: str, path: str) -> str:
    """``base_url`` plus an adapter's path, before the base URL's own query. Raises ``EgressDenied`` if the path could reach outside
    of it."""
    base, asks, query = base_url.partition("?")
    place, _, own_query = path.partition("?")
    url = base.rstrip("/") + place
    if own_query or query:
        url += "?" + "&".join(part for part in (own_query, query) if part)
    is_clean = path.startswith("/") and url.isascii() and url.isprintable() and not set("\\# @") & set(place)
    if not is_clean or ".." in place.split("/") or "#" in url or (asks and not BASE_QUERY.fullmatch(query)):
        raise EgressDenied("the URL has parts that do not belong into a URL of a provider")
    if host_and_port(url) != host_and_port(base_url):
        raise EgressDenied("the path changes the host")
    return url


# --------------------------------------------------------------------------- aiohttp


@dataclass(frozen=True, slots=True)
class _Answers:
    expires_at: float
    results: tuple[ResolveResult, ...]


class GuardedResolver(AbstractResolver):
    """Resolves once, refuses unless every answer passes, and hands out exactly the addresses it checked.

    Answers are kept for ``ttl_s``; the policy is asked anew each time, so a withdrawn permission works at once. Failures
    are not kept.
    """

    _MAX_HOSTS = 1000

    def __init__(self, policy_source: Callable[[], EgressPolicy], ttl_s: float = 30.0) -> None:
        self._policy_source = policy_source
        self._ttl_s = ttl_s
        self._answers: dict[tuple[str, int, int], _Answers] = {}

    async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET) -> list[ResolveResult]:
        """Raises ``OSError`` when the name does not resolve within a second, ``EgressDenied`` for a forbidden answer."""
        policy = self._policy_source()
        results = await self._lookup(host, port, family)
        for result in results:
            policy.check_address(host, port, result["host"])
        return list(results)

    async def close(self) -> None:
        self._answers.clear()

    async def _lookup(self, host: str, port: int, family: int) -> tuple[ResolveResult, ...]:
        loop = asyncio.get_running_loop()
        key = (host, port, family)
        kept = self._answers.get(key)
        if kept is not None and kept.expires_at > loop.time():
            return kept.results
        try:
            async with asyncio.timeout(DNS_TIMEOUT_S):
                infos = await loop.getaddrinfo(
                    host, port, type=socket.SOCK_STREAM, family=family, flags=socket.AI_ADDRCONFIG if not is_literal(host) else 0
                )
        except TimeoutError:
            raise OSError(None, "name resolution timed out") from None
        except UnicodeError:
            raise OSError(None, "the host name is malformed") from None
        results = tuple(_resolve_result(host, info) for info in infos)
        if len(self._answers) >= self._MAX_HOSTS:
            self._answers.clear()
        self._answers[key] = _Answers(loop.time() + self._ttl_s, results)
        return results


AddressInfo = tuple[int, int, int, str, tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]]


def _resolve_result(host: str, info: AddressInfo) -> ResolveResult:
    family, _, proto, _, address = info
    return ResolveResult(hostname=host, host=str(address[0]), port=int(address[1]), family=family, proto=proto, flags=socket.AI_NUMERICHOST)


# --------------------------------------------------------------------------- requests


class GuardedHTTPAdapter(HTTPAdapter):
    """``requests`` transport that dials only addresses it has checked; TLS still sees the name."""

    def __init__(self, policy_source: Callable[[], EgressPolicy], ssl_context: ssl.SSLContext | None) -> None:
        self._policy_source = policy_source
        self._ssl_context = ssl_context
        super().__init__(max_retries=0)

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **_: Any) -> None:
        manager = PoolManager(num_pools=connections, maxsize=maxsize, block=block)
        manager.pool_classes_by_scheme = _pool_classes(self._policy_source)
        self.poolmanager = manager

    def build_connection_pool_key_attributes(self, request: Any, verify: Any, cert: Any = None) -> Any:
        host, tls = super().build_connection_pool_key_attributes(request, verify, cert)
        return host, tls if self._ssl_context is None else {"ssl_context": self._ssl_context, "cert_reqs": "CERT_REQUIRED"}

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
        """``requests`` would add the public authorities to a context of our own."""
        if self._ssl_context is None:
            super().cert_verify(conn, url, verify, cert)  # type: ignore[no-untyped-call]

    def proxy_manager_for(self, *_: Any, **__: Any) -> Any:
        raise EgressDenied("proxies are not used")


class GuardedSession(requests.Session):
    """No redirects, no proxies or credentials from the environment, no retries."""

    def __init__(self, policy_source: Callable[[], EgressPolicy], ssl_context: ssl.SSLContext | None = None) -> None:
        super().__init__()
        self.trust_env = False
        self.headers["Accept-Encoding"] = "identity"
        adapter = GuardedHTTPAdapter(policy_source, ssl_context)
        self.mount("https://", adapter)
        self.mount("http://", adapter)

    def get_redirect_target(self, resp: requests.Response) -> None:  # noqa: ARG002
        """Every answer is final."""
        return


def guarded_session(policy: EgressPolicy, ssl_context: ssl.SSLContext | None = None) -> GuardedSession:
    """A session for the control plane. Calls raise ``EgressDenied`` besides the exceptions of ``requests``."""
    return GuardedSession(lambda: policy, ssl_context)


def _pool_classes(policy_source: Callable[[], EgressPolicy]) -> dict[str, type[HTTPConnectionPool]]:
    class GuardedHTTPConnection(HTTPConnection):
        def _new_conn(self) -> socket.socket:
            return _dial(self, policy_source())

    class GuardedHTTPSConnection(HTTPSConnection):
        def _new_conn(self) -> socket.socket:
            return _dial(self, policy_source())

    class GuardedHTTPPool(HTTPConnectionPool):
        ConnectionCls = GuardedHTTPConnection

    class GuardedHTTPSPool(HTTPSConnectionPool):
        ConnectionCls = GuardedHTTPSConnection

    return {"http": GuardedHTTPPool, "https": GuardedHTTPSPool}


def _dial(connection: HTTPConnection, policy: EgressPolicy) -> socket.socket:
    """Resolves once, checks every answer, then connects to those very addresses in order."""
    host, port = connection.host, connection.port or connection.default_port
    try:
        infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError) as error:
        raise NameResolutionError(host, connection, socket.gaierror(str(error))) from error
    for info in infos:
        policy.check_address(host, port, str(info[4][0]))
    failure: OSError | None = None
    for family, kind, proto, _, address in infos:
        sock = socket.socket(family, kind, proto)
        try:
            if isinstance(connection.timeout, (int, float)):
                sock.settimeout(connection.timeout)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.connect(address)
        except OSError as error:
            sock.close()
            failure = error
        else:
            return sock
    if isinstance(failure, TimeoutError):
        raise ConnectTimeoutError(connection, f"connection to {host} timed out") from failure
    raise NewConnectionError(connection, f"no address of {host} accepts connections") from failure
