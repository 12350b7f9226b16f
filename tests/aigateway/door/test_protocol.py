"""What a client may send before anybody reads it, on real sockets."""

from __future__ import annotations

import json
import logging
import socket
from http.client import HTTPResponse
from typing import Any

import pytest
from django.test import Client

from aigateway.door import credentials, protocol, receipt
from aigateway.door.handler import EdgeHandler
from providers.models import ConfigVersion
from tests.aigateway.conftest import LiveGateway
from usage.models import RateLimit

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
        known = b"Authorization: Bearer " + gateway.key.encode()
        connection.sendall(post(b"/v1/chat/completions", known, b"Connection: close", b"Content-Length: 102", body=b"a" * 100))
        connection.settimeout(0.6)
        with pytest.raises(TimeoutError):
            connection.recv(1)
        connection.settimeout(PATIENCE_S)
        connection.sendall(b"aa")
        assert connection.recv(20).startswith(b"HTTP/1.1 400")


def test_B13_multipart_means_nothing_to_a_json_path(gateway: LiveGateway) -> None:
    form = (
        b'--b\r\nContent-Disposition: form-data; name="model"\r\nContent-Transfer-Encoding: base64\r\n\r\n'
        + b" " * 500_000
        + b"\r\n--b--\r\n"
    )
    answer = gateway.client.post("/v1/chat/completions", content=form, headers={"Content-Type": "multipart/form-data; boundary=b"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (415, "unsupported_media_type")


# --------------------------------------------------------------------------- who may send a body


def chunked(path: bytes, *headers: bytes, body: bytes, trailers: tuple[bytes, ...]) -> bytes:
    head = post(path, b"Transfer-Encoding: chunked", b"Connection: close", *headers)
    return head + b"%x\r\n" % len(body) + body + b"\r\n0\r\n" + b"".join(trailer + b"\r\n" for trailer in trailers) + b"\r\n"


CHAT_BODY = b'{"model":"sim-small","messages":[{"role":"user","content":"Hi"}]}'
REST_BODY = b'{"model":"sim-small"}'


@pytest.mark.parametrize(
    ("path", "body"),
    [(b"/v1/chat/completions", CHAT_BODY), (b"/api/v1/ai/preferences/default", REST_BODY), (b"/api/v1/ai/admin/providers", REST_BODY)],
)
@pytest.mark.parametrize("name", [b"Authorization: Bearer %s", b"X-API-Key: %s"])
def test_C18_a_key_in_a_trailer_is_no_key(gateway: LiveGateway, path: bytes, body: bytes, name: bytes) -> None:
    gateway.user.is_staff = gateway.user.is_superuser = True
    gateway.user.save()
    assert answer_to(gateway, chunked(path, body=body, trailers=(name % gateway.key.encode(),)))[0] == 401


def test_C18_trailers_change_neither_scheme_nor_address_nor_request_id(gateway: LiveGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    arrived: list[bytes] = []
    answer = EdgeHandler._answer

    async def note(edge: EdgeHandler, request: Any, receive: Any, send: Any) -> None:
        await answer(edge, request, receive, send)
        arrived.extend(name for name, _ in request.scope["headers"])

    monkeypatch.setattr(EdgeHandler, "_answer", note)
    known = b"Authorization: Bearer " + gateway.key.encode()
    trailers = (b"X-Forwarded-For: 10.9.8.7", b"X-Forwarded-Proto: https", b"X-Request-ID: mine", b"X-Gateway-Context: other")
    with connect(gateway) as connection:
        connection.sendall(chunked(b"/v1/chat/completions", known, body=CHAT_BODY, trailers=trailers))
        answered = HTTPResponse(connection)
        answered.begin()
        assert (answered.status, answered.headers["X-Request-ID"] != "mine") == (200, True)
    assert b"authorization" in arrived
    assert not {b"x-forwarded-for", b"x-forwarded-proto", b"x-request-id", b"x-gateway-context"} & set(arrived)


def test_C18_trailers_without_end_are_refused(gateway: LiveGateway) -> None:
    known = b"Authorization: Bearer " + gateway.key.encode()
    head = post(b"/v1/chat/completions", known, b"Transfer-Encoding: chunked")
    with connect(gateway) as connection:
        connection.sendall(head + b"2\r\n{}\r\n0\r\n")
        connection.sendall(b"X-Endless: " + b"a" * 400_000)
        assert read_refusal(connection) == (431, "headers_too_large")


@pytest.mark.parametrize("key", [b"", b"Authorization: Bearer gw_nobody000000_" + b"a" * 43])
def test_C17_who_is_not_known_may_not_send_a_body(gateway: LiveGateway, key: bytes) -> None:
    """Answered by the headers alone; and a client that sends all of it before it reads still gets the answer."""
    head = post(b"/v1/chat/completions", b"Content-Length: 10000000", *filter(None, [key]))
    with connect(gateway) as connection:
        connection.sendall(head)
        assert read_refusal(connection)[0] == 401
    with connect(gateway) as connection:
        connection.sendall(head + b"a" * 10_000_000)
        assert read_refusal(connection)[0] == 401


def test_C17_a_client_that_asks_first_is_told_to_go_on_only_when_it_is_known(gateway: LiveGateway) -> None:
    asking = (b"Expect: 100-continue", b"Content-Length: %d" % len(CHAT_BODY), b"Connection: close")
    with connect(gateway) as connection:
        connection.sendall(post(b"/v1/chat/completions", *asking))
        assert connection.recv(20).startswith(b"HTTP/1.1 401")
    with connect(gateway) as connection:
        connection.sendall(post(b"/v1/chat/completions", b"Authorization: Bearer " + gateway.key.encode(), *asking))
        assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(CHAT_BODY)
        assert connection.recv(20).startswith(b"HTTP/1.1 200")


def test_C17_a_body_that_is_not_wanted_is_refused_in_the_words_of_the_format(gateway: LiveGateway) -> None:
    answer = gateway.client.post(
        "/v1/messages", content=b"{}", headers={"Authorization": "Bearer gw_x", "Content-Type": "application/json"}
    )
    assert (answer.status_code, answer.json()["type"], answer.headers["Connection"]) == (401, "error", "close")


def test_C17_the_bodies_of_one_caller_are_bounded_and_so_are_all(gateway: LiveGateway, settings: Any) -> None:
    settings.MAX_BODY_BYTES = settings.CALLER_BODIES_MAX_BYTES = 200_000
    known = b"Authorization: Bearer " + gateway.key.encode()
    head = post(b"/v1/chat/completions", known, b"Content-Length: 150000")
    with connect(gateway) as first, connect(gateway) as second:
        first.sendall(head + b"{")
        _until_held(gateway, head, (429, "too_many_body_bytes"))
        settings.CALLER_BODIES_MAX_BYTES = 10**9
        settings.BODIES_MAX_BYTES = 200_000
        second.sendall(head)
        assert read_refusal(second) == (503, "gateway_overloaded")
        first.sendall(b" " * 149_999)
        assert first.recv(20).startswith(b"HTTP/1.1 400")
    assert answer_to(gateway, head + b" " * 150_000) == (400, "empty_body")


def _until_held(gateway: LiveGateway, head: bytes, refusal: tuple[int, str]) -> None:
    """The gateway takes up a connection when it gets to it."""
    for _ in range(100):
        with connect(gateway) as connection:
            connection.settimeout(0.1)
            connection.sendall(head)
            try:
                assert read_refusal(connection) == refusal
            except TimeoutError:
                continue
            return
    raise AssertionError("never refused")


def test_C17_limits_are_asked_before_the_body_is_read(gateway: LiveGateway) -> None:
    RateLimit.objects.create(scope="user", user=gateway.user, measure="requests", window="hour", limit=1)
    ConfigVersion.bump()
    assert gateway.chat().status_code == 200
    for _ in range(100):
        if gateway.chat().status_code == 429:
            break
    head = post(b"/v1/chat/completions", b"Authorization: Bearer " + gateway.key.encode(), b"Content-Length: 5000000")
    with connect(gateway) as connection:
        connection.sendall(head)
        assert read_refusal(connection) == (429, "rate_limit_exceeded")


# --------------------------------------------------------------------------- bodies of the control plane, by who sends them


def test_C17_a_stranger_may_send_a_form_and_no_more(gateway: LiveGateway) -> None:
    large = b"Content-Length: 70000"
    assert answer_to(gateway, post(b"/admin/login/", large)) == (413, "body_too_large")
    assert answer_to(gateway, post(b"/api/v1/ai/preferences", large)) == (413, "body_too_large")
    assert answer_to(gateway, post(b"/admin/login/", b"Cookie: sessionid=nobody", large)) == (413, "body_too_large")
    assert answer_to(gateway, post(b"/api/v1/ai/preferences", b"X-API-Key: gw_nobody", large)) == (401, "invalid_api_key")
    unsized = chunked(b"/admin/login/", body=b"a" * 70_000, trailers=())
    assert answer_to(gateway, unsized) == (413, "body_too_large")


def test_C17_whoever_is_known_may_send_a_file(gateway: LiveGateway) -> None:
    session = Client()
    session.force_login(gateway.user)
    cookie = b"Cookie: sessionid=" + session.cookies["sessionid"].value.encode()
    for known in (b"Authorization: Bearer " + gateway.key.encode(), cookie):
        sent = post(b"/nothing/here", known, b"Connection: close", b"Content-Length: 2000000", body=b"a" * 2_000_000)
        with connect(gateway) as connection:
            connection.sendall(sent)
            assert connection.recv(20).startswith(b"HTTP/1.1 404")


def test_C17_a_signed_webhook_has_a_bound_of_its_own(gateway: LiveGateway) -> None:
    path = b"/api/v1/ai/webhooks/subscriptions"
    with connect(gateway) as connection:
        connection.sendall(post(path, b"Connection: close", b"Content-Length: 900000", body=b"a" * 900_000))
        assert connection.recv(20).startswith(b"HTTP/1.1 404")  # none is configured: read, and refused by the view
    assert answer_to(gateway, post(path, b"Content-Length: 2000000")) == (413, "body_too_large")


def test_C17_strangers_of_one_address_hold_a_bounded_number_of_bytes(gateway: LiveGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(credentials, "STRANGER_BYTES_MAX", 100_000)
    head = post(b"/admin/login/", b"Content-Length: 60000")
    with connect(gateway) as first:
        first.sendall(head + b"a")
        _until_held(gateway, head, (429, "too_many_body_bytes"))


# --------------------------------------------------------------------------- other protocols


@pytest.mark.parametrize("path", [b"/v1/responses", b"/v1/realtime", b"/admin/", b"/"])
def test_C25_a_websocket_is_refused_and_nobody_is_alarmed(gateway: LiveGateway, path: bytes, caplog: pytest.LogCaptureFixture) -> None:
    upgrade = (b"Upgrade: websocket", b"Connection: Upgrade", b"Sec-WebSocket-Version: 13", b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")
    caplog.clear()
    assert answer_to(gateway, get(*upgrade, path=path)) == (400, "websocket_not_supported")
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_C25_an_offer_of_another_version_of_http_is_ignored(gateway: LiveGateway, caplog: pytest.LogCaptureFixture) -> None:
    """Java's client makes it with every request in plain text."""
    offer = (b"Upgrade: h2c", b"Connection: Upgrade, HTTP2-Settings", b"HTTP2-Settings: AAMAAABkAAQAAP__")
    known = b"Authorization: Bearer " + gateway.key.encode()
    with connect(gateway) as connection:
        for _ in range(2):
            connection.sendall(post(b"/v1/chat/completions", known, *offer, b"Content-Length: %d" % len(CHAT_BODY), body=CHAT_BODY))
            answered = HTTPResponse(connection)
            answered.begin()
            assert (answered.status, json.loads(answered.read())["object"]) == (200, "chat.completion")
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
