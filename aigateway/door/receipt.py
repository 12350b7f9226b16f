"""Receiving a request's body: bounded in size, time and form before anybody else sees it (B03, L04)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from django.conf import settings
from django.http import HttpResponse

from aigateway.api.request_id import HEADER, accepted_request_id
from aigateway.errors import GatewayError, invalid_request

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]

RATE_FLOOR_BYTES_S = 64 * 1024
"""What arrives at this rate or faster has as long as it needs; everything has ``BODY_RECEIPT_TIMEOUT_S`` at least."""


async def receive_body(scope: Scope, receive: Receive) -> bytes | None:
    """The whole body, bounded as it arrives whatever ``Content-Length`` claims; ``None`` when the client left.

    Raises ``GatewayError``: 413 too large, 408 too slow, 415 compressed.
    """
    headers = dict(scope["headers"])
    if headers.get(b"content-encoding", b"identity") != b"identity":
        raise invalid_request("Compressed request bodies are not accepted.", code="unsupported_encoding", status=415)
    declared = headers.get(b"content-length", b"")
    if declared.isdigit() and len(declared) < 20 and int(declared) > settings.MAX_BODY_BYTES:
        raise _too_large()
    try:
        return await _received(receive)
    except TimeoutError:
        message = f"The body did not arrive within {settings.BODY_RECEIPT_TIMEOUT_S:g} s, nor at {RATE_FLOOR_BYTES_S // 1024} KiB/s."
        raise invalid_request(message, code="request_timeout", status=408) from None


async def _received(receive: Receive) -> bytes | None:
    chunks: list[bytes] = []
    received = 0
    due_at = asyncio.get_running_loop().time() + settings.BODY_RECEIPT_TIMEOUT_S
    async with asyncio.timeout_at(due_at) as timeout:
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            chunk = message.get("body", b"")
            received += len(chunk)
            if received > settings.MAX_BODY_BYTES:
                raise _too_large()
            chunks.append(chunk)
            if not message.get("more_body", False):
                return chunks[0] if len(chunks) == 1 else b"".join(chunks)
            timeout.reschedule(due_at + received / RATE_FLOOR_BYTES_S)


def replayed(body: bytes, receive: Receive) -> Receive:
    """A ``receive`` for an application that wants to read the body itself."""
    is_given = False

    async def give() -> dict[str, Any]:
        nonlocal is_given
        if is_given:
            return await receive()
        is_given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return give


def refusal(scope: Scope, error: GatewayError) -> HttpResponse:
    """The answer to a request that never became one; the connection cannot be used again."""
    sent = dict(scope["headers"]).get(b"x-request-id", b"").decode("latin1")
    request_id = accepted_request_id(sent)
    headers = {"Connection": "close", HEADER: request_id, **error.http_headers()}
    return HttpResponse(error.encoded(request_id), status=error.status, content_type="application/json", headers=headers)


def _too_large() -> GatewayError:
    return invalid_request(f"The body is larger than {settings.MAX_BODY_BYTES} bytes.", code="body_too_large", status=413)
