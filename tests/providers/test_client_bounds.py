"""Whatever a host does, the control plane waits no longer and reads no more than it may (C19): raw sockets on loopback."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from aigateway import alerts
from providers import client
from providers.client import exchange, fetch, list_models, tell
from providers.health import probe
from providers.upstream import errors
from providers.upstream.types import HttpRequest
from tests.providers.upstream import rig

PATIENCE_S = 0.5
MARGIN_S = 2.0
"""For a busy machine; every one of these hosts goes on for a minute."""
GOES_ON_S = 60.0
Send = Callable[[bytes], None]


def pauses() -> Iterator[None]:
    """Until the client is gone or a minute is over."""
    until = time.monotonic() + GOES_ON_S
    while time.monotonic() < until:
        yield
        threading.Event().wait(0.02)


def says_nothing(send: Send) -> None:
    for _ in pauses():
        pass


def drips_its_status(send: Send) -> None:
    for _ in pauses():
        send(b"H")


def drips_its_headers(send: Send) -> None:
    send(b"HTTP/1.1 200 OK\r\nX: ")
    for _ in pauses():
        send(b"a")


def drips_header_lines(send: Send) -> None:
    send(b"HTTP/1.1 200 OK\r\n")
    for _ in pauses():
        send(b"X: a\r\n")


def continues_for_ever(send: Send) -> None:
    for _ in pauses():
        send(b"HTTP/1.1 100 Continue\r\n\r\n")


def continues_without_pause(send: Send) -> None:
    for _ in range(1_000_000):
        send(b"HTTP/1.1 100 Continue\r\n\r\n" * 1000)


def drips_its_body(send: Send) -> None:
    send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    for _ in pauses():
        send(b" ")


def drips_a_chunk_size(send: Send) -> None:
    send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n")
    for _ in pauses():
        send(b"0")


def drips_trailers(send: Send) -> None:
    send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n")
    for _ in pauses():
        send(b"X: a\r\n")


def sends_trailers_without_pause(send: Send) -> None:
    send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n")
    for _ in range(1_000_000):
        send(b"X: a\r\n" * 1000)


def sends_a_huge_body(send: Send) -> None:
    send(b"HTTP/1.1 200 OK\r\nContent-Length: 900000000\r\n\r\n")
    for _ in range(900):
        send(b" " * 1_000_000)


def sends_a_body_without_end(send: Send) -> None:
    send(b"HTTP/1.1 200 OK\r\n\r\n")
    for _ in range(1_000_000):
        send(b" " * 1_000_000)


SLOW = [
    says_nothing, drips_its_status, drips_its_headers, drips_header_lines, continues_for_ever, drips_its_body, drips_a_chunk_size,
    drips_trailers,
]  # fmt: skip
LARGE = [continues_without_pause, sends_trailers_without_pause, sends_a_huge_body, sends_a_body_without_end]


@contextmanager
def host(script: Callable[[Send], None]) -> Iterator[str]:
    """Plays the script to everybody who connects; its base URL."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=play, args=(connection,), daemon=True).start()

    def play(connection: socket.socket) -> None:
        with suppress(OSError), connection:
            script(connection.sendall)

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


@contextmanager
def soon(seconds: float = PATIENCE_S) -> Iterator[None]:
    started = time.monotonic()
    yield
    assert time.monotonic() - started < seconds + MARGIN_S


def spec(base_url: str):
    return rig.provider(f"{base_url}/v1", allow_private=True)


@pytest.mark.parametrize("script", SLOW)
def test_C19_no_slow_host_keeps_a_call_beyond_its_time(script: Callable[[Send], None]) -> None:
    with host(script) as base_url, soon(), pytest.raises(errors.UpstreamError) as given_up:
        exchange(spec(base_url), HttpRequest("/models", b"", method="GET"), PATIENCE_S)
    assert isinstance(given_up.value, errors.FirstByteTimeout | errors.IdleTimeout | errors.DeadlineExceeded)


@pytest.mark.parametrize("script", SLOW)
def test_C19_no_slow_host_keeps_a_probe_an_import_or_a_webhook(script: Callable[[Send], None], monkeypatch, settings) -> None:
    monkeypatch.setattr(alerts, "TIMEOUT_S", PATIENCE_S)
    with host(script) as base_url:
        with soon():
            assert probe(spec(base_url), PATIENCE_S).status == "red"
        with soon(), pytest.raises(errors.UpstreamError):
            list_models(spec(base_url), PATIENCE_S)
        with soon(), pytest.raises(errors.UpstreamError):
            fetch("GET", base_url, {}, timeout_s=PATIENCE_S)
        with soon(), suppress(errors.UpstreamError):
            tell(base_url, {}, b"{}", timeout_s=PATIENCE_S)


@pytest.mark.parametrize("script", LARGE)
def test_C19_no_answer_is_read_beyond_its_bound(script: Callable[[Send], None], monkeypatch) -> None:
    monkeypatch.setattr(client, "BODY_MAX_BYTES", 2_000_000)
    with host(script) as base_url:
        with soon(5), pytest.raises(errors.BodyTooLarge):
            exchange(spec(base_url), HttpRequest("/models", b"", method="GET"), 30)
        with soon(5), pytest.raises(errors.BodyTooLarge):
            fetch("GET", base_url, {}, timeout_s=30)


@pytest.mark.parametrize("script", [sends_a_huge_body, sends_a_body_without_end, sends_trailers_without_pause])
def test_C19_of_a_webhooks_answer_only_the_status_counts(script: Callable[[Send], None]) -> None:
    with host(script) as base_url, soon():
        assert tell(base_url, {}, b"{}", timeout_s=30) == 200


def test_C19_a_handshake_counts_as_well() -> None:
    with host(says_nothing) as base_url, soon(), pytest.raises(errors.UpstreamError):
        fetch("GET", base_url.replace("http:", "https:"), {}, timeout_s=PATIENCE_S)


def test_C19_a_body_nobody_takes_counts_as_well() -> None:
    with host(says_nothing) as base_url, soon(), pytest.raises(errors.UpstreamError):
        fetch("POST", base_url, {}, b"x" * 20_000_000, timeout_s=PATIENCE_S)


def test_C19_a_name_server_that_says_nothing_counts_as_well(monkeypatch) -> None:
    released = threading.Event()

    def says_nothing_for_long(*_: object, **__: object) -> list[object]:
        released.wait(GOES_ON_S)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", says_nothing_for_long)
    with soon(), pytest.raises(errors.DnsFailed):
        fetch("GET", "http://silent.example", {}, timeout_s=PATIENCE_S)
    released.set()


def test_C19_an_ordinary_answer_arrives_whole() -> None:
    def answers(send: Send) -> None:
        send(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n{}\n\r\n0\r\nX: y\r\n\r\n")

    with host(answers) as base_url:
        assert fetch("GET", base_url, {}, timeout_s=10).body == b"{}\n"
