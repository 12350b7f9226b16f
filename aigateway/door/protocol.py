"""uvicorn's HTTP protocol with bounds on what a client may send before anybody reads it (L04, B10, B11).

uvicorn itself has no deadline for the head of a request and no limit on its size, and ASGI code runs too late to set one.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from aigateway.errors import GatewayError, invalid_request

HEAD_RECEIPT_S = 10.0
"""From the first byte of a connection, or of the next request on it, to the end of the headers."""
HEADERS_MAX = 100
HEAD_BYTES_MAX = 32 * 1024
URL_BYTES_MAX = 8 * 1024


class HeadRefused(Exception):
    """Raised in a callback of the parser; the connection is answered and closed."""


class BoundedHttpProtocol(HttpToolsProtocol):
    """Answers 408, 414 or 431 in the standard error body and closes; what passes is what the application sees.

    Header names with underscores never arrive: CGI-style environments spell ``X_Real`` and ``X-Real`` the same.
    """

    _head_timer: asyncio.TimerHandle | None = None
    _head_is_open = False
    _head_bytes = 0
    _refusal: GatewayError | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_head_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._head_is_open and self._refusal is None:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES_MAX + URL_BYTES_MAX:  # one name or value without an end
                self._refuse(_too_large_head())
                self.send_400_response("")

    # ----------------------------------------------------------------- callbacks of the parser

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._head_is_open = True
        self._head_bytes = 0
        if self._head_timer is None:
            self._expect_head()

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        if len(self.url) > URL_BYTES_MAX:
            self._stop(HTTPStatus.REQUEST_URI_TOO_LONG, f"The URL is longer than {URL_BYTES_MAX} bytes.", "url_too_long")

    def on_header(self, name: bytes, value: bytes) -> None:
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
        super().on_headers_complete()

    # ----------------------------------------------------------------- refusing

    def send_400_response(self, msg: str) -> None:
        """Also called by uvicorn, for what its parser cannot read."""
        refusal = self._refusal or invalid_request(msg, code="invalid_http")
        body = refusal.encoded("")
        self.transport.write(
            STATUS_LINE[refusal.status]
            + b"content-type: application/json\r\nconnection: close\r\ncontent-length: "
            + str(len(body)).encode()
            + b"\r\n\r\n"
            + body
        )
        self.transport.close()

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
        self.send_400_response("")


def _too_large_head() -> GatewayError:
    return invalid_request(
        f"The headers are more than {HEADERS_MAX}, or larger than {HEAD_BYTES_MAX} bytes.", code="headers_too_large", status=431
    )
