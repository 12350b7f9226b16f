"""Addresses nobody may be sent to, in every spelling people have tried, and a judge that stands at the socket."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address
from typing import Any

from providers.upstream.egress import AddressClass, classify

V4 = (
    "127.0.0.1", "127.1.2.3", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "169.254.169.254", "169.254.170.2",
    "100.100.100.200", "168.63.129.16", "192.0.0.192", "224.0.0.1", "255.255.255.255", "198.18.0.1",
)  # fmt: skip
V6 = (
    "::1", "::", "0:0:0:0:0:0:0:1", "fe80::1", "fe80::1%25lo", "fc00::1", "fd00:ec2::254", "fd20:ce::254", "ff02::1", "fec0::1", "100::1",
    "2001:db8::1", "::ffff:0:7f00:1", "64:ff9b:1:7f00:0:100::", "2606:4700::5efe:a9fe:a9fe",
)  # fmt: skip
NAMES = ("localhost", "LOCALHOST", "localhost.", "ip6-localhost", "a.localhost", "localhost.localdomain", "metadata.google.internal")
SCHEMES = ("file:///etc/passwd", "gopher://127.0.0.1:70/_x", "ftp://127.0.0.1/", "dict://127.0.0.1:11211/", "ldap://127.0.0.1/",
           "javascript:alert(1)", "data:text/plain,x", "//127.0.0.1/", "http:/127.0.0.1/", "http:127.0.0.1", "https:///127.0.0.1",
           "unix:///var/run/docker.sock", "jar:http://127.0.0.1!/", "netdoc:///etc/passwd")  # fmt: skip
WIDE = str.maketrans("0123456789", "０１２３４５６７８９")
CIRCLED = str.maketrans("123456789", "①②③④⑤⑥⑦⑧⑨")


def spellings(address: str) -> Iterator[str]:
    """The authority part of URLs that lead, or once led some client, to the address."""
    a, b, c, d = (int(part) for part in address.split("."))
    value = int(IPv4Address(address))
    high, low = f"{value >> 16:x}", f"{value & 0xFFFF:x}"
    yield from (address, f"{address}.", str(value), hex(value), f"0X{value:X}", f"0{value:o}", f"{value + 2**32}")
    yield from (f"{a}.{value & 0xFFFFFF}", f"{a}.{b}.{value & 0xFFFF}", f"0{a:o}.0{b:o}.0{c:o}.0{d:o}", f"0x{a:x}.0x{b:x}.0x{c:x}.0x{d:x}")
    yield from (f"{a:03}.{b:03}.{c:03}.{d:03}", f"0{a:o}.0x{b:x}.{c}.{d}", address.translate(WIDE), address.translate(CIRCLED))
    yield from (address.replace(".", "。"), address.replace(".", "%2e"), f"%{ord(address[0]):x}{address[1:]}", f"{address}%00.example")
    yield from (f"[::ffff:{address}]", f"[::ffff:{high}:{low}]", f"[0:0:0:0:0:ffff:{address}]", f"[::{address}]", f"[64:ff9b::{address}]")
    yield from (f"[2002:{high}:{low}::]", f"[::ffff:0:{address}]", f"[2001:0:{high}:{low}::1]", f"[fd00::5efe:{address}]")
    yield from (f"api.example@{address}", f"api.example:443@{address}", f"{address}#@api.example", f"{address}?@api.example")
    yield from (f"{address}\\@api.example", f"api.example\\@{address}", f"{address} api.example", f"{address}\t", f"{address}\r\nHost: x")
    hexed = f"{value:08x}"
    yield from (f"x{hexed}.one.test", f"x{hexed}.both.test", f"x{hexed}.flip.test", f"X{hexed.upper()}.ONE.test.")


def vectors(port: int | None = None) -> list[str]:
    """At least 600 URLs, each once."""
    tail = "" if port is None else f":{port}"
    urls = [f"{scheme}://{host}{tail}/v1" for scheme in ("http",) for address in V4 for host in spellings(address)]
    urls += [f"https://{host}{tail}/v1" for address in V4[:1] for host in spellings(address)]
    urls += [f"http://[{host}]{tail}/v1" for host in V6] + [f"http://{host}{tail}/v1" for host in NAMES]
    return list(dict.fromkeys([*urls, *SCHEMES]))


# --------------------------------------------------------------------------- names


_asked: dict[str, int] = {}
_real = socket.getaddrinfo


def look_up(host: Any, port: Any, *_: Any, **options: Any) -> list[Any]:
    """The name server of ``.test``; addresses are read as the system reads them, and no other server is asked."""
    name = (host.decode() if isinstance(host, bytes) else host).lower().rstrip(".")
    first, _, zone = name.partition(".")
    if zone in ("one.test", "both.test", "flip.test"):
        inside = str(IPv4Address(int(first[1:], 16)))
        _asked[name] = _asked.get(name, 0) + 1
        found = {"one.test": [inside], "both.test": ["8.8.8.8", inside], "flip.test": ["8.8.8.8"] if _asked[name] % 2 else [inside]}[zone]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, int(port or 0))) for each in found]
    if name in ("localhost", "ip6-localhost", "a.localhost", "localhost.localdomain"):
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", int(port or 0)))]
    if name == "metadata.google.internal":
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("169.254.169.254", int(port or 0)))]
    return _real(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)


# --------------------------------------------------------------------------- the judge


_watching: list[list[tuple[str, int]]] = []


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    """Audit hooks cannot be taken away, so this one sleeps when nobody watches. While somebody does, nothing is dialled."""
    if event != "socket.connect" or not _watching or arguments[0].family not in (socket.AF_INET, socket.AF_INET6):
        return
    address, port = arguments[1][:2]
    _watching[-1].append((str(address), port))
    raise ConnectionRefusedError("the judge lets nothing through")


_hooked: list[bool] = []


@contextmanager
def watched() -> Iterator[list[tuple[str, int]]]:
    """Every address that this process tried to connect to, from any thread."""
    if not _hooked:
        sys.addaudithook(_hook)
        _hooked.append(True)
    seen: list[tuple[str, int]] = []
    _watching.append(seen)
    try:
        yield seen
    finally:
        _watching.remove(seen)


def is_forbidden(address: str, *, private_ok: bool) -> bool:
    kind = classify(address)
    return kind in (AddressClass.BLOCKED, AddressClass.RESERVED) or (not private_ok and kind is not AddressClass.PUBLIC)


def forbidden(seen: list[tuple[str, int]], *, private_ok: bool) -> list[tuple[str, int]]:
    return [place for place in seen if is_forbidden(place[0], private_ok=private_ok)]


Dial = Callable[[str], None]
