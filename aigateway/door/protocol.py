"""uvicorn's HTTP protocol with bounds on what a client may send before anybody reads it (L04, B10, B11, C17, C18, C25).

uvicorn itself has no deadline for the head of a request and no limit on its size, and ASGI code runs too late to set one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from http import HTTPStatus

import httptools
import structlog
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from aigateway import stopping
from aigateway.errors import GatewayError, invalid_request

HEAD_RECEIPT_S = 10.0
"""From the first byte of a connection, or of the next request on it, to the end of the headers."""
HEADERS_MAX = 100
HEAD_BYTES_MAX = 32 * 1024
URL_BYTES_MAX = 8 * 1024
FRAMING_BYTES_MAX = 64 * 1024
"""Of a chunked body, between two pieces of its content: sizes, extensions, trailers."""
LINGER_S = 2.0
LINGER_BYTES_MAX = 16 * 1024 * 1024
"""What a client still sends after its request was refused is thrown away so long and so much: a connection that is closed at
once takes the answer with it."""
_log = structlog.get_logger("aigateway.protocol")


class HeadRefused(Exception):
    """Raised in a callback of the parser; the connection is answered and closed."""


class _Closing:
    """The transport as a request sees it. Its ``close`` waits for a body nobody wanted, so that its client reads the answer."""

    __slots__ = ("_cycle", "_protocol", "is_closing", "write")

    def __init__(self, protocol: BoundedHttpProtocol, cycle: RequestResponseCycle) -> None:
        self._protocol = protocol
        self._cycle = cycle
        self.write = protocol.transport.write
        self.is_closing = protocol.transport.is_closing

    def close(self) -> None:
        if self._cycle.more_body:
            self._protocol.linger()
        else:
            self._protocol.transport.close()


def _parser_of_body(protocol: BoundedHttpProtocol, framing: list[tuple[bytes, bytes]]) -> httptools.HttpRequestParser:
    """A parser in the middle of a request, whose head it tells nobody about."""
    listener = _Listener(protocol)
    parser = httptools.HttpRequestParser(listener)
    parser.feed_data(b"POST / HTTP/1.1\r\n" + b"".join(name + b": " + value + b"\r\n" for name, value in framing) + b"\r\n")
    listener.hears_heads = True
    return parser


class _Listener:
    """Hands on what a parser finds, heads only once ``hears_heads``."""

    def __init__(self, protocol: BoundedHttpProtocol) -> None:
        self.hears_heads = False
        self.on_body = protocol.on_body
        self.on_message_complete = protocol.on_message_complete
        self.on_message_begin = self._later(protocol.on_message_begin)
        self.on_url = self._later(protocol.on_url)
        self.on_header = self._later(protocol.on_header)
        self.on_headers_complete = self._later(protocol.on_headers_complete)

    def _later(self, callback: Callable[..., None]) -> Callable[..., None]:
        return lambda *found: callback(*found) if self.hears_heads else None


class BoundedHttpProtocol(HttpToolsProtocol):
    """Answers 400, 408, 414 or 431 in the standard error body and closes; what passes is what the application sees.

    Header names with underscores never arrive: CGI-style environments spell ``X_Real`` and ``X-Real`` the same. Neither do
    trailers: what comes after a body was not there when the request was judged by its headers.
    """

    _head_timer: asyncio.TimerHandle | None = None
    _linger_timer: asyncio.TimerHandle | None = None
    _head_is_open = False
    _unread_bytes = 0
    """Came since the head began, or since the last piece of the body's content."""
    _saw_content = False
    _lingered_bytes = 0
    _refusal: GatewayError | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_head_timer()
        if self._linger_timer is not None:
            self._linger_timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """As uvicorn's, without its log lines: what strangers send is no trouble of ours."""
        if self._linger_timer is not None:
            self._throw_away(data)
            return
        self._unset_keepalive_if_required()
        self._saw_content = False
        try:
            self._feed(data)
        except httptools.HttpParserError:
            self._refused("Invalid HTTP request received.")
            return
        self._unread_bytes = 0 if self._saw_content else self._unread_bytes + len(data)
        if self._is_endless():
            self._refuse(_too_large_head())
            self._refused("")

    def _feed(self, data: bytes) -> None:
        """Raises ``HttpParserError``. An offer to speak another protocol is ignored, as HTTP allows and as Java's clients, who make
        it with every plain request, expect: what follows is read by a parser that never heard of it."""
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            framing = [header for header in self.headers if header[0] in (b"content-length", b"transfer-encoding")]
            if framing:
                self.cycle.more_body = True
                self.cycle.message_event.clear()
                self.parser = _parser_of_body(self, framing)
            if rest := data[offer.args[0] :]:
                self._feed(rest)

    def _is_endless(self) -> bool:
        """One name or value, of a header or a trailer, of which too much has come."""
        if self._refusal is not None:
            return False
        if self._head_is_open:
            return self._unread_bytes > HEAD_BYTES_MAX + URL_BYTES_MAX
        return self._unread_bytes > FRAMING_BYTES_MAX and self.cycle is not None and self.cycle.more_body

    def linger(self) -> None:
        """Ends our half of the connection, and theirs a little later."""
        if self._linger_timer is not None or self.transport.is_closing():
            return
        if not self.transport.can_write_eof():
            self.transport.close()
            return
        self._linger_timer = self.loop.call_later(LINGER_S, self.transport.close)
        self.transport.write_eof()
        self.flow.resume_reading()

    def on_response_complete(self) -> None:
        if self._linger_timer is None:
            super().on_response_complete()
        else:
            self.server_state.total_requests += 1

    def _throw_away(self, data: bytes) -> None:
        self._lingered_bytes += len(data)
        if self._lingered_bytes > LINGER_BYTES_MAX:
            self.transport.close()

    # ----------------------------------------------------------------- callbacks of the parser

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._head_is_open = True
        self._unread_bytes = 0
        if self._head_timer is None:
            self._expect_head()

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        if len(self.url) > URL_BYTES_MAX:
            self._stop(HTTPStatus.REQUEST_URI_TOO_LONG, f"The URL is longer than {URL_BYTES_MAX} bytes.", "url_too_long")

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._head_is_open:  # a trailer
            return
        if b"_" not in name:
            super().on_header(name, value)
        if len(self.headers) > HEADERS_MAX or sum(len(each) + len(its) for each, its in self.headers[-1:]) > HEAD_BYTES_MAX:
            self._refuse(_too_large_head())
            raise HeadRefused

    def on_headers_complete(self) -> None:
        self._head_is_open = False
        self._stop_head_timer()
        if sum(len(name) + len(value) for name, value in self.headers) > HEAD_BYTES_MAX:
            self._refuse(_too_large_head())
            raise HeadRefused
        if self.parser.should_upgrade() and b"websocket" in (self._get_upgrade() or b""):
            self._stop(
                HTTPStatus.BAD_REQUEST, "WebSockets are not spoken here; send a POST with 'stream': true.", "websocket_not_supported"
            )
        super().on_headers_complete()
        self.cycle.transport = _Closing(self, self.cycle)  # type: ignore[assignment]
        if stopping.PROCESS.begun:
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        self._saw_content = True
        super().on_body(body)

    # ----------------------------------------------------------------- refusing

    def _should_upgrade(self) -> bool:
        return False

    def _refused(self, message: str) -> None:
        """Answers what the parser cannot read or ``_refuse`` noted. A connection in the middle of an answer can only be closed."""
        refusal = self._refusal or invalid_request(message, code="invalid_http")
        _log.info("connection_refused", code=refusal.code, status=refusal.status)
        if self.cycle is not None and not self.cycle.response_complete:
            if self.cycle.response_started:
                self.transport.close()
                return
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        body = refusal.encoded("")
        self.transport.write(
            STATUS_LINE[refusal.status]
            + b"content-type: application/json\r\nconnection: close\r\ncontent-length: "
            + str(len(body)).encode()
            + b"\r\n\r\n"
            + body
        )
        self.linger()

    def _stop(self, status: HTTPStatus, message: str, code: str) -> None:
        self._refuse(invalid_request(message, code=code, status=status))
        raise HeadRefused

    def _refuse(self, refusal: GatewayError) -> None:
        self._refusal = self._refusal or refusal

    def _expect_head(self) -> None:
        self._head_timer = self.loop.call_later(HEAD_RECEIPT_S, self._on_head_timeout)

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _on_head_timeout(self) -> None:
        self._head_timer = None
        if self.transport.is_closing():
            return
        self._refuse(invalid_request(f"The headers did not arrive within {HEAD_RECEIPT_S:g} s.", code="request_timeout", status=408))
        self._refused("")


def _too_large_head() -> GatewayError:
    return invalid_request(
        f"The headers are more than {HEADERS_MAX}, or larger than {HEAD_BYTES_MAX} bytes.", code="headers_too_large", status=431
    )
