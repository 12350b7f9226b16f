"""What may be dialled: public addresses, and those private ones that a provider's own row names."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import urlsplit

from providers.upstream.egress.classes import AddressClass, canonical, classify, host_name, is_literal
from providers.upstream.egress.urls import host_and_port
from providers.upstream.errors import ClearText, EgressDenied, OwnService
from providers.upstream.types import ProviderSpec

THIS_MACHINE = "this machine"
"""Stands in ``EgressPolicy.denied`` for every address of the machine the gateway runs on."""
Places = frozenset[tuple[str, int]]


@dataclass(frozen=True, slots=True)
class EgressPolicy:
    """Private and loopback addresses are open only for the exact (host, port) pairs of ``private_allowed``.

    ``denied`` (the gateway's own database, Redis and door, by host name, canonical address or ``THIS_MACHINE``) and ``BLOCKED`` win
    over that. What is in ``clear`` is spoken to without TLS, so it must not turn out to be public.
    """

    private_allowed: Places = frozenset()
    denied: Places = frozenset()
    clear: Places = frozenset()

    @classmethod
    def for_providers(cls, providers: Iterable[ProviderSpec], denied: Places = frozenset()) -> EgressPolicy:
        """What these providers' own rows say; a base URL that cannot be parsed allows nothing."""
        specs = tuple(providers)
        clear = _places(spec.base_url for spec in specs if _is_clear(spec.base_url))
        return cls(_places(spec.base_url for spec in specs if spec.allow_private), denied, clear)

    @classmethod
    def for_base_urls(cls, base_urls: Iterable[str], denied: Places = frozenset()) -> EgressPolicy:
        """For addresses from the gateway's own environment, which may be private."""
        urls = tuple(base_urls)
        return cls(_places(urls), denied, _places(url for url in urls if _is_clear(url)))

    def check_address(self, host: str, port: int, address: str, *, is_clear: bool = False) -> None:
        """Raises ``EgressDenied`` unless ``host:port`` may be dialled at ``address``. Names the class, never the address."""
        kind = classify(address)
        name = _spelt(host)
        if self._is_own(name, port, address):
            raise OwnService(f"{name}:{port} belongs to the gateway itself")
        if kind is AddressClass.PUBLIC:
            if is_clear or (name, port) in self.clear:
                raise ClearText(f"{name}:{port} is at a public address and the URL is plain http")
            return
        if kind in (AddressClass.PRIVATE, AddressClass.LOOPBACK) and (name, port) in self.private_allowed:
            return
        raise EgressDenied(f"{name}:{port} is at a {kind.value} address")

    def check_literal(self, url: str) -> None:
        """Checks a URL whose host is a literal address: clients skip their resolver for those. Names pass to the resolver.

        The same verdict for the same policy and URL, so a permission is remembered: this runs at every call.
        """
        _check_literal(self, url)

    def _is_own(self, name: str, port: int, address: str) -> bool:
        if (name, port) in self.denied:
            return True
        if not is_literal(address):
            return False
        dialled = canonical(address)
        return (dialled, port) in self.denied or ((THIS_MACHINE, port) in self.denied and is_this_machine(dialled))


@lru_cache(maxsize=1024)
def _check_literal(policy: EgressPolicy, url: str) -> None:
    host, port = host_and_port(url)
    if is_literal(host):
        policy.check_address(host, port, host, is_clear=_is_clear(url))


def is_this_machine(address: str) -> bool:
    """Whether a canonical address is one of this machine's own: a loopback one, or one that can be bound here."""
    if classify(address) is AddressClass.LOOPBACK:
        return True
    try:
        with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind((address, 0))
    except OSError:
        return False
    return True


def _spelt(host: str) -> str:
    try:
        return host_name(host)
    except ValueError:
        return host.lower().rstrip(".")


def _is_clear(url: str) -> bool:
    try:
        return urlsplit(url).scheme == "http"
    except ValueError:
        return True


def _places(base_urls: Iterable[str]) -> Places:
    found = set()
    for base_url in base_urls:
        try:
            found.add(host_and_port(base_url))
        except EgressDenied:
            continue
    return frozenset(found)
