"""Classes of addresses, and the one spelling of each host."""

from __future__ import annotations

from enum import StrEnum
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address


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


def canonical(address: str) -> str:
    """A literal address in its one spelling: an IPv4 address inside of an IPv6 one (mapped, NAT64) is that IPv4 address."""
    parsed = ip_address(address.partition("%")[0])
    if isinstance(parsed, IPv6Address) and (parsed in _MAPPED or parsed in _NAT64):
        return str(IPv4Address(int(parsed) & 0xFFFFFFFF))
    return str(parsed)


def is_literal(host: str) -> bool:
    try:
        ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


def host_name(host: str) -> str:
    """A host in its one spelling: lower case, no trailing dot, non-ASCII names as DNS has them (IDNA), addresses as ``ipaddress``
    writes them. Raises ``ValueError`` for what can be no host."""
    name = host.rstrip(".") if host.isascii() else host.encode("idna").decode("ascii").rstrip(".")
    return str(ip_address(name)) if is_literal(name) else name.lower()
