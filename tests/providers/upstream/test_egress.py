"""Which addresses may be dialled: vectors for the classifier, the policy, and both clients' guards."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
import requests

from providers.upstream.egress import AddressClass, Bounds, EgressPolicy, GuardedResolver, classify, guarded_session, join_url
from providers.upstream.errors import EgressDenied
from tests.providers.upstream import rig


def _words(text: str) -> list[str]:
    return text.split()


PUBLIC = _words(
    """
    8.8.8.8 1.1.1.1 104.18.7.192 172.15.255.255 172.32.0.1 100.63.255.255 100.128.0.1 169.253.255.255 169.255.0.1 192.167.255.255
    192.169.0.1 11.0.0.1 223.255.255.255 168.63.129.15 198.17.255.255 198.20.0.1 2606:4700::6810:7c0 2a00:1450:4001:80b::200e
    ::ffff:8.8.8.8 64:ff9b::808:808 2001:4860:4860::8888
    """
)
PRIVATE = _words(
    """
    10.0.0.1 10.255.255.255 172.16.0.1 172.31.255.255 192.168.1.1 100.64.0.1 100.127.255.255 fc00::1 fd12:3456::1 ::ffff:10.0.0.1
    ::ffff:192.168.0.1 64:ff9b::a00:1
    """
)
LOOPBACK = _words(
    """
    127.0.0.1 127.1.2.3 127.255.255.255 ::1 ::ffff:127.0.0.1 ::ffff:7f00:1 64:ff9b::7f00:1
    """
)
RESERVED = _words(
    """
    192.0.0.1 192.0.2.1 198.18.0.1 198.51.100.7 203.0.113.9 192.88.99.1 2001:db8::1 100::1 2001:10::1 3fff::1 fec0::1 5f00::1
    2002:808:808:: 2001:0:808:808::f7f7:f7f7 ::8.8.8.8 ::10.0.0.1 ::ffff:0:8.8.8.8 4000::1
    """
)
BLOCKED = _words(
    """
    0.0.0.0 0.1.2.3 169.254.0.1 169.254.169.254 169.254.170.2 100.100.100.200 168.63.129.16 192.0.0.192 224.0.0.1 239.255.255.250
    240.0.0.1 255.255.255.255 :: fe80::1 fe80::1%eth0 febf::1 ff02::1 fd00:ec2::254 fd20:ce::254 ::ffff:169.254.169.254
    ::ffff:a9fe:a9fe ::ffff:0.0.0.0 ::ffff:100.100.100.200 64:ff9b::a9fe:a9fe 64:ff9b::6464:64c8 2002:a9fe:a9fe::
    2002:a9fe:a9fe::1 2001:0:a9fe:a9fe::1 2001:0:808:808::5601:5601 64:ff9b:1:a9fe:a9:fe00:: ::169.254.169.254
    ::ffff:0:169.254.169.254 2606:4700::5efe:a9fe:a9fe 2606:4700::200:5efe:a9fe:a9fe fd00::5efe:169.254.169.254 64:ff9b:1::1
    """
)
NO_LITERALS = _words(
    """
    2130706433 0177.0.0.1 0x7f.0.0.1 0x7f000001 127.1 127.0.0.1. localhost 1.2.3 1.2.3.4.5 [::1] ::1::1 256.1.1.1
    """
)

VECTORS = [
    *((address, AddressClass.PUBLIC) for address in PUBLIC),
    *((address, AddressClass.PRIVATE) for address in PRIVATE),
    *((address, AddressClass.LOOPBACK) for address in LOOPBACK),
    *((address, AddressClass.RESERVED) for address in RESERVED),
    *((address, AddressClass.BLOCKED) for address in [*BLOCKED, *NO_LITERALS, ""]),
]


@pytest.mark.parametrize(("address", "kind"), VECTORS)
def test_S05_every_form_of_an_address_is_classified(address, kind) -> None:
    assert classify(address) is kind


@pytest.mark.parametrize("embedding", ["2002:7f00:1::", "2001:0:7f00:1::1", "::127.0.0.1", "2002:a00:1::", "2606:4700::5efe:7f00:1"])
def test_S05_an_embedded_internal_address_is_never_public(embedding) -> None:
    assert classify(embedding) is not AddressClass.PUBLIC


ALLOWED = [("127.0.0.1", "127.0.0.1"), ("10.1.2.3", "10.1.2.3"), ("fd12::1", "fd12::1"), ("llm.default.svc.cluster.local", "10.96.0.7")]


@pytest.mark.parametrize(("host", "address"), ALLOWED)
def test_S06_a_private_address_is_open_for_exactly_its_host_and_port(host, address) -> None:
    policy = EgressPolicy(frozenset({(host, 11434)}))
    policy.check_address(host, 11434, address)
    for other_host, port in ((host, 11435), (f"x{host}", 11434)):
        with pytest.raises(EgressDenied):
            policy.check_address(other_host, port, address)


@pytest.mark.parametrize("address", BLOCKED + RESERVED)
def test_S06_blocked_and_reserved_addresses_win_over_every_permission(address) -> None:
    policy = EgressPolicy(frozenset({(address, 80), ("metadata.internal", 80)}))
    for host in (address, "metadata.internal"):
        with pytest.raises(EgressDenied):
            policy.check_address(host, 80, address)


def test_the_gateways_own_services_are_denied_even_if_allowed() -> None:
    policy = EgressPolicy(frozenset({("db", 5432), ("127.0.0.1", 6379)}), denied=frozenset({("db", 5432), ("127.0.0.1", 6379)}))
    for host, port, address in (("db", 5432, "10.0.0.5"), ("127.0.0.1", 6379, "127.0.0.1"), ("alias", 6379, "127.0.0.1")):
        with pytest.raises(EgressDenied):
            policy.check_address(host, port, address)


def test_permissions_come_from_the_providers_that_ask_for_them() -> None:
    private = rig.provider("http://10.0.0.5:8080/v1", allow_private=True)
    public = rig.provider("http://10.0.0.6/v1", allow_private=False)
    assert EgressPolicy.for_providers([private, public]).private_allowed == {("10.0.0.5", 8080)}


def test_the_denial_names_no_address() -> None:
    with pytest.raises(EgressDenied) as denied:
        EgressPolicy().check_address("intranet.example", 443, "10.20.30.40")
    assert "10.20.30.40" not in denied.value.detail


BAD_URLS = ["ftp://x/v1", "http:///v1", "//x", "http://user:key@x/v1", "http://x:99999/v1", "http://[::1/v1", "x", "file:///etc/passwd"]


@pytest.mark.parametrize("base_url", BAD_URLS)
def test_a_base_url_must_be_plain_http(base_url) -> None:
    with pytest.raises(EgressDenied):
        join_url(base_url, "/chat")


@pytest.mark.parametrize("path", ["chat", "@evil.org/", "/a#b", "/a\\b", "/a b", "/../admin", "/a\nb", "/\u2028", "/x@evil.org"])
def test_B16_a_path_cannot_leave_its_base_url(path) -> None:
    with pytest.raises(EgressDenied):
        join_url("https://api.example.com/v1", path)


def test_urls_are_joined_without_loss() -> None:
    assert (
        join_url("https://api.example.com/v1/", "/models?limit=1000&after_id=a")
        == "https://api.example.com/v1/models?limit=1000&after_id=a"
    )


def test_azures_query_stays_behind_every_path() -> None:
    base = "https://r.openai.azure.com/openai/deployments/x?api-version=2024-10-21"
    assert join_url(base, "/chat/completions") == "https://r.openai.azure.com/openai/deployments/x/chat/completions?api-version=2024-10-21"
    assert join_url(base, "/models?after=a") == "https://r.openai.azure.com/openai/deployments/x/models?after=a&api-version=2024-10-21"


@pytest.mark.parametrize(
    "query",
    [
        "",
        "key=abc",
        "api-version=",
        "api-version=1&key=2",
        "api-version=1#",
        "api-version=@evil.org",
        "api-version=1/../x",
        "api-version=%2f",
    ],
)
def test_B16_no_other_query_comes_with_a_base_url(query) -> None:
    with pytest.raises(EgressDenied):
        join_url(f"https://r.openai.azure.com/openai?{query}", "/chat/completions")


# --------------------------------------------------------------------------- resolver


def answers(*addresses: str):
    async def getaddrinfo(host, port, **_):
        return [
            (socket.AF_INET6 if ":" in a else socket.AF_INET, socket.SOCK_STREAM, 6, "", (a, port, 0, 0) if ":" in a else (a, port))
            for a in addresses
        ]

    return getaddrinfo


async def test_S04_one_bad_answer_spoils_all(monkeypatch) -> None:
    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", answers("8.8.8.8", "169.254.169.254"))
    with pytest.raises(EgressDenied):
        await GuardedResolver(EgressPolicy).resolve("rebind.example", 443)


async def test_S04_what_was_checked_is_what_is_dialled_and_it_is_not_resolved_twice(monkeypatch) -> None:
    loop = asyncio.get_running_loop()
    monkeypatch.setattr(loop, "getaddrinfo", answers("8.8.8.8", "2606:4700::1"))
    resolver = GuardedResolver(EgressPolicy)
    first = await resolver.resolve("api.example", 443)
    monkeypatch.setattr(loop, "getaddrinfo", answers("127.0.0.1"))
    assert [result["host"] for result in await resolver.resolve("api.example", 443)] == ["8.8.8.8", "2606:4700::1"]
    assert [result["hostname"] for result in first] == ["api.example", "api.example"]


async def test_a_withdrawn_permission_works_at_once(monkeypatch) -> None:
    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", answers("10.0.0.9"))
    policy = EgressPolicy(frozenset({("llm.local", 80)}))
    resolver = GuardedResolver(lambda: policy)
    assert await resolver.resolve("llm.local", 80)
    policy = EgressPolicy()
    with pytest.raises(EgressDenied):
        await resolver.resolve("llm.local", 80)


async def test_U03_a_name_server_that_says_nothing_is_given_up(monkeypatch) -> None:
    async def silent(*_, **__):
        await asyncio.Event().wait()

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", silent)
    monkeypatch.setattr("providers.upstream.egress.resolver.DNS_TIMEOUT_S", 0.05)
    with pytest.raises(OSError, match="timed out"):
        await GuardedResolver(EgressPolicy).resolve("slow.example", 443)


# --------------------------------------------------------------------------- requests


class _Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.server.seen.append((self.path, self.headers.get("Host")))
        self.send_response(302 if self.path == "/redirect" else 200)
        self.send_header("Location", "/stolen")
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def page() -> Iterator[HTTPServer]:
    server = HTTPServer(("127.0.0.1", 0), _Page)
    server.seen = []
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433", "127.1"])
def test_the_control_plane_dials_no_private_address_without_permission(page, host) -> None:
    with guarded_session(EgressPolicy(), Bounds(2, 1024)) as session, pytest.raises(EgressDenied):
        session.get(f"http://{host}:{page.server_port}/", timeout=2)
    assert page.seen == []


def test_the_control_plane_dials_an_allowed_address_under_its_own_name(page, monkeypatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, port, **_: [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))])
    with guarded_session(EgressPolicy(frozenset({("llm.local", page.server_port)})), Bounds(2, 1024)) as session:
        assert session.get(f"http://llm.local:{page.server_port}/models", timeout=2).text == "ok"
    assert page.seen == [("/models", f"llm.local:{page.server_port}")]


def test_U31_the_control_plane_follows_no_redirect(page) -> None:
    with guarded_session(EgressPolicy(frozenset({("127.0.0.1", page.server_port)})), Bounds(2, 1024)) as session:
        assert session.get(f"http://127.0.0.1:{page.server_port}/redirect", timeout=2).status_code == 302
    assert [path for path, _ in page.seen] == ["/redirect"]


def test_a_closed_port_is_an_ordinary_connection_error() -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    with (
        guarded_session(EgressPolicy(frozenset({("127.0.0.1", port)})), Bounds(2, 1024)) as session,
        pytest.raises(requests.ConnectionError),
    ):
        session.get(f"http://127.0.0.1:{port}/", timeout=1)
