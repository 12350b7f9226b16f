"""Receiving a request's body: bounded in size, time and form before anybody else sees it (B03, L04, C17)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from django.conf import settings
from django.http import HttpResponse

from aigateway.api.request_id import HEADER, accepted_request_id
from aigateway.door.bodies import Hold
from aigateway.errors import GatewayError, invalid_request

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]

RATE_FLOOR_BYTES_S = 64 * 1024
"""What arrives at this rate or faster has as long as it needs; everything has ``BODY_RECEIPT_TIMEOUT_S`` at least."""


class Incoming:
    """A body that may be on its way. Nobody has to read it: the connection is closed after an answer that came before it."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        headers = dict(scope["headers"])
        self._receive = receive
        self._encoding: bytes = headers.get(b"content-encoding", b"identity")
        declared = headers.get(b"content-length", b"")
        self.declared_bytes = int(declared[:20]) if declared.isdigit() else None
        """``None``: it comes in chunks of a size nobody told."""
        self.is_expected = bool(self.declared_bytes) or b"transfer-encoding" in headers
        self.is_received = not self.is_expected
        self._hold: Hold | None = None

    async def body(self, hold: Hold, bytes_max: int | None = None) -> bytes | None:
        """The whole body, counted as it arrives whatever was declared; ``None`` when the client left.

        Raises ``GatewayError``: 413 too large, 408 too slow, 415 compressed, and what ``Hold.grow_to`` raises. It stays on
        ``hold`` until ``release``.
        """
        if self.is_received:
            return b""
        if self._encoding != b"identity":
            raise invalid_request("Compressed request bodies are not accepted.", code="unsupported_encoding", status=415)
        largest = settings.MAX_BODY_BYTES if bytes_max is None else min(bytes_max, settings.MAX_BODY_BYTES)
        if self.declared_bytes is not None and self.declared_bytes > largest:
            raise too_large(largest)
        self._hold = hold
        hold.grow_to(self.declared_bytes or 0)
        try:
            body = await self._received(hold, largest)
        except TimeoutError:
            message = f"The body did not arrive within {settings.BODY_RECEIPT_TIMEOUT_S:g} s, nor at {RATE_FLOOR_BYTES_S // 1024} KiB/s."
            raise invalid_request(message, code="request_timeout", status=408) from None
        self.is_received = body is not None
        return body

    def release(self) -> None:
        """The request is answered."""
        if self._hold is not None:
            self._hold.release()

    async def _received(self, hold: Hold, largest: int) -> bytes | None:
        chunks: list[bytes] = []
        received = 0
        due_at = asyncio.get_running_loop().time() + settings.BODY_RECEIPT_TIMEOUT_S
        async with asyncio.timeout_at(due_at) as timeout:
            while True:
                message = await self._receive()
                if message["type"] == "http.disconnect":
                    return None
                chunk = message.get("body", b"")
                received += len(chunk)
                if received > largest:
                    raise too_large(largest)
                hold.grow_to(received)
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


def too_large(bytes_max: int) -> GatewayError:
    return invalid_request(f"The body is larger than {bytes_max} bytes.", code="body_too_large", status=413)
