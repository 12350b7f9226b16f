"""Exceptions of the HTTP client as errors of ours."""

from __future__ import annotations

import ssl
from urllib.parse import urlsplit

import aiohttp

from providers.upstream.errors import (
    ConnectFailed,
    ConnectionLost,
    ConnectTimeout,
    DnsFailed,
    EgressDenied,
    InvalidBody,
    Redirected,
    TlsFailed,
    UpstreamError,
)

_BY_TYPE: tuple[tuple[type[Exception], type[UpstreamError]], ...] = (
    (aiohttp.ClientConnectorDNSError, DnsFailed),
    (aiohttp.ClientSSLError, TlsFailed),
    (ssl.SSLError, TlsFailed),
    (aiohttp.ConnectionTimeoutError, ConnectTimeout),
    (aiohttp.ClientConnectorError, ConnectFailed),
    (aiohttp.InvalidURL, EgressDenied),
    (aiohttp.ClientResponseError, InvalidBody),
    (aiohttp.ClientError, ConnectionLost),
    (OSError, ConnectionLost),
    (ValueError, EgressDenied),
)


def as_upstream_error(error: Exception) -> UpstreamError:
    """By type, never by text; the text names types only, because messages of the client may hold URLs."""
    kind = next(mapped for source, mapped in _BY_TYPE if isinstance(error, source))
    cause = getattr(error, "os_error", None)
    reason = f"{type(error).__name__}{f': {cause.strerror or type(cause).__name__}' if isinstance(cause, OSError) else ''}"
    return kind(reason)


def redirected(response: aiohttp.ClientResponse) -> Redirected:
    try:
        host = urlsplit(response.headers.get("location", "")).hostname or "the same host"
    except ValueError:
        host = "an unreadable address"
    return Redirected(f"status {response.status} to {host}", status=response.status)
