"""What a client may send before anybody reads it, on real sockets."""

from __future__ import annotations

import json
import socket
from http.client import HTTPResponse
from typing import Any

import pytest

from aigateway.door import protocol, receipt
from aigateway.door.handler import EdgeHandler
from tests.aigateway.conftest import LiveGateway

PATIENCE_S = 10


def connect(gateway: LiveGateway) -> socket.socket:
    host, port = gateway.base_url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=PATIENCE_S)


def answer_to(gateway: LiveGateway, request: bytes) -> tuple[int, str]:
    """Status and error code; the connection must be closed by the gateway."""
    with connect(gateway) as connection:
        connection.sendall(request)
        return read_refusal(connection)


def read_refusal(connection: socket.socket) -> tuple[int, str]:
    received = b""
    while chunk := connection.recv(65_536):
        received += chunk
    head, _, body = received.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)["error"]["code"]


def get(*headers: bytes, path: bytes = b"/v1/models") -> bytes:
    return b"\r\n".join((b"GET " + path + b" HTTP/1.1", b"Host: localhost", *headers, b"", b""))


@pytest.mark.parametrize("sent", [b"", b"GET /v1/mod", b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nX-A: "])
def test_L04_a_head_that_does_not_arrive_in_time_is_408(gateway: LiveGateway, monkeypatch: pytest.MonkeyPatch, sent: bytes) -> None:
    monkeypatch.setattr(protocol, "HEAD_RECEIPT_S", 0.2)
    assert answer_to(gateway, sent) == (408, "request_timeout")


def test_L04_the_deadline_holds_for_every_request_of_a_connection(gateway: LiveGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HEAD_RECEIPT_S", 0.3)
    with connect(gateway) as connection:
        connection.sendall(get(path=b"/healthz"))
        received = b""
        while b"\r\n\r\n" not in received:
            received += connection.recv(65_536)
        assert received.startswith(b"HTTP/1.1 200")
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: loc")
        rest = b""
        while chunk := connection.recv(65_536):
            rest += chunk
    assert b"408 Request Timeout" in rest


def test_L04_an_idle_connection_between_requests_is_not_under_the_deadline(gateway: LiveGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HEAD_RECEIPT_S", 0.1)
    with connect(gateway) as connection:
        for _ in range(2):
            connection.sendall(get(path=b"/healthz"))
            answer = HTTPResponse(connection)
            answer.begin()
            assert (answer.status, answer.read() != b"") == (200, True)
            connection.settimeout(0.4)
            with pytest.raises(TimeoutError):
                connection.recv(1)
            connection.settimeout(PATIENCE_S)


def test_L04_dribbling_clients_do_not_keep_others_waiting(gateway: LiveGateway) -> None:
    dribblers = [connect(gateway) for _ in range(200)]
    try:
        for connection in dribblers:
            connection.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nX-Slow: ")
        assert [gateway.chat().status_code for _ in range(5)] == [200] * 5
    finally:
        for connection in dribblers:
            connection.close()


def test_B11_headers_up_to_the_bounds_pass(gateway: LiveGateway) -> None:
    many = [b"X-H%d: 1" % number for number in range(protocol.HEADERS_MAX - 10)]
    with connect(gateway) as connection:
        connection.sendall(get(b"X-Big: " + b"a" * 30_000, *many, b"Connection: close"))
        assert connection.recv(20).startswith(b"HTTP/1.1 401")


@pytest.mark.parametrize(
    ("request_bytes", "refusal"),
    [
        (get(*(b"X-H%d: 1" % number for number in range(1000))), (431, "headers_too_large")),
        (get(b"X-Big: " + b"a" * 65_536), (431, "headers_too_large")),
        (get(*(b"X-H%d: " % number + b"a" * 1000 for number in range(40))), (431, "headers_too_large")),
        (b"GET /v1/models HTTP/1.1\r\nX-Endless: " + b"a" * 70_000, (431, "headers_too_large")),
        (get(path=b"/v1/" + b"a" * 9_000), (414, "url_too_long")),
        (get(b"X-A: 1\r\n folded"), (400, "invalid_http")),
        (get(b"X-A: a\x00b"), (400, "invalid_http")),
        (get(b"X-A: a\rX-B: b"), (400, "invalid_http")),
        (get(b"X A: 1"), (400, "invalid_http")),
        (b"GET /v1/models HTTP/1.1\nHost localhost\n\n", (400, "invalid_http")),
        (b"\x16\x03\x01\x02\x00\x01\x00", (400, "invalid_http")),
    ],
)
def test_B11_what_no_well_behaved_client_sends_is_refused_and_the_gateway_lives(
    gateway: LiveGateway, request_bytes: bytes, refusal: tuple[int, str]
) -> None:
    assert answer_to(gateway, request_bytes) == refusal
    assert gateway.chat().status_code == 200


@pytest.mark.parametrize("spoofed", [b"X_Gateway_Context", b"X-Gateway_Context", b"Content_Encoding", b"Transfer_Encoding"])
def test_B10_a_header_spelt_with_an_underscore_is_not_taken_for_the_real_one(
    gateway: LiveGateway, monkeypatch: pytest.MonkeyPatch, spoofed: bytes
) -> None:
    """The status alone would not tell: Django, too, leaves such names out. They must not even reach it."""
    arrived: list[bytes] = []
    answer = EdgeHandler.__call__

    async def note(edge: EdgeHandler, scope: Any, receive: Any, send: Any) -> None:
        arrived.extend(name for name, _ in scope["headers"])
        await answer(edge, scope, receive, send)

    monkeypatch.setattr(EdgeHandler, "__call__", note)
    body = json.dumps({"model": "sim-small", "messages": [{"role": "user", "content": "Hi"}]}).encode()
    sent_by = (b"Authorization: Bearer " + gateway.key.encode(), b"Content-Type: application/json")
    head = (b"POST /v1/chat/completions HTTP/1.1", b"Host: localhost", *sent_by)
    tail = (spoofed + b": not/a context", b"Content-Length: %d" % len(body), b"Connection: close", b"", body)
    with connect(gateway) as connection:
        connection.sendall(b"\r\n".join((*head, *tail)))
        assert connection.recv(20).startswith(b"HTTP/1.1 200")
    assert b"authorization" in arrived
    assert spoofed.lower() not in arrived


# --------------------------------------------------------------------------- bodies of the control plane


def post(path: bytes, *headers: bytes, body: bytes = b"") -> bytes:
    return b"\r\n".join((b"POST " + path + b" HTTP/1.1", b"Host: localhost", b"Content-Type: application/json", *headers, b"", body))


def test_B03_a_management_body_that_says_it_is_too_large_is_refused_unread(gateway: LiveGateway) -> None:
    assert answer_to(gateway, post(b"/api/v1/ai/preferences", b"Content-Length: 104857600")) == (413, "body_too_large")


def test_B03_a_chunked_management_body_is_counted_as_it_arrives(gateway: LiveGateway, settings: Any) -> None:
    settings.MAX_BODY_BYTES = 1000
    sent = post(b"/admin/login/", b"Transfer-Encoding: chunked", body=b"3e9\r\n" + b"a" * 1001 + b"\r\n0\r\n\r\n")
    assert answer_to(gateway, sent) == (413, "body_too_large")


def test_L04_a_management_body_that_does_not_arrive_in_time_is_408(gateway: LiveGateway, settings: Any) -> None:
    settings.BODY_RECEIPT_TIMEOUT_S = 0.2
    assert answer_to(gateway, post(b"/admin/login/", b"Content-Length: 10", body=b"a")) == (408, "request_timeout")


def test_L04_a_body_that_keeps_the_floor_rate_may_take_longer(gateway: LiveGateway, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.BODY_RECEIPT_TIMEOUT_S = 0.2
    monkeypatch.setattr(receipt, "RATE_FLOOR_BYTES_S", 10)
    with connect(gateway) as connection:
        connection.sendall(post(b"/v1/chat/completions", b"Connection: close", b"Content-Length: 102", body=b"a" * 100))
        connection.settimeout(0.6)
        with pytest.raises(TimeoutError):
            connection.recv(1)
        connection.settimeout(PATIENCE_S)
        connection.sendall(b"aa")
        assert connection.recv(20).startswith(b"HTTP/1.1 401")


def test_B13_multipart_means_nothing_to_a_json_path(gateway: LiveGateway) -> None:
    form = (
        b'--b\r\nContent-Disposition: form-data; name="model"\r\nContent-Transfer-Encoding: base64\r\n\r\n'
        + b" " * 500_000
        + b"\r\n--b--\r\n"
    )
    answer = gateway.client.post("/v1/chat/completions", content=form, headers={"Content-Type": "multipart/form-data; boundary=b"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (415, "unsupported_media_type")
