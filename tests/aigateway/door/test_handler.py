"""The lean door: bounds, refusals and what it relies on in Django."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable
from typing import Any

import django
import pytest
from django.core.exceptions import SynchronousOnlyOperation
from django.core.handlers.asgi import ASGIHandler
from django.http import HttpResponse

from aigateway.asgi import is_inference
from aigateway.door import handler as edge
from aigateway.door.handler import EdgeHandler, EdgeStream
from tests.aigateway.conftest import LiveGateway
from usage.models import ApiKey, Attempt


def raw_exchange(gateway: LiveGateway, request: bytes) -> bytes:
    """Sends bytes as they are and reads to the end of the connection, or to a complete small answer."""
    host, port = gateway.base_url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(request)
        received = b""
        while chunk := connection.recv(65_536):
            received += chunk
    return received


def post_head(gateway: LiveGateway, *headers: bytes) -> bytes:
    """The head of a chat request of a known caller."""
    sent_by = (b"Host: localhost", b"Authorization: Bearer " + gateway.key.encode(), b"Content-Type: application/json")
    return b"\r\n".join((b"POST /v1/chat/completions HTTP/1.1", *sent_by, *headers, b"", b""))


def test_the_handler_relies_on_these_parts_of_django_5_2() -> None:
    assert django.VERSION[:2] == (5, 2)
    assert issubclass(EdgeHandler, ASGIHandler)
    assert asyncio.iscoroutinefunction(ASGIHandler._get_response_async)


def test_only_asynchronous_middleware_runs_at_the_edge() -> None:
    handler = EdgeHandler(plane=None)  # type: ignore[arg-type]
    assert asyncio.iscoroutinefunction(handler._middleware_chain)
    assert (handler._view_middleware, handler._exception_middleware) == ([], [])


async def test_the_orm_refuses_to_run_on_the_event_loop() -> None:
    with pytest.raises(SynchronousOnlyOperation):
        ApiKey.objects.first()


@pytest.mark.parametrize(
    ("path", "inference"),
    [
        ("/v1/chat/completions", True),
        ("/v1/anything", True),
        ("/api/v1/ai/generate", True),
        ("/api/v1/ai/usage", False),
        ("/admin/", False),
    ],
)
def test_paths_find_their_door(path: str, inference: bool) -> None:
    assert is_inference(path) is inference


def test_B03_a_body_that_says_it_is_too_large_is_refused_unread(gateway: LiveGateway) -> None:
    answer = raw_exchange(gateway, post_head(gateway, b"Content-Length: 99999999999"))
    assert answer.startswith(b"HTTP/1.1 413")
    assert b'"code":"body_too_large"' in answer
    assert b"connection: close" in answer.lower()


def test_B03_a_chunked_body_is_counted_as_it_arrives(gateway: LiveGateway, settings: Any) -> None:
    settings.MAX_BODY_BYTES = 2048
    chunk = b"400\r\n" + b"x" * 1024 + b"\r\n"
    assert raw_exchange(gateway, post_head(gateway, b"Transfer-Encoding: chunked") + chunk * 3).startswith(b"HTTP/1.1 413")


def test_L04_a_body_that_does_not_arrive_in_time_is_408(gateway: LiveGateway, settings: Any) -> None:
    settings.BODY_RECEIPT_TIMEOUT_S = 0.2
    answer = raw_exchange(gateway, post_head(gateway, b"Content-Length: 10") + b"{")
    assert answer.startswith(b"HTTP/1.1 408")


def test_a_compressed_body_is_refused(gateway: LiveGateway) -> None:
    response = gateway.client.post(
        "/v1/chat/completions", content=b"x", headers={"Content-Encoding": "gzip", "Content-Type": "application/json"}
    )
    assert (response.status_code, response.json()["error"]["code"]) == (415, "unsupported_encoding")


def test_a_wrong_method_is_405_and_an_unknown_path_404_both_in_the_standard_body(gateway: LiveGateway) -> None:
    wrong = gateway.client.get("/v1/chat/completions")
    assert (wrong.status_code, wrong.headers["Allow"], wrong.json()["error"]["code"]) == (405, "POST", "method_not_allowed")
    unknown = gateway.client.post("/v1/nothing", json={})
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "not_found")
    assert unknown.json()["error"]["request_id"] == unknown.headers["X-Request-ID"]


def test_L14_more_requests_than_the_process_takes_are_told_to_come_back(start_gateway: Callable[[], LiveGateway], settings: Any) -> None:
    settings.MAX_IN_FLIGHT = 0
    response = start_gateway().chat()
    assert (response.status_code, response.json()["error"]["code"]) == (503, "gateway_overloaded")
    assert int(response.headers["Retry-After"]) >= 1
    assert Attempt.objects.count() == 0


def test_B11_a_header_that_is_no_context_is_refused(gateway: LiveGateway) -> None:
    response = gateway.chat(headers={"X-Gateway-Context": "a b"})
    assert (response.status_code, response.json()["error"]["param"]) == (400, "X-Gateway-Context")


def test_S01_a_body_cannot_choose_where_the_request_goes(gateway: LiveGateway) -> None:
    for field in ("api_base", "base_url", "extra_headers", "proxy", "organization"):
        response = gateway.chat(**{field: "http://127.0.0.1:1/"})
        assert (response.status_code, response.json()["error"]["code"]) == (400, "unknown_field")


# --------------------------------------------------------------------------- the sending half, without a network


class Wire:
    """What the server side of ASGI sees; ``send`` fails from ``fail_at`` on, as when the client is gone."""

    def __init__(self, fail_at: int | None = None) -> None:
        self.sent: list[dict[str, Any]] = []
        self._fail_at = fail_at

    async def send(self, message: dict[str, Any]) -> None:
        if self._fail_at is not None and len(self.sent) >= self._fail_at:
            raise asyncio.CancelledError
        self.sent.append(message)


async def _chunks(log: list[str]) -> Any:
    try:
        for part in (b"one", b"two", b"three"):
            yield part
    finally:
        log.append("generator closed")


@pytest.mark.parametrize("fail_at", [0, 1, 2])
async def test_L06_a_stream_is_released_however_early_the_client_leaves(fail_at: int) -> None:
    log: list[str] = []

    async def release() -> None:
        log.append("released")

    response = EdgeStream(_chunks(log), release, content_type="text/event-stream")
    with pytest.raises(asyncio.CancelledError):
        await edge.send_response(response, Wire(fail_at).send)
    assert log[-1] == "released"


async def test_L05_a_client_that_does_not_read_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edge, "CLIENT_STALL_S", 0.01)
    released: list[bool] = []

    async def release() -> None:
        released.append(True)

    async def never(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.body":
            await asyncio.Event().wait()

    async with asyncio.timeout(5):
        await edge.send_response(EdgeStream(_chunks([]), release, content_type="text/event-stream"), never)
    assert released == [True]


async def test_a_plain_answer_has_its_length() -> None:
    wire = Wire()
    await edge.send_response(HttpResponse(json.dumps({"a": 1}), content_type="application/json"), wire.send)
    assert (b"content-length", b"8") in wire.sent[0]["headers"]
    assert wire.sent[1]["body"] == b'{"a": 1}'
