"""A real HTTP server on loopback that plays a provider: scripted answers, and a record of what it was asked."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

MODELS = [
    {"id": "alpha-large", "object": "model", "context_window": 32_000, "max_completion_tokens": 8_000},
    {"id": "alpha-small", "object": "model"},
    {"id": "alpha-whisper", "object": "model"},
]


@dataclass
class Scripted:
    """What the next answers are. ``before`` runs ahead of each answer."""

    status: int = 200
    body: bytes = json.dumps({"object": "list", "data": MODELS}).encode()
    headers: dict[str, str] = field(default_factory=lambda: {"Content-Type": "application/json"})
    before: Callable[[], None] = lambda: None


@dataclass
class FakeProvider:
    base_url: str
    script: Scripted
    asked: list[tuple[str, str, dict[str, str]]]
    """Method, path and headers (lower case) of every request."""
    bodies: list[bytes]


@contextmanager
def fake_provider() -> Iterator[FakeProvider]:
    script, asked, bodies = Scripted(), [], []

    class Scene(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            bodies.append(self.rfile.read(int(self.headers.get("content-length") or 0)))
            asked.append((self.command, self.path, {name.lower(): value for name, value in self.headers.items()}))
            script.before()
            self.send_response(script.status)
            for name, value in {**script.headers, "Content-Length": str(len(script.body))}.items():
                self.send_header(name, value)
            with suppress(ConnectionError):  # the client may have given up
                self.end_headers()
                self.wfile.write(script.body)

        do_POST = do_GET

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Scene)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield FakeProvider(f"http://127.0.0.1:{server.server_port}/v1", script, asked, bodies)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@contextmanager
def dripping_server(interval_s: float = 0.05) -> Iterator[str]:
    """Accepts and sends a header byte by byte, for ever: every socket timeout is satisfied."""
    listener = socket.create_server(("127.0.0.1", 0))
    stop = threading.Event()

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.sendall(b"HTTP/1.1 200 OK\r\nX-Slow: ")
            while not stop.wait(interval_s):
                try:
                    connection.sendall(b"a")
                except OSError:
                    return

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
    finally:
        stop.set()
        thread.join()
        listener.close()


def wait_until(condition: Callable[[], bool], timeout_s: float = 5.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "the condition never came true"
        threading.Event().wait(0.01)
