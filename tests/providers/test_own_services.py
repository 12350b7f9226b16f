"""The gateway's own database, Redis and door are no providers, in whatever spelling (C21, S04)."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import pytest
from django.core.exceptions import ValidationError

from providers import own_services
from providers.addresses import check_base_url
from providers.client import exchange
from providers.own_services import own_addresses
from providers.upstream.egress import THIS_MACHINE, EgressPolicy, GuardedResolver, is_literal
from providers.upstream.errors import ClearText, EgressDenied, OwnService
from providers.upstream.types import HttpRequest
from tests.providers.upstream import rig

POSTGRESQL = {"ENGINE": "django.db.backends.postgresql", "HOST": "localhost", "PORT": "5432"}
HERE = ["127.0.0.1", "127.0.0.2", "127.255.255.254", "::1", "::ffff:127.0.0.1", "::ffff:7f00:1", "64:ff9b::7f00:1"]
SPELLINGS = ["localhost", "LOCALHOST.", "db.example", *HERE]


@pytest.fixture
def own(monkeypatch) -> Iterator[Callable[..., frozenset[tuple[str, int]]]]:
    """Own services under changed settings, which count until the end of the test."""

    def given(**changed: object) -> frozenset[tuple[str, int]]:
        plain = {"REDIS_URL": None, "HOST": "127.0.0.1", "PORT": 0, "PUBLIC_URL": "", "DATABASES": {"default": POSTGRESQL}}
        monkeypatch.setattr(own_services, "settings", SimpleNamespace(**{**plain, **changed}))
        own_services.forget()
        return own_addresses()

    yield given
    own_services.forget()


@pytest.fixture
def names(monkeypatch) -> dict[str, list[str]]:
    """What names resolve to; addresses are themselves."""
    known: dict[str, list[str]] = {"localhost": ["::1", "127.0.0.1"], "db.example": ["127.0.0.1"]}

    def look_up(host: str, port: object, *_: object, **__: object) -> list[tuple[object, ...]]:
        found = [host] if is_literal(host) else known.get(host.rstrip(".").lower())
        if found is None:
            raise socket.gaierror("unknown")
        return [(socket.AF_INET6 if ":" in a else socket.AF_INET, 1, 6, "", (a, port or 0)) for a in found]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return known


@pytest.mark.parametrize("address", HERE)
@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "::1", "", "/var/run/postgresql", "db.example"])
def test_C21_a_database_on_this_machine_is_denied_at_every_address_of_it(own, names, host: str, address: str) -> None:
    policy = EgressPolicy(
        frozenset({("any.example", 5432), ("any.example", 5433), (address, 5432)}), own(DATABASES={"default": {**POSTGRESQL, "HOST": host}})
    )
    for name in (address, "any.example"):
        with pytest.raises(OwnService):
            policy.check_address(name, 5432, address)
    policy.check_address("any.example", 5433, address)


def test_C21_so_it_is_at_an_address_of_its_network_interface(own, names, monkeypatch) -> None:
    monkeypatch.setattr("providers.upstream.egress.policy.is_this_machine", lambda address: address == "10.0.0.5")
    with pytest.raises(OwnService):
        EgressPolicy(frozenset({("gpu.lan", 5432)}), own()).check_address("gpu.lan", 5432, "10.0.0.5")
    EgressPolicy(frozenset({("gpu.lan", 5432)}), own()).check_address("gpu.lan", 5432, "10.0.0.6")


@pytest.mark.parametrize("spelling", ["10.0.0.7", "::ffff:10.0.0.7", "::ffff:a00:7", "64:ff9b::10.0.0.7"])
def test_C21_services_elsewhere_are_compared_as_what_they_resolve_to(own, names, spelling: str) -> None:
    names["cache.internal"] = ["10.0.0.7"]
    denied = own(REDIS_URL="rediss://:pw@cache.internal:6380/0", DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3"}})
    assert denied == {("cache.internal", 6380), ("10.0.0.7", 6380)}
    policy = EgressPolicy(frozenset({("other.name", 6380), ("cache.internal", 6380)}), denied)
    for name in ("other.name", "cache.internal"):
        with pytest.raises(OwnService):
            policy.check_address(name, 6380, spelling)


def test_C21_a_service_whose_name_cannot_be_resolved_is_still_denied_by_name(own, names) -> None:
    denied = own(DATABASES={"default": {**POSTGRESQL, "HOST": "gone.example,db.example", "OPTIONS": {"hostaddr": "10.9.9.9"}}})
    assert {("gone.example", 5432), ("db.example", 5432), ("127.0.0.1", 5432), ("10.9.9.9", 5432), (THIS_MACHINE, 5432)} <= denied


@pytest.mark.parametrize(
    ("host", "port", "address", "is_own"),
    [
        ("", 8000, "127.0.0.1", True),
        ("0.0.0.0", 8000, "127.0.0.9", True),
        ("127.0.0.1", 8000, "::ffff:127.0.0.1", True),
        ("127.0.0.1", 8001, "127.0.0.1", False),
        ("127.0.0.1", 8000, "127.0.0.2", False),
    ],
)
def test_C21_the_gateways_own_door_is_no_provider(own, names, host: str, port: int, address: str, is_own: bool) -> None:
    denied = own(HOST=host, PORT=8000, PUBLIC_URL="https://ai.example.org", DATABASES={"default": {"ENGINE": "sqlite3"}})
    assert ("ai.example.org", 443) in denied
    policy = EgressPolicy(frozenset({("x", port)}), denied)
    if is_own:
        with pytest.raises(OwnService):
            policy.check_address("x", port, address)
    else:
        policy.check_address("x", port, address)


@pytest.mark.parametrize("spelling", ["localhost", "127.0.0.2", "[::1]", "[::ffff:127.0.0.1]"])
def test_C21_what_needs_no_name_server_is_refused_when_it_is_typed(own, names, spelling: str) -> None:
    own()
    with pytest.raises(ValidationError, match="gateway itself"):
        check_base_url(f"http://{spelling}:5432/v1", allow_private=True, is_superuser=True)
    assert check_base_url(f"http://{spelling}:5431/v1", allow_private=True, is_superuser=True).allow_private


@pytest.mark.parametrize("spelling", SPELLINGS)
async def test_C21_both_clients_leave_own_services_alone_at_the_socket(own, names, spelling: str) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.settimeout(0)
        port = listener.getsockname()[1]
        denied = own(DATABASES={"default": {**POSTGRESQL, "PORT": str(port)}})
        host = f"[{spelling}]" if ":" in spelling else spelling
        spec = rig.provider(f"http://{host}:{port}/v1", allow_private=True)
        with pytest.raises(OwnService):
            exchange(spec, HttpRequest("/models", b"", method="GET"), 2)
        policy = EgressPolicy.for_providers([spec], denied)
        with pytest.raises(OwnService):  # noqa: PT012 - a literal, or a name
            policy.check_literal(spec.base_url)
            await GuardedResolver(lambda: policy).resolve(spelling, port)
        with pytest.raises(BlockingIOError):
            listener.accept()


# --------------------------------------------------------------------------- no key in clear


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8"])
def test_C21_a_private_name_that_resolves_to_a_public_address_gets_no_plain_http(address: str) -> None:
    clear, sealed = rig.provider("http://gpu.lan:8000/v1", allow_private=True), rig.provider("https://gpu.lan:8443/v1", allow_private=True)
    policy = EgressPolicy.for_providers([clear, sealed])
    with pytest.raises(ClearText):
        policy.check_address("GPU.lan.", 8000, address)
    policy.check_address("gpu.lan", 8443, address)
    policy.check_address("gpu.lan", 8000, "10.0.0.9")


def test_C21_the_control_plane_sends_nothing_there_either(names, monkeypatch) -> None:
    names["gpu.lan"] = ["8.8.8.8"]
    dialled: list[object] = []
    monkeypatch.setattr(socket.socket, "connect", lambda _, address: dialled.append(address))
    with pytest.raises(ClearText):
        exchange(rig.provider("http://gpu.lan:8000/v1", allow_private=True), HttpRequest("/models", b"", method="GET"), 2)
    assert dialled == []


async def test_C21_nor_does_the_data_plane(names, monkeypatch) -> None:
    async def public(*_: object, **__: object) -> list[tuple[object, ...]]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("8.8.8.8", 8000))]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", public)
    policy = EgressPolicy.for_providers([rig.provider("http://gpu.lan:8000/v1", allow_private=True)])
    with pytest.raises(ClearText):
        await GuardedResolver(lambda: policy).resolve("gpu.lan", 8000)


def test_C21_a_literal_public_address_gets_no_plain_http() -> None:
    with pytest.raises(EgressDenied):
        EgressPolicy.for_base_urls(["http://8.8.8.8/v1"]).check_literal("http://8.8.8.8/v1")
    EgressPolicy.for_base_urls(["https://8.8.8.8/v1"]).check_literal("https://8.8.8.8/v1")
